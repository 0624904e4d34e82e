package index

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/imaledger/imaledger/ledger"
)

// maxAnchors is how many anchors' times are kept in mind: hosts anchor to the newest
// checkpoint.
const maxAnchors = 4096

// timeStep is how close, in seconds, times of the log's growth are kept.
const timeStep = 60

// anchorTimes reads from anchors when the log had how many entries. An anchor
// is a checkpoint that witnesses cosigned: the segment's quote is not older, and all
// entries of its tree were in the log by then.
type anchorTimes struct {
	policy *ledger.Policy
	mu     *sync.Mutex
	known  map[ledger.Hash][2]uint64
}

func newAnchorTimes(policy *ledger.Policy) anchorTimes {
	return anchorTimes{policy, new(sync.Mutex), make(map[ledger.Hash][2]uint64)}
}

// of returns the times of a segment's anchor, 0 where there is none that the policy
// accepts.
func (a *anchorTimes) of(ctx context.Context, source Source, leaf ledger.Hash, seg *ledger.Segment) (notBefore, notAfter uint64, err error) {
	a.mu.Lock()
	t, known := a.known[seg.Anchor.Note]
	a.mu.Unlock()
	if known {
		return t[0], t[1], nil
	}
	content, err := source.Addendum(ctx, leaf, ledger.Addendum{Size: ledger.MaxCheckpoint, Digest: seg.Anchor.Note})
	var absent *AbsentError
	if errors.As(err, &absent) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("anchor of %s #%d: %w", seg.Host, seg.Sequence, err)
	}
	defer content.Close()
	raw, err := io.ReadAll(io.LimitReader(content, ledger.MaxCheckpoint))
	if errors.As(err, &absent) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("anchor of %s #%d: %w", seg.Host, seg.Sequence, err)
	}
	c, err := a.policy.Verify(raw)
	if err != nil || c.Origin != seg.Log || c.Size != seg.Anchor.Size || c.Root != seg.Anchor.Root {
		return 0, 0, nil // it tells no time; an audit says what is wrong with it
	}
	t = [2]uint64{a.policy.NotBefore(c), a.policy.NotAfter(c)}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.known) >= maxAnchors {
		clear(a.known)
	}
	a.known[seg.Anchor.Note] = t
	return t[0], t[1], nil
}
