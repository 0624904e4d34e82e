package server

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// lockFile takes a lock that the kernel drops when the process ends, however it
// ends. Two processes on one directory would each think that theirs is the only
// state of the chains.
func lockFile(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: another process has this ledger open: %w", name, err)
	}
	return f, nil
}
