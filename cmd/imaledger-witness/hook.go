package main

import (
	"context"
	"log/slog"
	"os/exec"
	"time"
)

// hookTimeout bounds the operator's program.
const hookTimeout = time.Minute

// hook gives what runs the operator's program with a file of evidence, nil if
// there is none. The file stays where it is, whatever the program does.
func (o *options) hook(ctx context.Context, logger *slog.Logger) func(file string) {
	if o.program == "" {
		return nil
	}
	return func(file string) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hookTimeout)
		defer cancel()
		if out, err := exec.CommandContext(ctx, o.program, file).CombinedOutput(); err != nil {
			logger.Error("the program for evidence failed", "program", o.program, "file", file, "error", err, "output", string(out))
		}
	}
}
