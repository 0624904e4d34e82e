package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
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
	files  Files
	policy *ledger.Policy
	origin string

	mu   sync.Mutex
	days []historyDay // by time
}

type historyDay struct {
	size     uint64
	notAfter uint64 // Unix seconds
}

// openHistory reads the checkpoints that were kept. Those that the policy does
// not accept, or that are not of the log, count for nothing.
func openHistory(ctx context.Context, files Files, policy *ledger.Policy, origin string) (*history, error) {
	h := &history{files: files, policy: policy, origin: origin}
	return h, h.read(ctx)
}

// read reads the days that are kept, those too that another front end has kept.
func (h *history) read(ctx context.Context) error {
	names, err := h.files.List(ctx, historyDir+"/") // sorted, so by day
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.days = nil
	for _, name := range names {
		if _, err := time.Parse(historyFormat, path.Base(name)); err != nil {
			continue
		}
		raw, err := h.files.Read(ctx, name)
		if err != nil {
			return err
		}
		if c, err := h.policy.Verify(raw); err == nil && c.Origin == h.origin {
			h.append(c)
		}
	}
	return nil
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
	ctx := context.Background()
	err := h.files.Create(ctx, historyDir+"/"+name, c.Raw)
	if errors.Is(err, fs.ErrExist) {
		// Another front end was first. All go by the same one.
		var raw []byte
		if raw, err = h.files.Read(ctx, historyDir+"/"+name); err == nil {
			c, err = h.policy.Verify(raw)
		}
	}
	if err != nil {
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
