package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/imaledger/imaledger/ledger"
)

// publication follows the checkpoints that the log publishes, each of which has
// its witness quorum, and wakes those who wait for one.
//
// Tessera's own awaiter is not used: one failed read of the checkpoint fails all
// who wait.
type publication struct {
	policy    *ledger.Policy
	interval  time.Duration
	republish time.Duration // after which an idle log has a checkpoint cosigned anew
	logger    *slog.Logger
	fail      func(error)
	keep      func(*ledger.Checkpoint) error // nil: checkpoints are not kept
	// several tells the root at a size, where several front ends publish.
	several func(ctx context.Context, size uint64) (ledger.Hash, bool, error)

	mu     sync.Mutex
	newest *ledger.Checkpoint // nil before the first
	since  time.Time          // when newest was published
	// expected is the size of a tree with all that was appended, 0 where newest has
	// it; due is since when.
	expected uint64
	due      time.Time
	grace    time.Duration // after which what is due is late
	changed  chan struct{} // closed when newest changes
}

func newPublication(policy *ledger.Policy, interval, republish time.Duration, logger *slog.Logger, fail func(error)) *publication {
	// A poll costs one read of a small file; a fifth of the interval adds little
	// to the time to a proof.
	poll := min(max(interval/5, 10*time.Millisecond), 100*time.Millisecond)
	return &publication{policy: policy, interval: poll, republish: republish, logger: logger, fail: fail, grace: quorumGrace, changed: make(chan struct{})}
}

// checkpoint returns the newest published checkpoint, nil before the first.
func (p *publication) checkpoint() *ledger.Checkpoint {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.newest
}

// quorumGrace is how long a checkpoint may be due before the quorum counts as not
// met: witnesses on the other side of the earth take some tenths of a second.
const quorumGrace = 5 * time.Second

// expect notes that the log has an entry, which a checkpoint is to include.
func (p *publication) expect(index uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.newest != nil && p.newest.Size > index {
		return
	}
	if p.expected == 0 {
		p.due = time.Now()
	}
	p.expected = max(p.expected, index+1)
}

// witnessed reports whether the witnesses follow the log: neither does an entry
// wait for long, nor is an idle log's checkpoint older than it is kept.
func (p *publication) witnessed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.newest == nil {
		return false
	}
	if p.expected > 0 {
		return time.Since(p.due) < p.grace
	}
	return time.Since(p.since) < p.republish+p.grace
}

// follow reads the published checkpoint again and again until the context ends.
func (p *publication) follow(ctx context.Context, read func(context.Context) ([]byte, error)) {
	tick := time.NewTicker(p.interval)
	defer tick.Stop()
	for {
		raw, err := read(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			p.logger.Error("the published checkpoint cannot be read", "error", err)
		default:
			if err := p.update(raw); err != nil {
				p.fail(err)
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// update takes a published checkpoint in. One that the policy does not accept,
// or of a tree that has shrunk, is not this log's.
func (p *publication) update(raw []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.newest != nil && bytes.Equal(p.newest.Raw, raw) {
		return nil
	}
	c, err := p.policy.Verify(raw)
	var quorum *ledger.QuorumError
	if errors.As(err, &quorum) {
		// The policy has changed since it was cosigned. The log publishes again.
		return nil
	}
	if err != nil {
		return &integrityError{fmt.Errorf("published checkpoint: %w", err)}
	}
	if p.newest != nil && c.Size < p.newest.Size && p.several != nil {
		// One whose front end stood still while it was writing. The next follows.
		root, found, err := p.several(context.Background(), c.Size)
		if err != nil || found && root == c.Root {
			return nil
		}
		return &integrityError{fmt.Errorf("published checkpoint of size %d has root %x, the log %x", c.Size, c.Root, root)}
	}
	if p.newest != nil && c.Size < p.newest.Size {
		return &integrityError{fmt.Errorf("published checkpoint has size %d, the one before had %d", c.Size, p.newest.Size)}
	}
	if p.keep != nil {
		if err := p.keep(c); err != nil {
			p.logger.Error("the day's checkpoint is not kept", "error", err)
		}
	}
	p.newest, p.since, p.due = c, time.Now(), time.Now()
	if p.newest.Size >= p.expected {
		p.expected = 0
	}
	close(p.changed)
	p.changed = make(chan struct{})
	return nil
}

// wait returns the newest checkpoint once its tree has the index. It returns nil
// where the context ends first, or stop is closed.
func (p *publication) wait(ctx context.Context, index uint64, stop <-chan struct{}) *ledger.Checkpoint {
	for {
		p.mu.Lock()
		newest, changed := p.newest, p.changed
		p.mu.Unlock()
		if newest != nil && newest.Size > index {
			return newest
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		case <-stop:
			return nil
		}
	}
}
