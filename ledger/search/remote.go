package search

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/gather"
	"github.com/imaledger/imaledger/ledger/internal/index"
)

// remote is a ledger elsewhere, as an index follows it: index.Source. What it gives
// is held to a checkpoint that the policy accepts, and addenda to their digests.
type remote struct {
	client *client.Client
	trust  *ledger.Trust
	tree   *client.Tree
}

// Checkpoint implements index.Source.
func (r *remote) Checkpoint(ctx context.Context, since *ledger.Checkpoint) (*ledger.Checkpoint, error) {
	raw, err := r.client.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	at, err := r.trust.Policy.Verify(raw)
	if err != nil {
		return nil, contradiction(audit.CheckpointCode(err), r.client.Base, "the ledger's checkpoint: %v", err)
	}
	if since != nil && since.Origin == at.Origin {
		if since.Size > at.Size {
			return nil, fmt.Errorf("the ledger shows an older checkpoint than before: of size %d, and the index has one of size %d", at.Size, since.Size)
		}
		if err := r.client.Consistent(ctx, since, at); err != nil {
			if errors.Is(err, ledger.ErrConsistency) {
				return nil, fmt.Errorf("%w: %w", contradiction(ledger.LogSplit, at.Origin, "the trees of size %d, which the index has read, and of size %d are not of one history", since.Size, at.Size), err)
			}
			return nil, wrongTiles(err, at.Origin)
		}
	}
	r.tree = r.client.Tree(at)
	return at, nil
}

func contradiction(code ledger.Code, subject, format string, args ...any) error {
	return &gather.FindingError{Finding: ledger.Finding{Code: code, Subject: subject, Text: fmt.Sprintf(format, args...)}}
}

// Entries implements index.Source.
func (r *remote) Entries(ctx context.Context, from uint64, of *ledger.Checkpoint) ([][]byte, error) {
	if r.tree == nil || r.tree.Checkpoint().Size < of.Size {
		r.tree = r.client.Tree(of)
	}
	list, err := r.tree.Entries(ctx, from)
	var other *client.OtherBytesError
	if errors.As(err, &other) {
		return nil, contradiction(ledger.ProofInclusion, other.What, "the ledger gave an entry with leaf hash %x, the tree has %x", other.Got, other.Want)
	}
	return list, wrongTiles(err, of.Origin)
}

// wrongTiles makes a finding of tiles that do not lead to the root.
func wrongTiles(err error, origin string) error {
	if errors.Is(err, client.ErrTiles) {
		return contradiction(ledger.LogTiles, origin, "%v", err)
	}
	return err
}

// Addendum implements index.Source. The bytes are hashed by who reads them, and
// errors come with them.
func (r *remote) Addendum(ctx context.Context, leaf ledger.Hash, a ledger.Addendum) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	out, in := io.Pipe()
	go func() { in.CloseWithError(absent(r.client.AddendumOf(ctx, leaf, a.Digest, int64(a.Size), in))) }()
	return &piped{out, cancel}, nil
}

// piped ends what writes to the pipe when it is closed.
type piped struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (p *piped) Close() error {
	p.cancel()
	return p.PipeReader.Close()
}

// absent makes of a ledger's refusal what an index notes.
func absent(err error) error {
	var other *client.OtherBytesError
	switch {
	case errors.As(err, &other):
		return &index.AbsentError{State: index.Altered, Text: err.Error()}
	case client.Absent(err):
		return &index.AbsentError{State: index.Missing, Text: err.Error()}
	case client.Refused(err):
		return &index.AbsentError{State: index.Refused, Text: err.Error()}
	}
	return err
}
