package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
)

// ParseFlags parses a daemon's arguments, of which none may be left over. It
// also takes -version, which prints the version. After -h and -version it
// returns flag.ErrHelp, which ends the program with code 0 once it is returned
// from a RunFunc; what they print goes to stdout, because it was asked for.
func ParseFlags(fs *flag.FlagSet, args []string, stdout io.Writer) error {
	version := fs.Bool("version", false, "print the version and exit")
	fs.SetOutput(io.Discard) // the flag package would print the error a second time
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fs.SetOutput(stdout)
		fs.Usage()
		return flag.ErrHelp
	case err != nil:
		return WithHint(Usagef("%w", err), "%s -h lists the flags", fs.Name())
	case *version:
		fmt.Fprintf(stdout, "%s %s\n", fs.Name(), Version())
		return flag.ErrHelp
	case fs.NArg() > 0:
		return WithHint(Usagef("unexpected argument %q", fs.Arg(0)), "%s -h lists the flags", fs.Name())
	}
	return nil
}

// Logger gives a logger that writes to w, which is a program's stderr, records
// of the level and above, as text for a person or as JSON for a collector. Where
// stderr is systemd's journal, each has the journal's level.
func Logger(w io.Writer, level slog.Level, json bool) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	handler := func(w io.Writer) slog.Handler {
		if json {
			return slog.NewJSONHandler(w, options)
		}
		return slog.NewTextHandler(w, options)
	}
	if !journaled(w) {
		return slog.New(handler(w))
	}
	options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey && len(groups) == 0 {
			return slog.Attr{} // the journal has it
		}
		return a
	}
	out := &journalWriter{w: w}
	return slog.New(&journalHandler{handler(out), out})
}

// LogFlags defines -log-level and -log-json. Call what it returns after the
// flags are parsed.
func LogFlags(fs *flag.FlagSet) func(w io.Writer) *slog.Logger {
	var level slog.Level // zero is INFO
	fs.TextVar(&level, "log-level", level, "log records of this `level` and above: debug, info, warn, error")
	json := fs.Bool("log-json", false, "log as JSON, one object a line")
	return func(w io.Writer) *slog.Logger { return Logger(w, level, *json) }
}
