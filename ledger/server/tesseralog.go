package server

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

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
	tesseraLogs.Store(logger)
	routeOnce.Do(func() { klog.SetSlogLogger(slog.New(toCurrent{})) })
}

// Tessera's workers go on for some moments after their log was closed, and klog's
// own logger must not be replaced under them: it is set once, and passes on to
// the logger of the last call. Both are the process's, as klog's is.
var (
	routeOnce   sync.Once
	tesseraLogs atomic.Pointer[slog.Logger]
)

// toCurrent passes records on to the logger of the last call.
type toCurrent struct{}

func (toCurrent) Enabled(ctx context.Context, l slog.Level) bool {
	return tesseraLogs.Load().Enabled(ctx, l)
}

func (toCurrent) Handle(ctx context.Context, r slog.Record) error {
	return tesseraLogs.Load().Handler().Handle(ctx, r)
}

func (toCurrent) WithAttrs(a []slog.Attr) slog.Handler {
	return tesseraLogs.Load().Handler().WithAttrs(a)
}

func (toCurrent) WithGroup(name string) slog.Handler {
	return tesseraLogs.Load().Handler().WithGroup(name)
}

type errorsOnly struct{ slog.Handler }

func (h errorsOnly) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }
func (h errorsOnly) WithAttrs(a []slog.Attr) slog.Handler         { return errorsOnly{h.Handler.WithAttrs(a)} }
func (h errorsOnly) WithGroup(name string) slog.Handler           { return errorsOnly{h.Handler.WithGroup(name)} }
