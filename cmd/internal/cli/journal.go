package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"syscall"
)

// journaled reports whether w is what systemd reads for its journal
// (systemd.exec(5), JOURNAL_STREAM).
func journaled(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}

// A journalHandler begins each line with its level as the journal has it (sd-daemon(3)),
// so that journalctl -p err finds errors.
type journalHandler struct {
	slog.Handler
	out *journalWriter
}

// A journalWriter writes what the handler below writes in one Write, behind a level.
type journalWriter struct {
	mu     sync.Mutex
	w      io.Writer
	prefix string
}

func (j *journalWriter) Write(b []byte) (int, error) {
	if _, err := j.w.Write(append([]byte(j.prefix), b...)); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	h.out.prefix = journalLevel(r.Level)
	return h.Handler.Handle(ctx, r)
}

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &journalHandler{h.Handler.WithAttrs(attrs), h.out}
}

func (h *journalHandler) WithGroup(name string) slog.Handler {
	return &journalHandler{h.Handler.WithGroup(name), h.out}
}

func journalLevel(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "<3>"
	case l >= slog.LevelWarn:
		return "<4>"
	case l >= slog.LevelInfo:
		return "<6>"
	}
	return "<7>"
}
