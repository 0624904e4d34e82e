// Package cli is what imaledger's four binaries share: how they start and stop,
// which exit code says what, how an error reaches a person, and the version.
//
// A binary's main function is one line,
//
//	func main() { cli.Main("imaledger-witness", run) }
//
// and run gets everything it may touch as arguments, so that tests call it as
// the shell does. Only this package and main functions may call os.Exit.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// RunFunc is a program: args are without the program's name, data goes to
// stdout and talk to stderr. ctx is cancelled by SIGINT and SIGTERM.
type RunFunc func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error

// Main runs a program and exits with its code. The first SIGINT or SIGTERM
// cancels the context, so that the program ends in order; the second ends it at
// once, as the shell expects.
func Main(name string, run RunFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	// Taking the handler away after the first signal gives the second one back its default action.
	context.AfterFunc(ctx, stop)
	code := Run(ctx, name, run, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Run is Main without the process: it runs the program, prints its error as
// "name: message" with a line "hint: ..." where there is one, and returns the
// exit code.
func Run(ctx context.Context, name string, run RunFunc, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	err := run(ctx, args, stdin, stdout, stderr)
	code := Code(err)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return code
	}
	var e *Error
	if errors.As(err, &e) && e.Err == nil {
		return code // the program has said all there is to say
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		fmt.Fprintf(stderr, "%s: interrupted\n", name)
		return code
	}
	fmt.Fprintf(stderr, "%s: %v\n", name, err)
	if e != nil && e.Hint != "" {
		fmt.Fprintf(stderr, "hint: %s\n", e.Hint)
	}
	return code
}
