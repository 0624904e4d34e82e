package server

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A fault is an error that the file system gives from some moment on, whatever
// the process does: system calls that would write fail before they do.
type fault struct {
	errno syscall.Errno
	calls []uint32 // fail always
	open  uint32   // openat fails if one of these flags is set
}

var faults = map[string]fault{
	"the disk is full":              {unix.ENOSPC, []uint32{unix.SYS_MKDIRAT, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE}, unix.O_CREAT},
	"the disk takes no more writes": {unix.EROFS, []uint32{unix.SYS_MKDIRAT, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_UNLINKAT, unix.SYS_LINKAT}, unix.O_WRONLY | unix.O_RDWR | unix.O_CREAT},
	"fsync fails":                   {unix.EIO, []uint32{unix.SYS_FSYNC, unix.SYS_FDATASYNC}, 0},
	"files cannot be renamed":       {unix.EIO, []uint32{unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_LINKAT}, 0},
}

// install has the kernel answer the calls of every thread with the error
// (seccomp(2)). It cannot be taken back.
func (f fault) install() error {
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		anyBit = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		give   = unix.BPF_RET | unix.BPF_K
		// Of struct seccomp_data: the call's number, and the lower half of its
		// third argument on a little-endian machine.
		number, third = 0, 16 + 2*8
	)
	fail := uint32(unix.SECCOMP_RET_ERRNO | f.errno)
	code := []unix.SockFilter{{Code: load, K: number}}
	for _, call := range f.calls {
		code = append(code, unix.SockFilter{Code: equal, K: call, Jf: 1}, unix.SockFilter{Code: give, K: fail})
	}
	if f.open != 0 {
		code = append(code, unix.SockFilter{Code: equal, K: unix.SYS_OPENAT, Jf: 3}, unix.SockFilter{Code: load, K: third},
			unix.SockFilter{Code: anyBit, K: f.open, Jf: 1}, unix.SockFilter{Code: give, K: fail})
	}
	code = append(code, unix.SockFilter{Code: give, K: unix.SECCOMP_RET_ALLOW})
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program))); errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}

// The disk fails while hosts submit: what was acknowledged before stays, nothing
// is acknowledged that is not there, and when the disk is mended a start is all
// that is needed.
func TestDiskFails(t *testing.T) {
	rounds, hosts := 1, 5
	if soak {
		rounds, hosts = 10, 50
	}
	for name := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			c := newChildLedger(t)
			c.spec.Fault = name
			c.startChild(t)
			w := startLoad(t, c.testLedger, hosts)
			for range rounds {
				w.await(t, w.acks()+int64(hosts))
				time.Sleep(time.Duration(random.IntN(500)) * time.Millisecond)
				good := w.faults()
				if err := c.cmd.Process.Signal(unix.SIGUSR1); err != nil {
					t.Fatal(err)
				}
				// It has an effect when hosts are refused, or the ledger stops.
				tick := time.NewTicker(time.Millisecond)
				for stopped, until := false, time.Now().Add(time.Minute); !stopped && w.faults() == good; {
					select {
					case <-c.exited:
						stopped = true
					case <-tick.C:
					}
					if time.Now().After(until) {
						t.Fatal("the fault had no effect")
					}
				}
				tick.Stop()
				time.Sleep(time.Duration(random.IntN(500)) * time.Millisecond)
				c.killChild()
				c.startChild(t)
			}
			// The disk is mended.
			w.await(t, w.acks()+int64(2*hosts))
			w.end()
			c.killChild()
			w.check(t, c.config)
		})
	}
}
