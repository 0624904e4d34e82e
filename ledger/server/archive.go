package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"

	"github.com/imaledger/imaledger/ledger"
)

// The folders and files of a ledger's directory.
const (
	logDir      = "log"
	addendaDir  = "addenda"
	historyDir  = "history"
	evidenceDir = "evidence"

	treeStateFile    = ".state/treeState" // Tessera's: the tree as far as it is durable
	treeVersionFile  = ".state/version"
	treeStateVersion = "1"
)

// Progress is told how far a long command has come: what it does, and how much of
// how much is done.
type Progress func(what string, done, total uint64)

// An archive is a ledger's storage that is read and not run: by its auditor, by a
// backup, or while another process serves it.
type archive struct {
	*Storage
	trust *ledger.Trust
	log   treeLog
	// published is the newest cosigned checkpoint, nil before the first.
	published *ledger.Checkpoint
}

// openArchive reads nothing but the published checkpoint, which it does not judge.
func openArchive(ctx context.Context, s *Storage, trust *ledger.Trust) (*archive, error) {
	a, err := viewArchive(ctx, s, trust)
	if err != nil {
		return nil, err
	}
	return a, a.readPublished(ctx)
}

// viewArchive reads nothing but whether there is a log.
func viewArchive(ctx context.Context, s *Storage, trust *ledger.Trust) (*archive, error) {
	a := &archive{Storage: s, trust: trust}
	a.log = treeLog{policy: trust.Policy, reader: archiveReader{s}}
	if _, err := a.log.reader.ReadCheckpoint(ctx); errors.Is(err, fs.ErrNotExist) {
		if _, _, none := s.Tree.State(ctx); errors.Is(none, fs.ErrNotExist) {
			return nil, fmt.Errorf("no ledger there: %w", none)
		}
	}
	return a, nil
}

// readPublished reads the published checkpoint. Errors are ledger.ErrCheckpoint
// where it has not the form of one.
func (a *archive) readPublished(ctx context.Context) error {
	raw, err := a.log.reader.ReadCheckpoint(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	if a.published, err = ledger.ParseCheckpoint(raw); err != nil {
		return fmt.Errorf("%s: %w", layout.CheckpointPath, err)
	}
	return nil
}

// archiveReader implements tessera.LogReader on a storage.
type archiveReader struct{ *Storage }

func (r archiveReader) ReadCheckpoint(ctx context.Context) ([]byte, error) {
	return r.Log.Read(ctx, layout.CheckpointPath)
}

func (r archiveReader) ReadTile(ctx context.Context, level, index uint64, p uint8) ([]byte, error) {
	return r.partialOrFull(ctx, p, func(p uint8) string { return layout.TilePath(level, index, p) })
}

func (r archiveReader) ReadEntryBundle(ctx context.Context, index uint64, p uint8) ([]byte, error) {
	return r.partialOrFull(ctx, p, func(p uint8) string { return layout.EntriesPath(index, p) })
}

// partialOrFull reads a tile that is not full, or the full one, once there is that:
// who has made it may have removed the others.
func (r archiveReader) partialOrFull(ctx context.Context, p uint8, path func(uint8) string) ([]byte, error) {
	b, err := r.Log.Read(ctx, path(p))
	if p > 0 && errors.Is(err, fs.ErrNotExist) {
		return r.Log.Read(ctx, path(0))
	}
	return b, err
}

// IntegratedSize returns how many entries are durable. Without Tessera's state it
// is those that the checkpoint includes.
func (r archiveReader) IntegratedSize(ctx context.Context) (uint64, error) {
	size, _, err := r.Tree.State(ctx)
	if !errors.Is(err, fs.ErrNotExist) {
		return size, err
	}
	raw, err := r.ReadCheckpoint(ctx)
	if err != nil {
		return 0, err
	}
	c, err := ledger.ParseCheckpoint(raw)
	if err != nil {
		return 0, err
	}
	return c.Size, nil
}

func (r archiveReader) NextIndex(ctx context.Context) (uint64, error) { return r.IntegratedSize(ctx) }

// treeState is the content of treeStateFile.
type treeState struct {
	Size uint64 `json:"size"`
	Root []byte `json:"root"`
}

// dirTree implements Tree by the files that Tessera keeps in a log's directory.
type dirTree struct{ log dirFiles }

func (t dirTree) State(ctx context.Context) (uint64, []byte, error) {
	b, err := t.log.Read(ctx, treeStateFile)
	if err != nil {
		return 0, nil, err
	}
	var state treeState
	if err := json.Unmarshal(b, &state); err != nil {
		return 0, nil, fmt.Errorf("%s: %w", treeStateFile, err)
	}
	return state.Size, state.Root, nil
}

// Set leaves out the heads: each start reads them from the log.
func (t dirTree) Set(ctx context.Context, size uint64, root []byte, _ map[string]Head) error {
	state, err := json.Marshal(treeState{Size: size, Root: root})
	if err != nil {
		return err
	}
	return errors.Join(t.log.Write(ctx, treeVersionFile, []byte(treeStateVersion)), t.log.Write(ctx, treeStateFile, state))
}

// bundles gives the entries from one index, which begins a bundle, to another, a
// bundle at a time.
func (a *archive) bundles(ctx context.Context, from, to uint64) iter.Seq2[[][]byte, error] {
	return func(yield func([][]byte, error) bool) {
		for from < to {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			b, err := client.GetEntryBundle(ctx, a.log.reader.ReadEntryBundle, from/layout.EntryBundleWidth, to)
			want := min(to-from, layout.EntryBundleWidth)
			if err == nil && uint64(len(b.Entries)) < want {
				err = &integrityError{fmt.Errorf("%d entries after %d, want %d", len(b.Entries), from, want)}
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(b.Entries[:want], nil) {
				return
			}
			from += want
		}
	}
}
