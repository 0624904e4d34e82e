package monitor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
)

// maxAnchors bounds the verified anchors that are kept: hosts anchor to the newest
// checkpoint, so neighbours share theirs. Those of one window come on top.
var maxAnchors = 4096

// An anchor is a checkpoint that verified, as far as segments are held to it.
type anchor struct {
	origin              string
	size                uint64
	root                ledger.Hash
	notBefore, notAfter uint64 // Unix seconds
}

// An anchored is a segment and its place.
type anchored struct {
	index uint64
	leaf  ledger.Hash
	*ledger.Segment
}

func (a *anchored) finding(code ledger.Code, format string, args ...any) ledger.Finding {
	return ledger.Finding{Code: code, Subject: ledger.Subject(a.Host, a.Sequence) + ", anchor", Text: fmt.Sprintf(format, args...), Entry: hex.EncodeToString(a.leaf[:])}
}

// judgeAnchors holds the checkpoints that the segments of a window are anchored to
// to the policy, to the segments and to the tree. Each is one that witnesses saw, so
// one of another history is found here whoever it was shown to: then split is set.
func (w *walk) judgeAnchors(list []entry) (found, split []ledger.Finding, err error) {
	// Not while a window is judged: it still needs those that it found known.
	w.mu.Lock()
	if len(w.anchors) >= maxAnchors {
		clear(w.anchors)
	}
	w.mu.Unlock()
	var segments []*anchored
	first := make(map[ledger.Hash]*anchored) // by anchor, of those that are not known
	for i, e := range list {
		if s, ok := e.Entry.(*ledger.Segment); ok {
			a := &anchored{w.Next + uint64(i), e.leaf, s}
			segments = append(segments, a)
			if w.kept(s.Anchor.Note) == nil && first[s.Anchor.Note] == nil {
				first[s.Anchor.Note] = a
			}
		}
	}
	roots, err := w.roots(list, first)
	if err != nil {
		return nil, nil, err
	}
	results := w.verifyAnchors(first, roots)
	for _, a := range segments {
		c := w.kept(a.Anchor.Note)
		if c == nil {
			r := results[a.Anchor.Note]
			if r.err != nil {
				return nil, nil, r.err
			}
			if r.split != nil {
				w.split = r.split
				return nil, []ledger.Finding{r.finding(a)}, nil
			}
			if r.denied {
				w.Unreadable++
			} else {
				found = append(found, r.finding(a))
			}
			continue
		}
		found = append(found, w.place(a, c)...)
	}
	return found, nil, nil
}

// place holds a segment to its anchor.
func (w *walk) place(a *anchored, c *anchor) (found []ledger.Finding) {
	if c.origin != a.Log || c.size != a.Anchor.Size || c.root != a.Anchor.Root {
		return append(found, a.finding(ledger.AnchorMismatch, "the checkpoint is of %s, size %d, root %x; the segment states %s, %d, %x",
			c.origin, c.size, c.root, a.Log, a.Anchor.Size, a.Anchor.Root))
	}
	if c.size > a.index {
		found = append(found, a.finding(ledger.AnchorAfterLeaf, "the checkpoint has size %d, the segment index %d", c.size, a.index))
	}
	if notAfter := w.times.notAfter(a.index); notAfter > 0 && c.notBefore > notAfter {
		found = append(found, a.finding(ledger.TimeOrder, "the checkpoint was witnessed at %s, the segment was in the log by %s", audit.Time(c.notBefore), audit.Time(notAfter)))
	}
	return found
}

// An anchorResult is why an anchor is not known: at most one field is set.
type anchorResult struct {
	code   ledger.Code
	text   string
	denied bool
	split  [][]byte // two checkpoints that no one history leads to
	err    error
}

func (r *anchorResult) finding(a *anchored) ledger.Finding { return a.finding(r.code, "%s", r.text) }

// verifyAnchors verifies anchors side by side, and keeps those that belong to the log.
func (w *walk) verifyAnchors(first map[ledger.Hash]*anchored, roots map[uint64]ledger.Hash) map[ledger.Hash]*anchorResult {
	results := make(map[ledger.Hash]*anchorResult, len(first))
	work := make(chan *anchored)
	var workers sync.WaitGroup
	for range min(2*runtime.GOMAXPROCS(0), len(first)) { // some wait for the ledger
		workers.Go(func() {
			for a := range work {
				c, r := w.verifyAnchor(a, roots)
				w.mu.Lock()
				results[a.Anchor.Note] = r
				w.mu.Unlock()
				if c != nil {
					w.keepAnchor(a.Anchor.Note, c)
				}
			}
		})
	}
	for _, a := range first {
		work <- a
	}
	close(work)
	workers.Wait()
	return results
}

// kept returns an anchor that is known, nil for any other.
func (w *walk) kept(note ledger.Hash) *anchor {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.anchors[note]
}

func (w *walk) keepAnchor(note ledger.Hash, c *anchor) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.anchors[note] = c
	w.times.add(c.size, c.notAfter)
}

// roots takes the tree over a window, and returns the roots that it has on the way
// at sizes that anchors state. To ask the tree for each would hash whole tiles again.
func (w *walk) roots(list []entry, first map[ledger.Hash]*anchored) (map[uint64]ledger.Hash, error) {
	stated := make(map[uint64]bool, len(first))
	for _, a := range first {
		stated[a.Anchor.Size] = true
	}
	if w.grown == nil {
		var err error
		if w.grown, err = w.tree.Range(w.ctx, w.Next); err != nil {
			return nil, err
		}
	}
	roots := make(map[uint64]ledger.Hash, len(stated))
	for i := range list {
		// The range keeps some, which are not to keep the window.
		if err := w.grown.Append(bytes.Clone(list[i].leaf[:]), nil); err != nil {
			return nil, err
		}
		if size := w.grown.End(); stated[size] {
			root, err := w.grown.GetRootHash(nil)
			if err != nil {
				return nil, err
			}
			roots[size] = ledger.Hash(root)
		}
	}
	return roots, nil
}

// verifyAnchor verifies the anchor of a segment. roots are of the tree, at sizes at
// which they are known.
func (w *walk) verifyAnchor(a *anchored, roots map[uint64]ledger.Hash) (*anchor, *anchorResult) {
	r, err := w.open(a.leaf, a.Anchor.Note)
	switch {
	case client.Refused(err):
		return nil, &anchorResult{denied: true}
	case client.Absent(err):
		return nil, &anchorResult{code: ledger.AnchorMissing, text: fmt.Sprintf("the ledger does not have the checkpoint %x", a.Anchor.Note[:6])}
	case err != nil:
		return nil, &anchorResult{err: err}
	}
	defer r.Close()
	raw, err := io.ReadAll(io.LimitReader(r, ledger.MaxCheckpoint+1))
	if err != nil {
		return nil, &anchorResult{err: err}
	}
	if sha256.Sum256(raw) != a.Anchor.Note {
		return nil, &anchorResult{code: ledger.AnchorMismatch, text: "the ledger gave other bytes than those that the segment names"}
	}
	c, err := w.Trust.Policy.Verify(raw)
	if err != nil {
		return nil, &anchorResult{code: audit.CheckpointCode(err), text: err.Error()}
	}
	if c.Origin != w.seen.Origin { // its tree is another log's
		return nil, &anchorResult{code: ledger.AnchorMismatch, text: fmt.Sprintf("the checkpoint is of log %s, this is log %s", c.Origin, w.seen.Origin)}
	}
	if c.Size > w.seen.Size {
		return nil, &anchorResult{code: ledger.AnchorAfterLeaf, text: fmt.Sprintf("the checkpoint has size %d, the log shows %d", c.Size, w.seen.Size)}
	}
	root, known := roots[c.Size]
	if !known {
		root, err = w.tree.Root(w.ctx, c.Size)
	}
	switch {
	case err != nil:
		return nil, &anchorResult{err: err}
	case root != c.Root:
		return nil, &anchorResult{code: ledger.LogSplit, split: [][]byte{c.Raw, w.seen.Raw},
			text: fmt.Sprintf("the checkpoint is signed, of size %d and root %x; this log's root at that size is %x", c.Size, c.Root, root)}
	}
	return &anchor{strings.Clone(c.Origin), c.Size, c.Root, w.Trust.Policy.NotBefore(c), w.Trust.Policy.NotAfter(c)}, nil
}

// Segment implements audit.Log.
func (w *walk) Segment(leaf ledger.Hash) (*audit.Placed, bool, error) {
	for index := range w.leaves.find(leaf) {
		e, err := w.entryAt(w.ctx, index)
		if err != nil {
			return nil, false, err
		}
		if e.leaf != leaf {
			continue // the first bytes of two hashes are the same
		}
		s, ok := e.Entry.(*ledger.Segment)
		if !ok {
			return nil, false, nil
		}
		p := &audit.Placed{Segment: s, NotAfter: w.times.notAfter(index)}
		c := w.kept(s.Anchor.Note)
		if c == nil {
			var r *anchorResult
			if c, r = w.verifyAnchor(&anchored{index, leaf, s}, nil); r != nil && r.err != nil {
				return nil, false, r.err
			}
		}
		if c != nil {
			p.NotBefore = c.notBefore
		}
		return p, true, nil
	}
	return nil, false, nil
}

// lookAhead is how many entries after one are looked at for a checkpoint that
// includes it.
const lookAhead = 2 * bundleSize

// NotAfter implements audit.Log: the earliest checkpoint that hosts are anchored to
// and that includes the entry. The newest checkpoint always does.
func (w *walk) NotAfter(leaf ledger.Hash) uint64 {
	for index := range w.leaves.find(leaf) {
		if e, err := w.entryAt(w.ctx, index); err != nil || e.leaf != leaf {
			continue
		}
		for next := index + 1; next < min(index+lookAhead, w.seen.Size); next++ {
			e, err := w.entryAt(w.ctx, next)
			if err != nil {
				break
			}
			if s, ok := e.Entry.(*ledger.Segment); ok && s.Anchor.Size > index {
				if c, _ := w.verifyAnchor(&anchored{next, e.leaf, s}, nil); c != nil {
					w.keepAnchor(s.Anchor.Note, c)
					break
				}
			}
		}
		return w.times.notAfter(index)
	}
	return 0
}

// entryAt reads an entry that a statement refers to.
func (w *walk) entryAt(ctx context.Context, index uint64) (entry, error) {
	from := index - index%bundleSize
	w.mu.Lock()
	list := w.bundles[from]
	w.mu.Unlock()
	if uint64(len(list)) <= index-from {
		var err error
		if list, err = w.readEntries(ctx, from, min(from+bundleSize, w.seen.Size)); err != nil {
			return entry{}, err
		}
		w.mu.Lock()
		if len(w.bundles) >= 16 {
			clear(w.bundles)
		}
		w.bundles[from] = list
		w.mu.Unlock()
	}
	return list[index-from], nil
}

func subject(index uint64, e entry) string {
	if h, ok := e.Entry.(ledger.HostEntry); ok {
		host, sequence, _ := h.Link()
		return ledger.Subject(host, sequence)
	}
	return fmt.Sprintf("entry %d", index)
}
