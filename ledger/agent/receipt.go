package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/tpm/ima"
)

// ErrLedger is a ledger that answers with what does not verify. Nothing is
// deleted by such an answer.
var ErrLedger = errors.New("the ledger's answer does not verify")

// ErrSplit is a ledger that signed two histories. The two checkpoints are kept as
// evidence.
var ErrSplit = errors.New("the ledger signed two histories")

// ErrUnwitnessed is an entry that is in the log, and that not enough witnesses have
// seen in time.
var ErrUnwitnessed = errors.New("it is in the log, and the witnesses have not seen it yet")

// submitPending submits the entries that have no receipt, in their order: the
// ledger takes a host's entries in no other. due, if it is not nil, is asked between two
// of them, and says that the rest is to be left to the next round.
func (a *Agent) submitPending(ctx context.Context, due func() bool) error {
	var waiting error
	for i, n := range slices.Clone(a.chain.pending) {
		if i > 0 && due != nil && due() {
			a.more = true
			return waiting
		}
		err := a.submit(ctx, n)
		if err != nil {
			err = fmt.Errorf("#%d: %w", n, err)
		}
		switch {
		case errors.Is(err, client.ErrWaiting): // the others are to be carried as well
			waiting = err
		case err != nil:
			return err
		}
	}
	return waiting
}

func (a *Agent) submit(ctx context.Context, n uint64) error {
	raw, entry, err := a.chain.entry(n)
	if err != nil {
		return err
	}
	leaf := ledger.LeafHash(raw)
	s, ok := entry.(*ledger.Segment)
	var accepted *client.Accepted
	if !ok || a.chain.hasReceipt(n) {
		// The ledger wrote it, or had it: what was erased since cannot be uploaded again.
		accepted, err = a.Ledger.Proof(ctx, leaf, a.Wait)
	}
	if ok && accepted == nil {
		accepted, err = a.submitSegment(ctx, n, raw, s)
	}
	if err != nil {
		return err
	}
	a.Step("submitted")
	if accepted.Proof == "" {
		return ErrUnwitnessed
	}
	return a.receive(ctx, n, leaf, []byte(accepted.Proof))
}

func (a *Agent) submitSegment(ctx context.Context, n uint64, raw []byte, s *ledger.Segment) (*client.Accepted, error) {
	if err := client.Upload(ctx, raw, a.Ledger.SubmitLeaf, func() error { return a.putAddenda(ctx, n, s) }); err != nil {
		return nil, err
	}
	a.Step("uploaded")
	return a.Ledger.SubmitLeaf(ctx, raw, a.Wait)
}

// receive verifies a receipt as an auditor would, holds its checkpoint against
// the newest one that was trusted, and keeps both.
func (a *Agent) receive(ctx context.Context, n uint64, leaf ledger.Hash, proof []byte) error {
	receipt, findings := audit.CheckReceipt(a.Trust, fmt.Sprintf("#%d", n), leaf, proof)
	if receipt == nil {
		if len(findings) == 0 {
			return ErrLedger
		}
		return fmt.Errorf("%w: %s", ErrLedger, findings[0])
	}
	if err := a.trust(ctx, receipt.Checkpoint); err != nil {
		return err
	}
	if err := a.chain.receipted(n, proof); err != nil {
		return err
	}
	a.Step("receipted")
	return a.noteReceipt(n, receipt.NotAfter)
}

// trust takes a verified checkpoint as the newest, once it is known to continue
// the one before.
func (a *Agent) trust(ctx context.Context, c *ledger.Checkpoint) error {
	for _, known := range []*ledger.Checkpoint{a.trusted, a.seen} {
		if err := a.oneHistory(ctx, known, c); err != nil {
			return err
		}
	}
	if a.trusted != nil && a.trusted.Size > c.Size {
		return nil
	}
	if a.seen != nil && a.seen.Size > c.Size {
		a.trusted = c // what is on disk is newer, and the log is held to it
		return nil
	}
	if err := a.spool.write(checkpointFile, c.Raw); err != nil {
		return err
	}
	a.trusted, a.seen = c, nil
	return nil
}

// oneHistory checks that one of two checkpoints continues the other.
func (a *Agent) oneHistory(ctx context.Context, older, newer *ledger.Checkpoint) error {
	if older == nil {
		return nil
	}
	if older.Size > newer.Size {
		older, newer = newer, older
	}
	err := a.Ledger.Consistent(ctx, older, newer)
	if errors.Is(err, ledger.ErrConsistency) {
		return errors.Join(fmt.Errorf("%w: %w", ErrSplit, err), a.keepSplit(older, newer))
	}
	return err
}

func (a *Agent) keepSplit(older, newer *ledger.Checkpoint) error {
	return errors.Join(
		a.spool.keep(fmt.Sprintf("split-%d-%x", older.Size, older.Root[:6]), older.Raw),
		a.spool.keep(fmt.Sprintf("split-%d-%x", newer.Size, newer.Root[:6]), newer.Raw))
}

// refreshCheckpoint fetches the newest checkpoint, for the next anchor: the
// newer it is, the closer is the time from which a quote is known to be.
func (a *Agent) refreshCheckpoint(ctx context.Context) error {
	raw, err := a.Ledger.Checkpoint(ctx)
	if err != nil {
		return err
	}
	c, err := a.Trust.Policy.Verify(raw)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrLedger, err)
	}
	if a.trusted != nil && c.Size < a.trusted.Size {
		return fmt.Errorf("%w: its newest checkpoint has size %d, it gave one of size %d before", ErrLedger, c.Size, a.trusted.Size)
	}
	return a.trust(ctx, c)
}

// uploadTimeout is how long one addendum may take, besides a second for each
// MiB.
const uploadTimeout = time.Minute

func (a *Agent) putAddenda(ctx context.Context, n uint64, s *ledger.Segment) error {
	anchor, err := a.spool.read(entryName(n, anchorSuffix), ledger.MaxCheckpoint)
	if err != nil {
		return err
	}
	if err := a.put(ctx, s.Anchor.Note, int64(len(anchor)), func() (io.Reader, error) { return bytes.NewReader(anchor), nil }); err != nil {
		return fmt.Errorf("anchor: %w", err)
	}
	at, err := a.chain.place(n)
	if err != nil {
		return err
	}
	l := a.list
	if l == nil || l.number != at.List {
		// Of an older list: that one is whole, and grows no more.
		if l, err = openOldList(a.spool, at.List); err != nil {
			return err
		}
		defer l.close()
	}
	size := int64(s.Payload.Size)
	open := func() (io.Reader, error) {
		h := sha256.New()
		if _, err := io.Copy(h, l.section(at.Offset, at.Offset+size)); err != nil || ledger.Hash(h.Sum(nil)) != s.Payload.Digest {
			return nil, errors.Join(errDamagedRecords, err)
		}
		return l.section(at.Offset, at.Offset+size), nil
	}
	err = a.put(ctx, s.Payload.Digest, size, open)
	if errors.Is(err, errDamagedRecords) {
		err = fmt.Errorf("%s: from byte %d on: %w", l.path(ima.SHA1), at.Offset, err)
		if l == a.list {
			err = errors.Join(err, a.mendList())
		}
	}
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	return nil
}

// errDamagedRecords is a list's file that changed after a segment was made of it.
var errDamagedRecords = errors.New("the exported list is damaged: what the kernel has still is read again")

func (a *Agent) put(ctx context.Context, digest ledger.Hash, size int64, open func() (io.Reader, error)) error {
	ctx, cancel := context.WithTimeout(ctx, uploadTimeout+time.Duration(size>>20)*time.Second)
	defer cancel()
	if _, found, err := a.Ledger.HasAddendum(ctx, digest); err != nil || found {
		return err
	}
	r, err := open()
	if err != nil {
		return err
	}
	return a.Ledger.PutAddendum(ctx, digest, size, r)
}
