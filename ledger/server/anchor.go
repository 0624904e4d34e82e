package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

// judgeAnchor checks that the checkpoint a segment is anchored to is one of this
// log. What was found so once is remembered.
func (s *Server) judgeAnchor(leaf ledger.Hash, seg *ledger.Segment) ([]ledger.Finding, error) {
	if c := s.anchors.find(seg.Anchor.Note); c != nil {
		return anchorMismatch(leaf, seg, c), nil
	}
	c, findings, err := judgeAnchor(s.config.Trust.Policy, leaf, seg, s.addenda, func(size uint64) (ledger.Hash, bool, error) {
		return s.log.root(context.Background(), size)
	})
	if err == nil && len(findings) == 0 {
		s.anchors.add(seg.Anchor.Note, c)
	}
	return findings, err
}

// judgeAnchor checks that the checkpoint a segment is anchored to is one of this
// log: signed, cosigned by a quorum, and of a tree that the log still is, which
// root tells. An auditor with one bundle can check the first two only.
func judgeAnchor(policy *ledger.Policy, leaf ledger.Hash, seg *ledger.Segment, addenda audit.Addenda,
	root func(size uint64) (root ledger.Hash, known bool, err error)) (*ledger.Checkpoint, []ledger.Finding, error) {
	found := func(code ledger.Code, format string, args ...any) []ledger.Finding {
		return []ledger.Finding{anchorFinding(code, leaf, seg, format, args...)}
	}
	raw, err := readSmall(addenda, seg.Anchor.Note, ledger.MaxCheckpoint)
	if errors.Is(err, errTooLong) {
		return nil, found(ledger.CheckpointMalformed, "more than %d bytes", ledger.MaxCheckpoint), nil
	}
	if err != nil {
		return nil, nil, err
	}
	if sha256.Sum256(raw) != seg.Anchor.Note {
		return nil, nil, fmt.Errorf("anchor %x: stored bytes are others", seg.Anchor.Note[:6])
	}
	c, err := policy.Verify(raw)
	if err != nil {
		return nil, found(audit.CheckpointCode(err), "%v", err), nil
	}
	if findings := anchorMismatch(leaf, seg, c); findings != nil {
		return c, findings, nil
	}
	own, known, err := root(c.Size)
	switch {
	case err != nil:
		return c, nil, err
	case !known:
		return c, found(ledger.LogSplit, "the checkpoint is signed, of size %d, and this log has no such tree", c.Size), nil
	case own != c.Root:
		return c, found(ledger.LogSplit, "the checkpoint is signed, of size %d and root %x; this log's root at that size is %x", c.Size, c.Root, own), nil
	}
	return c, nil, nil
}

// anchorMismatch compares a checkpoint with what a segment states of its anchor.
func anchorMismatch(leaf ledger.Hash, seg *ledger.Segment, c *ledger.Checkpoint) []ledger.Finding {
	if c.Origin == seg.Log && c.Size == seg.Anchor.Size && c.Root == seg.Anchor.Root {
		return nil
	}
	return []ledger.Finding{anchorFinding(ledger.AnchorMismatch, leaf, seg, "the checkpoint is of %s, size %d, root %x; the segment states %s, %d, %x",
		c.Origin, c.Size, c.Root, seg.Log, seg.Anchor.Size, seg.Anchor.Root)}
}

func anchorFinding(code ledger.Code, leaf ledger.Hash, seg *ledger.Segment, format string, args ...any) ledger.Finding {
	return ledger.Finding{
		Code: code, Subject: ledger.Subject(seg.Host, seg.Sequence) + ", anchor", Text: fmt.Sprintf(format, args...), Entry: fmt.Sprintf("%x", leaf),
	}
}

// maxAnchors bounds the anchors that are kept in mind. Hosts anchor to the newest
// checkpoint, so those of the last minutes serve nearly all.
const maxAnchors = 1024

// anchors are checkpoints that were verified, and found to be of this log, by the
// digest of their note. What was so once stays so: a log only grows, and the
// policy is the same as long as the process runs. To verify a log's signature and
// a quorum's takes as long as all else that admission does.
type anchors struct {
	mu    sync.Mutex
	known map[ledger.Hash]*ledger.Checkpoint
	order []ledger.Hash // a ring of the keys of known
	next  int           // the oldest of a full ring
}

// find returns an anchor, nil for one that is not known.
func (a *anchors) find(note ledger.Hash) *ledger.Checkpoint {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.known[note]
}

func (a *anchors) add(note ledger.Hash, c *ledger.Checkpoint) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.known == nil:
		a.known = make(map[ledger.Hash]*ledger.Checkpoint)
	case a.known[note] != nil:
		return
	}
	if len(a.order) < maxAnchors {
		a.order = append(a.order, note)
	} else {
		delete(a.known, a.order[a.next])
		a.order[a.next] = note
		a.next = (a.next + 1) % maxAnchors
	}
	a.known[note] = c
}

var errTooLong = errors.New("longer than allowed")

// readSmall reads a stored addendum of at most max bytes.
func readSmall(addenda audit.Addenda, digest ledger.Hash, max int64) ([]byte, error) {
	r, found, err := addenda.Open(digest)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("addendum %x has gone", digest[:6])
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, max+1))
	if err == nil && int64(len(b)) > max {
		return nil, errTooLong
	}
	return b, err
}
