package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/internal/payload"
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

// An archive is a ledger's directory that is read and not run: by its auditor, by a
// backup, or while another process serves it.
type archive struct {
	dir     string
	trust   *ledger.Trust
	log     treeLog
	addenda *payload.Store
	// published is the newest cosigned checkpoint, nil before the first.
	published *ledger.Checkpoint
}

// openArchive reads nothing but the published checkpoint, which it does not judge.
func openArchive(dir string, trust *ledger.Trust) (*archive, error) {
	a, err := viewArchive(dir, trust)
	if err != nil {
		return nil, err
	}
	return a, a.readPublished()
}

// viewArchive reads nothing.
func viewArchive(dir string, trust *ledger.Trust) (*archive, error) {
	a := &archive{dir: dir, trust: trust, addenda: payload.View(filepath.Join(dir, addendaDir))}
	files := archiveReader{client.FileFetcher{Root: filepath.Join(dir, logDir)}}
	a.log = treeLog{dir: files.Root, policy: trust.Policy, reader: files}
	if _, err := os.Stat(files.Root); err != nil {
		return nil, fmt.Errorf("no ledger there: %w", err)
	}
	return a, nil
}

// readPublished reads the published checkpoint. Errors are ledger.ErrCheckpoint
// where it has not the form of one.
func (a *archive) readPublished() error {
	raw, err := a.log.reader.ReadCheckpoint(context.Background())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	if a.published, err = ledger.ParseCheckpoint(raw); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(a.log.dir, layout.CheckpointPath), err)
	}
	return nil
}

// archiveReader implements tessera.LogReader on a directory.
type archiveReader struct{ client.FileFetcher }

// IntegratedSize returns how many entries are durable. Without Tessera's state it
// is those that the checkpoint includes.
func (r archiveReader) IntegratedSize(ctx context.Context) (uint64, error) {
	b, err := os.ReadFile(filepath.Join(r.Root, treeStateFile))
	if errors.Is(err, fs.ErrNotExist) {
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
	if err != nil {
		return 0, err
	}
	var state treeState
	if err := json.Unmarshal(b, &state); err != nil {
		return 0, fmt.Errorf("%s: %w", treeStateFile, err)
	}
	return state.Size, nil
}

func (r archiveReader) NextIndex(ctx context.Context) (uint64, error) { return r.IntegratedSize(ctx) }

// treeState is the content of treeStateFile.
type treeState struct {
	Size uint64 `json:"size"`
	Root []byte `json:"root"`
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
