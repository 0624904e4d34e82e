package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func init() { scripted["terminal"] = scriptTerminal }

// scriptTerminal runs a program whose output is a terminal, and writes to a file
// what that shows: terminal FILE PROGRAM ARG...
func scriptTerminal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: terminal FILE PROGRAM ARG...")
	}
	screen, terminal, err := openTerminal()
	ts.Check(err)
	defer screen.Close()
	program, err := exec.LookPath(args[1])
	ts.Check(err)
	cmd := exec.Command(program, args[2:]...)
	cmd.Dir, cmd.Stdout = ts.MkAbs("."), terminal
	for _, name := range []string{"HOME", "NO_COLOR"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	var talk strings.Builder
	cmd.Stderr = &talk
	err = cmd.Start()
	terminal.Close()
	ts.Check(err)
	shown, err := io.ReadAll(screen)
	if !errors.Is(err, syscall.EIO) { // what a terminal says that nobody holds any more
		ts.Fatalf("terminal: %v", err)
	}
	if err := cmd.Wait(); err != nil {
		ts.Logf("%v\n%s%s", err, shown, talk.String())
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), shown, 0o600))
}

// openTerminal opens a pseudo-terminal (pty(7)): what is written to the terminal is
// read from the screen.
func openTerminal() (screen, terminal *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("/dev/ptmx: %w", err)
	}
	screen = os.NewFile(uintptr(fd), "/dev/ptmx")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("unlock the terminal: %w", err), screen.Close())
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("the terminal's number: %w", err), screen.Close())
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, errors.Join(err, screen.Close())
	}
	return screen, terminal, nil
}
