package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/imaledger/imaledger/ledger"
)

// maxConflicts bounds what is kept of one host's forks. A few prove that it
// forked; a host that is owned could make them all day.
const maxConflicts = 16

// keepConflict keeps a refused entry of a host whose chain has another one in its
// place, and that one beside it: evidence/conflicts/HOST/SEQUENCE/LEAF. Two
// entries on one base that one TPM signed say that the host was cloned, rolled
// back, or lies. Files are durable before the refusal is told.
func (s *Server) keepConflict(leaf ledger.Hash, raw []byte, e ledger.HostEntry, r *refusal) error {
	host, sequence, _ := e.Link()
	r.Conflict = true
	index, found := s.chains.at(host, sequence)
	if !found {
		return fmt.Errorf("conflict at %s #%d: the chain has no such entry", host, sequence)
	}
	ctx := context.Background()
	size, err := s.log.sizeOver(ctx, index)
	if err != nil {
		return err
	}
	standing, err := s.log.entry(ctx, index, size)
	if err != nil {
		return fmt.Errorf("conflict at %s #%d: %w", host, sequence, err)
	}
	r.Detail = fmt.Sprintf("the host's chain has another entry at #%d: leaf %x, index %d", sequence, ledger.LeafHash(standing), index)
	first, err := ledger.ParseEntry(standing)
	if err != nil {
		return fmt.Errorf("conflict at %s #%d: the entry that stands: %w", host, sequence, err)
	}
	if signedOnce(first, e) {
		r.signed, r.Conflict = false, false
		return nil
	}
	// ValidHost lets neither a separator nor ".." into a host name.
	dir := evidenceDir + "/conflicts/" + host + "/"
	kept, err := s.storage.Files.List(ctx, dir)
	if err != nil {
		return err
	}
	if len(kept) >= 2*maxConflicts {
		return nil
	}
	dir += fmt.Sprint(sequence, "/")
	return errors.Join(s.keepEvidence(ctx, dir, ledger.LeafHash(standing), standing), s.keepEvidence(ctx, dir, leaf, raw))
}

// keepEvidence writes a file named by its leaf hash, unless it is there.
func (s *Server) keepEvidence(ctx context.Context, dir string, leaf ledger.Hash, raw []byte) error {
	if err := s.storage.Files.Create(ctx, fmt.Sprintf("%s%x", dir, leaf), raw); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("keep evidence %x: %w", leaf[:6], err)
	}
	return nil
}

// signedOnce reports whether one act of signing is all that is behind two entries.
func signedOnce(a, b ledger.Entry) bool {
	switch a := a.(type) {
	case *ledger.Segment:
		b, ok := b.(*ledger.Segment)
		return ok && bytes.Equal(a.Attest, b.Attest)
	case *ledger.Enrolment:
		b, ok := b.(*ledger.Enrolment)
		return ok && bytes.Equal(a.Text(), b.Text())
	}
	return false
}
