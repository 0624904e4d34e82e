package server

import (
	"context"
	"log/slog"

	"k8s.io/klog/v2"
)

// RouteLogs sends what Tessera logs to the logger, nil for nowhere. Only errors
// pass unless the logger takes debug records: the rest repeats at each checkpoint
// what the server says once. Tessera has one logger for the whole process, so
// this is for main functions, which own the process.
func RouteLogs(logger *slog.Logger) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	logger = logger.With("from", "tessera")
	if !logger.Enabled(context.Background(), slog.LevelDebug) {
		logger = slog.New(errorsOnly{logger.Handler()})
	}
	klog.SetSlogLogger(logger)
}

type errorsOnly struct{ slog.Handler }

func (h errorsOnly) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }
func (h errorsOnly) WithAttrs(a []slog.Attr) slog.Handler         { return errorsOnly{h.Handler.WithAttrs(a)} }
func (h errorsOnly) WithGroup(name string) slog.Handler           { return errorsOnly{h.Handler.WithGroup(name)} }
