package cli

import (
	"log/slog"
	"os"
	"sync"
	"time"
)

// checkInterval is how often a file is looked at, at most.
const checkInterval = time.Second

// A Reloaded is a value that is read from files, and read again when one of them
// changes: certificates and lists that are renewed while a daemon runs.
type Reloaded[T any] struct {
	load   func() (T, error)
	files  []string
	logger *slog.Logger
	every  time.Duration

	mu      sync.Mutex
	value   T
	seen    []os.FileInfo // of files, as they were when they were last read
	checked time.Time
}

// Reload reads a value from files with load, which knows them. The first time an
// error is the caller's; later the value stays what it was, and the error is
// logged, once for each change: a certificate is often written before its key.
func Reload[T any](logger *slog.Logger, load func() (T, error), files ...string) (*Reloaded[T], error) {
	r := &Reloaded[T]{load: load, files: files, logger: logger, every: checkInterval, seen: stat(files), checked: time.Now()}
	var err error
	r.value, err = load()
	return r, err
}

// Get returns the value, as the files have it.
func (r *Reloaded[T]) Get() T {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.checked) < r.every {
		return r.value
	}
	r.checked = time.Now()
	// What is read is at least as new as what was seen before it.
	now := stat(r.files)
	if same(now, r.seen) {
		return r.value
	}
	r.seen = now
	value, err := r.load()
	if err != nil {
		r.logger.Error("a file has changed and cannot be read; what it said before holds", "files", r.files, "error", err)
		return r.value
	}
	r.logger.Info("read again", "files", r.files)
	r.value = value
	return r.value
}

func stat(files []string) []os.FileInfo {
	list := make([]os.FileInfo, len(files))
	for i, name := range files {
		list[i], _ = os.Stat(name) // nil where there is none
	}
	return list
}

func same(a, b []os.FileInfo) bool {
	for i := range a {
		if (a[i] == nil) != (b[i] == nil) {
			return false
		}
		if a[i] != nil && (!os.SameFile(a[i], b[i]) || a[i].Size() != b[i].Size() || !a[i].ModTime().Equal(b[i].ModTime())) {
			return false
		}
	}
	return true
}
