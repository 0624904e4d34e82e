package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"syscall"
)

// The exit codes of every command that checks something.
const (
	ExitOK           = 0 // all verified, or done
	ExitContradicted = 1 // evidence contradicts what was claimed
	ExitUsage        = 2 // the command was not given what it needs; nothing was checked
	ExitUndecided    = 3 // evidence is missing, erased, stale or unreachable
)

// Error is an error with the exit code it ends the program with and a hint that
// says what to do about it. A nil Err ends the program with the code and prints
// nothing: the program has printed its findings itself.
type Error struct {
	Code int
	Err  error
	Hint string
}

func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Exit ends the program with the code and without a message.
func Exit(code int) error { return &Error{Code: code} }

// Usagef makes an error for a command that was called wrongly.
func Usagef(format string, args ...any) error {
	return &Error{Code: ExitUsage, Err: fmt.Errorf(format, args...)}
}

// Contradictedf makes an error for evidence that contradicts a claim.
func Contradictedf(format string, args ...any) error {
	return &Error{Code: ExitContradicted, Err: fmt.Errorf(format, args...)}
}

// Undecidedf makes an error for evidence that is not at hand.
func Undecidedf(format string, args ...any) error {
	return &Error{Code: ExitUndecided, Err: fmt.Errorf(format, args...)}
}

// WithHint adds a hint, and keeps the error's exit code. A nil error stays nil.
func WithHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Error{Code: Code(err), Err: err, Hint: fmt.Sprintf(format, args...)}
}

// Code gives the exit code of an error.
//
// An error of no class is a usage error, because that is what flag, cobra and
// the opening of a named file return; but the network and a cancelled context
// leave a question undecided. No such error may ever read as a verdict: 0 and 1
// are only given by name.
func Code(err error) int {
	var e *Error
	var netErr net.Error
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return ExitOK
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, context.Canceled):
		return ExitUndecided
	case errors.As(err, &netErr):
		// Every errno is a net.Error by its methods. One that is not wrapped in an
		// error of the network and says that a name is wrong is of a file.
		if errno, ok := netErr.(syscall.Errno); ok && ofName(errno) {
			return ExitUsage
		}
		return ExitUndecided
	}
	return ExitUsage
}

// ofName reports whether an errno blames the file's name that was given.
func ofName(errno syscall.Errno) bool {
	switch errno {
	case syscall.ENOTDIR, syscall.EISDIR, syscall.ENAMETOOLONG, syscall.ELOOP:
		return true
	}
	return errors.Is(errno, fs.ErrNotExist) || errors.Is(errno, fs.ErrExist) || errors.Is(errno, fs.ErrPermission)
}
