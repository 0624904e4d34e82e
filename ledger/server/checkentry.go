package server

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/transparency-dev/tessera/api/layout"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/internal/payload"
)

// entries judges every entry, to those too that came during the check, so that a
// payload which was erased meanwhile is known for erased.
func (c *check) entries() error {
	for {
		size, err := c.log.reader.IntegratedSize(c.ctx)
		if err != nil || c.tree.End() >= size {
			return err
		}
		// What is done of the last bundle is passed over.
		skip := c.tree.End() % layout.EntryBundleWidth
		for bundle, err := range c.bundles(c.ctx, c.tree.End()-skip, size) {
			if err != nil {
				c.damage("entries after %d: %v", c.tree.End(), err)
				return c.ctx.Err()
			}
			for _, raw := range bundle[skip:] {
				if err := c.entry(raw); err != nil {
					return err
				}
			}
			skip = 0
			c.progress("entries", c.tree.End(), size)
		}
	}
}

func (c *check) entry(raw []byte) error {
	index, leaf := c.tree.End(), ledger.LeafHash(raw)
	if err := c.tree.Append(leaf[:], nil); err != nil {
		return err
	}
	c.Size = c.tree.End()
	entry, err := ledger.ParseEntry(raw)
	if err != nil {
		c.find(ledger.EntryMalformed, leaf, "entry %d: %v", index, err)
		return nil
	}
	if first, twice := c.index[leaf]; twice {
		c.damage("entry %d is the same as entry %d", index, first)
		return nil
	}
	c.index[leaf] = index
	if h := hostOf(entry); h != "" {
		c.hosts[h] = true
	}
	j := c.state.Judge(leaf, entry, c.addenda)
	if j.Err != nil && !errors.Is(j.Err, payload.ErrDigest) {
		return fmt.Errorf("entry %d: %w", index, j.Err)
	}
	c.state.Commit(j)
	for _, f := range j.Findings {
		if f.Code == ledger.PayloadMissing {
			c.missing[leaf] = append(c.missing[leaf], f)
		} else {
			c.Findings = append(c.Findings, f)
		}
	}
	for _, digest := range entry.Addenda() {
		if err := c.addendum(leaf, entry, digest, j.Err != nil); err != nil {
			return err
		}
	}
	switch e := entry.(type) {
	case *ledger.Segment:
		c.Segments++
		return c.anchor(leaf, e)
	case *ledger.Erasure:
		c.erased(leaf, e, j)
	case *ledger.Acknowledgement:
		c.acknowledged(e, j)
	}
	return nil
}

func (c *check) find(code ledger.Code, leaf ledger.Hash, format string, args ...any) {
	c.Findings = append(c.Findings, ledger.Finding{Code: code, Subject: "entry", Text: fmt.Sprintf(format, args...), Entry: fmt.Sprintf("%x", leaf)})
}

// addendum notes that an entry names a file. Where something has decayed, which
// the judgement found first, each is read again to find out which.
func (c *check) addendum(leaf ledger.Hash, entry ledger.Entry, digest ledger.Hash, decayed bool) error {
	_, found, err := c.addenda.Size(digest)
	if err != nil {
		return err
	}
	if found && !c.named[digest] {
		c.Addenda++
	}
	c.named[digest] = true
	if !found || !decayed {
		return nil
	}
	sound, err := c.sound(digest)
	if err == nil && !sound {
		c.find(decayedCode(entry, digest), leaf, "the file %s has decayed: its bytes are not those that its name says; copy it from a backup", ledger.AddendumPath(digest))
	}
	return err
}

// decayedCode is the finding of an addendum with other bytes.
func decayedCode(entry ledger.Entry, digest ledger.Hash) ledger.Code {
	switch e := entry.(type) {
	case *ledger.Segment:
		if digest == e.Anchor.Note {
			return ledger.AnchorMismatch
		}
	case *ledger.Enrolment:
		return ledger.EnrolmentEvidenceInvalid
	}
	return ledger.PayloadDigest
}

func (c *check) sound(digest ledger.Hash) (bool, error) {
	r, found, err := c.addenda.Open(digest)
	if err != nil || !found {
		return found, err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	if errors.Is(err, payload.ErrDigest) {
		return false, nil
	}
	return err == nil, err
}

func (c *check) anchor(leaf ledger.Hash, seg *ledger.Segment) error {
	if known := c.anchors.find(seg.Anchor.Note); known != nil {
		c.Findings = append(c.Findings, anchorMismatch(leaf, seg, known)...)
		return nil
	}
	if _, found, err := c.addenda.Size(seg.Anchor.Note); err != nil || !found {
		if err == nil {
			c.Findings = append(c.Findings, anchorFinding(ledger.AnchorMissing, leaf, seg, "the file %s is gone", ledger.AddendumPath(seg.Anchor.Note)))
		}
		return err
	}
	known, findings, err := judgeAnchor(c.trust.Policy, leaf, seg, c.addenda, func(size uint64) (ledger.Hash, bool, error) {
		root, known, err := c.log.root(c.ctx, size)
		if err != nil && len(c.Damage) > 0 && c.ctx.Err() == nil {
			return seg.Anchor.Root, true, nil // tiles are damaged, which is found already
		}
		return root, known, err
	})
	if errors.Is(err, payload.ErrDigest) {
		c.Findings = append(c.Findings, anchorFinding(ledger.AnchorMismatch, leaf, seg, "the file %s has decayed: its bytes are not those that its name says; copy it from a backup", ledger.AddendumPath(seg.Anchor.Note)))
		return nil
	}
	c.Findings = append(c.Findings, findings...)
	if err == nil && len(findings) == 0 {
		c.anchors.add(seg.Anchor.Note, known)
	}
	return err
}

// erased accounts for records that are gone: the erasure stands after the segment.
func (c *check) erased(leaf ledger.Hash, e *ledger.Erasure, j *audit.Judgement) {
	if ledger.Worst(j.Findings) == ledger.Contradicted {
		return // it accounts for nothing
	}
	by := audit.ErasedSegment{Leaf: hex.EncodeToString(leaf[:]), By: j.By(), Reason: e.Reason, Time: e.Time, Witnessed: c.NotAfter(leaf)}
	// It follows the policy in force, or it would be contradicted.
	if at, policy := c.state.Policy(); at == e.Retention {
		by.Policy = policy.Policy
	}
	c.Erasures = append(c.Erasures, CheckErasure{by, len(e.Erased)})
	for _, x := range e.Erased {
		c.Erased++
		delete(c.missing, x.Leaf)
	}
}

// acknowledged notes that an operator has stated what a gap is.
func (c *check) acknowledged(e *ledger.Acknowledgement, j *audit.Judgement) {
	if ledger.Worst(j.Findings) == ledger.Contradicted {
		return
	}
	of := hex.EncodeToString(e.Entry[:])
	for i, f := range c.Findings {
		if f.Code == ledger.Gap && e.Finding == ledger.Gap && f.Entry == of {
			c.Findings[i].Code = ledger.GapAcknowledged
			c.Findings[i].Text += "; an operator: " + e.Statement
		}
	}
}

// Segment implements audit.Log.
func (c *check) Segment(leaf ledger.Hash) (*audit.Placed, bool, error) {
	index, found := c.index[leaf]
	if !found {
		return nil, false, nil
	}
	raw, err := c.log.entry(c.ctx, index, c.Size)
	if err != nil {
		return nil, false, err
	}
	entry, err := ledger.ParseEntry(raw)
	if err != nil {
		return nil, false, err
	}
	seg, ok := entry.(*ledger.Segment)
	if !ok {
		return nil, false, nil
	}
	p := &audit.Placed{Segment: seg, NotAfter: c.notAfter(index)}
	anchor := c.anchors.find(seg.Anchor.Note)
	if anchor == nil {
		// One that cannot be read has its finding already.
		if raw, err := readSmall(c.addenda, seg.Anchor.Note, ledger.MaxCheckpoint); err == nil {
			anchor, _ = c.trust.Policy.Verify(raw)
		}
	}
	if anchor != nil {
		p.NotBefore = c.trust.Policy.NotBefore(anchor)
	}
	return p, true, nil
}

// NotAfter implements audit.Log.
func (c *check) NotAfter(leaf ledger.Hash) uint64 {
	if index, found := c.index[leaf]; found {
		return c.notAfter(index)
	}
	return 0
}

// notAfter returns a time by which the log had the entry at an index: that of the
// first day's checkpoint with it, or of the newest checkpoint.
func (c *check) notAfter(index uint64) uint64 {
	t := c.history.notAfter(index)
	if t == 0 && c.newest != nil && index < c.newest.Size {
		t = c.trust.Policy.NotAfter(c.newest)
	}
	return t
}
