package server

import (
	"log/slog"

	"k8s.io/klog/v2"
)

// RouteLogs sends what Tessera logs to the logger, nil for nowhere. Tessera logs
// through one logger of the whole process, so this is for main functions, which
// own the process. Most of it repeats each second what the server says once.
func RouteLogs(logger *slog.Logger) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	klog.SetSlogLogger(logger.With("from", "tessera"))
}
