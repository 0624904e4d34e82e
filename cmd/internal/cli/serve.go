package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Limits of every HTTP server of ours. A client that holds a connection without
// using it costs memory, and these end that.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute // keep-alive: witnesses and logs talk every few seconds
	maxHeaderBytes    = 16 << 10
	shutdownTimeout   = 20 * time.Second // below the 90 s after which systemd kills
)

// NewServer gives an HTTP server with every timeout set. readTimeout and
// writeTimeout bound one whole request and its answer; what they must be depends
// on the size of the bodies.
func NewServer(handler http.Handler, readTimeout, writeTimeout time.Duration, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}

// Serve serves until the context ends, then takes no new connection and lets
// the requests under way finish. It returns nil after an orderly end.
func Serve(ctx context.Context, server *http.Server, listener net.Listener) error {
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	// The context given has ended, so the time to finish is counted on one of its own.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(end); err != nil {
		return errors.Join(fmt.Errorf("stop serving on %s: %w", listener.Addr(), err), server.Close())
	}
	return nil
}
