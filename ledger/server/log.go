package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
)

const (
	batchMaxSize   = 1024
	witnessTimeout = 5 * time.Second
	// sharedGarbageInterval: each time Tessera removes the partial tiles of 25,000
	// entries at most.
	sharedGarbageInterval = 5 * time.Second
)

// treeLog is the Tessera log.
type treeLog struct {
	policy *ledger.Policy
	logger *slog.Logger
	reader tessera.LogReader
	add    tessera.AddFn
	newest *publication

	witnesses *witnesses
	signers   []*logSigner

	shutdown func(context.Context) error
	ctx      context.Context // ends with close; Tessera's background work hangs on it
	cancel   context.CancelFunc
}

// openLog opens the log, or starts an empty one.
func openLog(ctx context.Context, c *Config, storage *Storage, fail func(error)) (*treeLog, error) {
	l := &treeLog{policy: c.Trust.Policy, logger: c.Logger}
	l.ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	l.witnesses = newWitnesses(l.policy, c.Logger)
	l.newest = newPublication(l.policy, c.CheckpointInterval, c.RepublishInterval, c.Logger, fail)
	var first note.Signer
	var more []note.Signer
	l.signers, first, more = watchSigners(c)
	opts := tessera.NewAppendOptions().
		WithCheckpointSigner(first, more...).
		WithBatching(batchMaxSize, c.BatchMaxAge).
		WithCheckpointInterval(c.CheckpointInterval).
		WithCheckpointRepublishInterval(c.RepublishInterval)
	group, err := witnessGroup(c)
	if err != nil {
		return nil, err
	}
	if storage.Sequencer != nil {
		l.newest.several = l.root
		// Its default is slower than a busy log makes partial tiles.
		opts.WithGarbageCollectionInterval(sharedGarbageInterval)
	}
	if group != nil {
		// Never FailOpen: a checkpoint without its quorum is not published, and
		// who waits for one is told so.
		opts.WithWitnesses(*group, &tessera.WitnessOptions{Timeout: witnessTimeout})
	}
	driver, err := storage.Driver(l.ctx, l.witnesses.client())
	if err == nil {
		err = l.start(ctx, driver, opts, storage)
	}
	if err != nil {
		l.cancel()
		return nil, err
	}
	return l, nil
}

// start starts Tessera. On an empty storage Tessera wants the first checkpoint
// cosigned at once and gives up without its witnesses, though a second start
// would do: the tree is there. Witnesses that are started after the ledger must
// not keep it from starting, so the second start follows at once.
func (l *treeLog) start(ctx context.Context, driver tessera.Driver, opts *tessera.AppendOptions, storage *Storage) error {
	_, missing := storage.Log.Read(ctx, layout.CheckpointPath)
	appender, shutdown, reader, err := tessera.NewAppender(l.ctx, driver, opts)
	if _, _, stateless := storage.Tree.State(ctx); err != nil && errors.Is(missing, fs.ErrNotExist) && stateless == nil {
		l.logger.Warn("the witnesses have not cosigned the first checkpoint; the ledger starts without and asks again: are they running, do they know this log's key?", "error", err)
		appender, shutdown, reader, err = tessera.NewAppender(l.ctx, driver, opts)
	}
	if err != nil {
		return err
	}
	l.add, l.shutdown, l.reader = appender.Add, shutdown, reader
	if storage.Sequencer != nil {
		l.reader = sharedReader{reader}
	}
	return nil
}

// watch begins to follow the published checkpoints.
func (l *treeLog) watch() { go l.newest.follow(l.ctx, l.reader.ReadCheckpoint) }

func (l *treeLog) close() { l.cancel() }

// append adds an entry and returns its index when it is durable and part of the
// tree. After an error it is not known whether the log has the entry.
func (l *treeLog) append(entry []byte) (uint64, error) {
	type result struct {
		index tessera.Index
		err   error
	}
	done := make(chan result, 1)
	future := l.add(l.ctx, tessera.NewEntry(entry))
	go func() {
		index, err := future()
		done <- result{index, err}
	}()
	select {
	case r := <-done:
		if r.err == nil {
			l.newest.expect(r.index.Index)
		}
		return r.index.Index, r.err
	case <-l.ctx.Done():
		// The queue's worker has gone, and the future with it.
		return 0, ErrStopped
	}
}

// integrationTimeout is how long an entry that is durable may take to be in the tree.
const integrationTimeout = 10 * time.Second

// sizeOver returns the size of a tree that has an index which was given away. Where
// front ends share a log it is there some moments later.
func (l *treeLog) sizeOver(ctx context.Context, index uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, integrationTimeout)
	defer cancel()
	for {
		size, err := l.reader.IntegratedSize(ctx)
		if err != nil || size > index {
			return size, err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return 0, fmt.Errorf("entry %d is not in the tree yet: %w", index, ctx.Err())
		}
	}
}

// entry returns the entry at an index of a tree of the given size.
func (l *treeLog) entry(ctx context.Context, index, size uint64) ([]byte, error) {
	n := index / layout.EntryBundleWidth
	b, err := client.GetEntryBundle(ctx, l.reader.ReadEntryBundle, n, size)
	if err != nil {
		return nil, err
	}
	i := index % layout.EntryBundleWidth
	if i >= uint64(len(b.Entries)) {
		return nil, fmt.Errorf("entry %d: its bundle has %d entries", index, len(b.Entries))
	}
	return b.Entries[i], nil
}

// root computes the root of the tree of the given size from the tiles. found is
// false where the log is smaller.
func (l *treeLog) root(ctx context.Context, size uint64) (root ledger.Hash, found bool, err error) {
	have, err := l.reader.IntegratedSize(ctx)
	if err != nil || size > have {
		return root, false, err
	}
	if size == 0 {
		return ledger.Hash(rfc6962.DefaultHasher.EmptyRoot()), true, nil
	}
	// What there is for certain are the tiles of the tree as it is now. Those of
	// another size have the same hashes, and more.
	tiles := func(ctx context.Context, level, index uint64, p uint8) ([]byte, error) {
		b, err := l.reader.ReadTile(ctx, level, index, layout.PartialTileSize(level, index, have))
		if n := int(p) * len(root); err == nil && n > 0 {
			if len(b) < n {
				return nil, &integrityError{fmt.Errorf("tile %d/%d has %d bytes", level, index, len(b))}
			}
			b = b[:n]
		}
		return b, err
	}
	nodes, err := client.FetchRangeNodes(ctx, size, tiles)
	if err != nil {
		return root, false, fmt.Errorf("root at size %d: %w", size, err)
	}
	factory := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	r, err := factory.NewRange(0, size, nodes)
	if err != nil {
		return root, false, fmt.Errorf("root at size %d: %w", size, err)
	}
	b, err := r.GetRootHash(nil)
	if err != nil {
		return root, false, fmt.Errorf("root at size %d: %w", size, err)
	}
	return ledger.Hash(b), true, nil
}

// prove makes the proof that a checkpoint includes a leaf, and verifies it as its
// reader will: what does not verify is never handed out.
func (l *treeLog) prove(ctx context.Context, leaf ledger.Hash, index uint64, cp *ledger.Checkpoint) ([]byte, error) {
	builder, err := client.NewProofBuilder(ctx, cp.Size, l.reader.ReadTile)
	if err != nil {
		return nil, fmt.Errorf("prove leaf %x at %d of %d: %w", leaf[:6], index, cp.Size, err)
	}
	nodes, err := builder.InclusionProof(ctx, index)
	if err != nil {
		return nil, fmt.Errorf("prove leaf %x at %d of %d: %w", leaf[:6], index, cp.Size, err)
	}
	p := &ledger.Proof{Index: index, Checkpoint: cp.Raw}
	for _, n := range nodes {
		if len(n) != len(ledger.Hash{}) {
			return nil, fmt.Errorf("prove leaf %x: node of %d bytes", leaf[:6], len(n))
		}
		p.Hashes = append(p.Hashes, ledger.Hash(n))
	}
	if _, err := p.Verify(l.policy, leaf); err != nil {
		return nil, &integrityError{fmt.Errorf("own proof of leaf %x: %w", leaf[:6], err)}
	}
	return p.Marshal(), nil
}

// An integrityError is one that must never be: the log on disk is not what was
// signed.
type integrityError struct{ err error }

func (e *integrityError) Error() string { return "log integrity: " + e.err.Error() }
func (e *integrityError) Unwrap() error { return e.err }
