package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

// DefaultEraseInterval is how often the eraser looks for what may be erased.
const DefaultEraseInterval = time.Hour

// An erasedError answers who asks for a payload that was erased.
type erasedError struct{ by ledger.Hash }

func (e *erasedError) Error() string {
	return fmt.Sprintf("erased; the erasure is the log's entry %x", e.by)
}

// placed returns a segment of the log with the times that bracket it.
func (s *Server) placed(ctx context.Context, leaf ledger.Hash) (*audit.Placed, bool, error) {
	index, found := s.chains.find(leaf)
	if !found {
		return nil, false, nil
	}
	_, entry, err := s.loggedEntry(ctx, leaf)
	if err != nil {
		return nil, false, err
	}
	seg, ok := entry.(*ledger.Segment)
	if !ok {
		return nil, false, nil
	}
	p, err := s.placedAt(index, seg)
	return p, err == nil, err
}

// placedAt returns the segment at an index of the log with the times that bracket it.
func (s *Server) placedAt(index uint64, seg *ledger.Segment) (*audit.Placed, error) {
	p := &audit.Placed{Segment: seg, NotAfter: s.history.notAfter(index)}
	if anchor := s.anchors.find(seg.Anchor.Note); anchor != nil {
		p.NotBefore = s.config.Trust.Policy.NotBefore(anchor)
		return p, nil
	}
	// It was verified when the segment was admitted.
	raw, err := readSmall(s.addenda, seg.Anchor.Note, ledger.MaxCheckpoint)
	if err != nil {
		return nil, fmt.Errorf("anchor of %s #%d: %w", seg.Host, seg.Sequence, err)
	}
	anchor, err := ledger.ParseCheckpoint(raw)
	if err != nil {
		return nil, fmt.Errorf("anchor of %s #%d: %w", seg.Host, seg.Sequence, err)
	}
	if verified, err := s.config.Trust.Policy.Verify(raw); err == nil {
		anchor = verified
	}
	p.NotBefore = s.config.Trust.Policy.NotBefore(anchor)
	return p, nil
}

// facts are what a statement refers to, read before the fleet is locked. It
// implements audit.Log.
type facts map[ledger.Hash]*audit.Placed

func (f facts) Segment(leaf ledger.Hash) (*audit.Placed, bool, error) {
	p, found := f[leaf]
	return p, found, nil
}

// NotAfter implements audit.Log: an entry that is being admitted has no time yet,
// and one that was admitted was held to more than certainty then.
func (f facts) NotAfter(ledger.Hash) uint64 { return 0 }

// refersTo reads what a statement refers to.
func (s *Server) refersTo(ctx context.Context, entry ledger.Entry) (facts, error) {
	var leaves []ledger.Hash
	switch e := entry.(type) {
	case *ledger.Erasure:
		for _, x := range e.Erased {
			leaves = append(leaves, x.Leaf)
		}
	case *ledger.Appraisal:
		leaves = append(leaves, e.Segment)
	}
	f := make(facts)
	for _, leaf := range leaves {
		p, found, err := s.placed(ctx, leaf)
		if err != nil {
			return nil, err
		}
		if found {
			f[leaf] = p
		}
	}
	return f, nil
}

// witnessed returns the time that the witnesses of the newest checkpoint state, in
// Unix seconds, 0 without any. The ledger's own clock decides nothing: one that is
// set ten years ahead must not erase a fleet.
func (s *Server) witnessed() uint64 {
	if c := s.log.newest.checkpoint(); c != nil {
		return s.config.Trust.Policy.NotBefore(c)
	}
	return 0
}

// judgeErasure holds an erasure to what the ledger knows beyond the statements:
// whether the time has come for certain.
func (s *Server) judgeErasure(leaf ledger.Hash, e *ledger.Erasure, f facts) (findings []ledger.Finding) {
	now := s.witnessed()
	for _, x := range e.Erased {
		why := s.chains.keeps(f[x.Leaf], x.Leaf, now)
		if why == "" {
			continue
		}
		seg := f[x.Leaf]
		findings = append(findings, ledger.Finding{
			Code: ledger.StatementInvalid, Subject: ledger.Subject(seg.Host, seg.Sequence), Text: why, Entry: fmt.Sprintf("%x", leaf),
		})
	}
	return findings
}

// erase deletes what an erasure names. The order:
//
//  1. The erasure is durable in the log, and the chains know it.
//  2. Payloads are deleted, but for those that a segment needs that is not erased.
//
// A crash between leaves payloads, which the next start deletes, and so does tidy
// after a deletion that failed. Nothing is ever gone that no erasure accounts for.
func (s *Server) erase(payloads ...ledger.Hash) error {
	var errs []error
	for _, digest := range payloads {
		needed := func() bool { return s.chains.needs(digest) }
		err := s.withheld(digest, func() error { return s.pending.remove(digest, needed, s.addenda.Delete) })
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.chains.removed(digest)
	}
	return errors.Join(errs...)
}

func payloadsOf(e *ledger.Erasure) (list []ledger.Hash) {
	for _, x := range e.Erased {
		list = append(list, x.Payload)
	}
	return list
}

// finishErasures deletes what erasures name and is there all the same.
func (s *Server) finishErasures() error {
	var left []ledger.Hash
	for _, digest := range s.chains.erasedPayloads(s.storage.Sequencer != nil) {
		_, found, err := s.addenda.Size(digest)
		if err != nil {
			return err
		}
		if found {
			left = append(left, digest)
		} else {
			s.chains.removed(digest)
		}
	}
	return s.erase(left...)
}

// watchErasures erases what the policy no longer keeps, from time to time, if the
// ledger has an operator's key.
func (s *Server) watchErasures() {
	if s.config.Eraser == nil {
		return
	}
	tick := time.NewTicker(s.config.EraseInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.draining:
			return
		case <-s.log.ctx.Done():
			return
		}
		if n, err := s.eraseDue(s.log.ctx); err != nil && s.Err() == nil {
			s.config.Logger.Error("records whose time has come are not erased", "error", err)
		} else if n > 0 {
			s.config.Logger.Info("records erased by policy", "segments", n)
		}
	}
}

// eraseDue states and does the erasure of all that may be erased.
func (s *Server) eraseDue(ctx context.Context) (n int, err error) {
	if s.chains.ended() != nil {
		return 0, nil // a log that has ended takes no erasure, and so keeps its records
	}
	leaf, policy := s.chains.policy()
	now := s.witnessed()
	if policy == nil || policy.Days == ledger.Forever || now < policy.Days*secondsADay {
		return 0, nil
	}
	var batch []ledger.Erased
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		slices.SortFunc(batch, func(a, b ledger.Erased) int { return bytes.Compare(a.Leaf[:], b.Leaf[:]) })
		e := &ledger.Erasure{
			Log: s.Origin(), Retention: leaf, Erased: batch, Reason: fmt.Sprintf("older than %d days", policy.Days), Time: uint64(s.config.Now().Unix()),
		}
		if err := ledger.Sign(e, s.config.Eraser); err != nil {
			return err
		}
		if _, _, err := s.admit(e.Marshal()); err != nil {
			return err
		}
		n += len(batch)
		batch = nil
		return nil
	}
	size, err := s.log.reader.IntegratedSize(ctx)
	if err != nil {
		return 0, err
	}
	segments := segmentReader{Server: s, size: size}
	for index := range s.chains.live(0, s.history.size(now-policy.Days*secondsADay)) {
		seg, at, err := segments.at(ctx, index)
		if err != nil {
			return n, err
		}
		if s.chains.keeps(seg, at, now) != "" {
			continue
		}
		batch = append(batch, ledger.Erased{Leaf: at, Payload: seg.Payload.Digest})
		if len(batch) == ledger.MaxErased {
			if err := flush(); err != nil {
				return n, err
			}
		}
	}
	return n, flush()
}

const secondsADay = 24 * 60 * 60

// A segmentReader reads segments by their index in the log: of those that stand
// together the file that has them once.
type segmentReader struct {
	*Server
	size    uint64   // of the tree
	first   uint64   // index of the first of entries
	entries [][]byte // of one file
}

func (r *segmentReader) at(ctx context.Context, index uint64) (p *audit.Placed, leaf ledger.Hash, err error) {
	if n := index / layout.EntryBundleWidth; r.entries == nil || r.first != n*layout.EntryBundleWidth {
		bundle, err := client.GetEntryBundle(ctx, r.log.reader.ReadEntryBundle, n, r.size)
		if err != nil {
			return nil, leaf, err
		}
		r.first, r.entries = n*layout.EntryBundleWidth, bundle.Entries
	}
	if index-r.first >= uint64(len(r.entries)) {
		return nil, leaf, fmt.Errorf("entry %d: its file has %d entries", index, len(r.entries))
	}
	raw := r.entries[index-r.first]
	leaf = ledger.LeafHash(raw)
	seg, err := ledger.ParseSegment(raw)
	if known, found := r.chains.find(leaf); err != nil || !found || known != index {
		return nil, leaf, &integrityError{fmt.Errorf("entry %d is no segment that the log knows", index)}
	}
	p, err = r.placedAt(index, seg)
	return p, leaf, err
}
