package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/imaledger/imaledger/ledger"
)

// historyFormat names a day's file: the day that begins the name of the file.
const historyFormat = "2006-01-02"

// history keeps the first checkpoint of each day, by the witnesses' clocks: what
// it includes was in the log by that day. An entry's own first checkpoint is not
// kept, so that what depends on an entry's age waits up to a day longer. A file
// that is lost makes entries younger than they are, never older.
type history struct {
	dir    string
	policy *ledger.Policy

	mu   sync.Mutex
	days []historyDay // by time
}

type historyDay struct {
	size     uint64
	notAfter uint64 // Unix seconds
}

// openHistory reads the checkpoints that were kept. Those that the policy does
// not accept, or that are not of the log, count for nothing.
func openHistory(dir string, policy *ledger.Policy, origin string) (*history, error) {
	h := &history{dir: dir, policy: policy}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	files, err := os.ReadDir(dir) // sorted, so by day
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if _, err := time.Parse(historyFormat, f.Name()); err != nil {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, err
		}
		if c, err := policy.Verify(raw); err == nil && c.Origin == origin {
			h.append(c)
		}
	}
	return h, nil
}

// append takes a checkpoint in unless it says nothing new.
func (h *history) append(c *ledger.Checkpoint) {
	d := historyDay{c.Size, h.policy.NotAfter(c)}
	if n := len(h.days); d.notAfter == 0 || n > 0 && (d.size < h.days[n-1].size || d.notAfter <= h.days[n-1].notAfter) {
		return
	}
	h.days = append(h.days, d)
}

// add keeps a published checkpoint if it is the first of its day.
func (h *history) add(c *ledger.Checkpoint) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.policy.NotAfter(c)
	const day = 24 * 60 * 60
	if n := len(h.days); t == 0 || n > 0 && t/day <= h.days[n-1].notAfter/day {
		return nil
	}
	name := time.Unix(int64(t), 0).UTC().Format(historyFormat)
	if strings.HasPrefix(name, "-") || len(name) != len(historyFormat) {
		return fmt.Errorf("history: the witnesses' clocks say %d", t)
	}
	if err := writeFileOnce(h.dir, name, c.Raw); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	h.append(c)
	return nil
}

// notAfter returns a time by which the log had the entry at an index, 0 if none
// is known.
func (h *history) notAfter(index uint64) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := sort.Search(len(h.days), func(i int) bool { return h.days[i].size > index })
	if i == len(h.days) {
		return 0
	}
	return h.days[i].notAfter
}

// size returns how many entries the log had at a time, in Unix seconds, at least.
func (h *history) size(at uint64) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := sort.Search(len(h.days), func(i int) bool { return h.days[i].notAfter > at })
	if i == 0 {
		return 0
	}
	return h.days[i-1].size
}

// writeFileOnce writes a file and makes it durable, unless it is there.
func writeFileOnce(dir, name string, content []byte) error {
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	temp, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return err
	}
	_, err = temp.Write(content)
	err = errors.Join(err, temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		os.Remove(temp.Name())
	}
	return err
}
