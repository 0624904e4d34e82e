// Package carry takes a host's submissions to a ledger that the host cannot reach,
// in a folder on a stick. The agent writes what it would submit, a person carries
// the folder to a machine that reaches the ledger, Submit does there what the
// agent would have done, and the agent verifies the answers when the folder is
// back. Nothing in the folder is believed by anyone.
//
// The folder's files are named in ledger/FORMAT.md, "Carried folder".
package carry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/internal/durable"
)

// Names in the folder.
const (
	checkpointFile = "checkpoint"
	addendaDir     = "addenda"     // by SHA-256; an empty file with doneSuffix once the ledger has it
	entriesDir     = "entries"     // by leaf hash: the entry, and its proof with proofSuffix
	enrolmentsDir  = "enrolments"  // by the request's SHA-256
	consistencyDir = "consistency" // OLDER-NEWER: the path between two sizes, a hash a line

	doneSuffix       = ".done"
	proofSuffix      = ".proof"
	challengeSuffix  = ".challenge"
	activationSuffix = ".activation"
	acceptedSuffix   = ".accepted"
)

// A Folder stands for the ledger where that cannot be reached. What the folder has
// no answer to is a client.ErrWaiting.
type Folder struct{ Dir string }

func (f *Folder) path(name ...string) string {
	return filepath.Join(append([]string{f.Dir}, name...)...)
}

// read reads a file of the folder of at most max bytes; found is false where there
// is none.
func (f *Folder) read(max int64, name ...string) (b []byte, found bool, err error) {
	file, err := os.Open(f.path(name...))
	if errors.Is(err, os.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer file.Close()
	b, err = io.ReadAll(io.LimitReader(file, max+1))
	if err == nil && int64(len(b)) > max {
		err = fmt.Errorf("%s: more than %d bytes", file.Name(), max)
	}
	return b, err == nil, err
}

// write writes a file whole or not at all, and is done when it is on the stick, which
// may then be pulled out: the file is synced before it has its name, and the name is
// synced after.
func (f *Folder) write(r io.Reader, name ...string) error {
	path := f.path(name...)
	if err := durable.MkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	return durable.WriteFile(path, r, 0o666)
}

func (f *Folder) writeJSON(v any, name ...string) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return f.write(bytes.NewReader(append(b, '\n')), name...)
}

// maxJSON bounds requests and answers, in bytes.
const maxJSON = 2 << 20

func (f *Folder) readJSON(v any, name ...string) (found bool, err error) {
	b, found, err := f.read(maxJSON, name...)
	if err == nil && found {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", f.path(name...), err)
	}
	return found, nil
}

func (f *Folder) exists(name ...string) bool {
	_, err := os.Stat(f.path(name...))
	return err == nil
}

// Checkpoint gives the newest checkpoint that was brought back.
func (f *Folder) Checkpoint(context.Context) ([]byte, error) {
	b, found, err := f.read(ledger.MaxCheckpoint, checkpointFile)
	if err == nil && !found {
		err = fmt.Errorf("checkpoint: %w", client.ErrWaiting)
	}
	return b, err
}

// HasAddendum reports whether the folder has an addendum, or had it.
func (f *Folder) HasAddendum(_ context.Context, digest ledger.Hash) (int64, bool, error) {
	name := fmt.Sprintf("%x", digest)
	return 0, f.exists(addendaDir, name) || f.exists(addendaDir, name+doneSuffix), nil
}

// PutAddendum writes an addendum to the folder.
func (f *Folder) PutAddendum(_ context.Context, digest ledger.Hash, size int64, r io.Reader) error {
	h := sha256.New()
	name := fmt.Sprintf("%x", digest)
	if err := f.write(io.TeeReader(io.LimitReader(r, size), h), addendaDir, name); err != nil {
		return err
	}
	if ledger.Hash(h.Sum(nil)) != digest {
		return errors.Join(fmt.Errorf("addendum %x: its bytes have SHA-256 %x", digest[:6], h.Sum(nil)), os.Remove(f.path(addendaDir, name)))
	}
	return nil
}

// SubmitLeaf writes an entry to the folder, or gives the proof that was brought
// back.
func (f *Folder) SubmitLeaf(ctx context.Context, entry []byte, wait time.Duration) (*client.Accepted, error) {
	leaf := ledger.LeafHash(entry)
	if name := fmt.Sprintf("%x", leaf); !f.exists(entriesDir, name) {
		if err := f.write(bytes.NewReader(entry), entriesDir, name); err != nil {
			return nil, err
		}
	}
	return f.Proof(ctx, leaf, wait)
}

// Proof gives the proof of an entry that was brought back.
func (f *Folder) Proof(_ context.Context, leaf ledger.Hash, _ time.Duration) (*client.Accepted, error) {
	name := fmt.Sprintf("%x", leaf)
	b, found, err := f.read(ledger.MaxProof, entriesDir, name+proofSuffix)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("entry %.12s…: %w", name, client.ErrWaiting)
	}
	return &client.Accepted{Leaf: name, Proof: string(b)}, nil
}

// Enrol writes a request, or gives the challenge that was brought back.
func (f *Folder) Enrol(_ context.Context, r client.EnrolRequest, _ time.Duration) (*client.Challenge, *client.Accepted, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, nil, err
	}
	name := fmt.Sprintf("%x", sha256.Sum256(b))
	var accepted client.Accepted
	if found, err := f.readJSON(&accepted, enrolmentsDir, name+acceptedSuffix); err != nil || found {
		return nil, &accepted, err
	}
	var challenge client.Challenge
	if found, err := f.readJSON(&challenge, enrolmentsDir, name+challengeSuffix); err != nil || found {
		return &challenge, nil, err
	}
	if err := f.writeJSON(r, enrolmentsDir, name); err != nil {
		return nil, nil, err
	}
	return nil, nil, fmt.Errorf("enrolment: %w", client.ErrWaiting)
}

// Activate writes the answer to a challenge.
func (f *Folder) Activate(_ context.Context, a client.Activation, _ time.Duration) (*client.Accepted, error) {
	challenges, err := filepath.Glob(f.path(enrolmentsDir, "*"+challengeSuffix))
	if err != nil {
		return nil, err
	}
	for _, path := range challenges {
		name := filepath.Base(path[:len(path)-len(challengeSuffix)])
		var c client.Challenge
		if found, err := f.readJSON(&c, enrolmentsDir, name+challengeSuffix); err != nil || !found || c.Session != a.Session {
			continue
		}
		if err := f.writeJSON(a, enrolmentsDir, name+activationSuffix); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("activation: %w", client.ErrWaiting)
	}
	return nil, fmt.Errorf("%s: no challenge of this session", f.path(enrolmentsDir))
}

// Consistent checks two checkpoints by the path that was brought back.
func (f *Folder) Consistent(_ context.Context, older, newer *ledger.Checkpoint) error {
	if older.Size == 0 || older.Size >= newer.Size {
		return ledger.VerifyConsistency(older, newer, nil)
	}
	b, found, err := f.read(maxPath, consistencyDir, pathName(older.Size, newer.Size))
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("consistency of sizes %d and %d: %w", older.Size, newer.Size, client.ErrWaiting)
	}
	path, err := parsePath(b)
	if err != nil {
		return fmt.Errorf("consistency of sizes %d and %d: %w", older.Size, newer.Size, err)
	}
	return ledger.VerifyConsistency(older, newer, path)
}

// Leaf cannot be had: a host that lost its directory must reach the ledger once.
func (f *Folder) Leaf(_ context.Context, leaf ledger.Hash) ([]byte, error) {
	return nil, fmt.Errorf("entry %x: a host that lost its directory must reach the ledger once: %w", leaf[:6], errors.ErrUnsupported)
}

const maxPath = 64 * 65 // bytes: a path has fewer than 64 hashes

func pathName(older, newer uint64) string { return fmt.Sprintf("%d-%d", older, newer) }

func marshalPath(path []ledger.Hash) (b []byte) {
	for _, h := range path {
		b = fmt.Appendf(b, "%x\n", h)
	}
	return b
}

func parsePath(b []byte) (path []ledger.Hash, err error) {
	for line := range bytes.Lines(b) {
		var h []byte
		if _, err := fmt.Sscanf(string(line), "%x\n", &h); err != nil || len(h) != sha256.Size {
			return nil, fmt.Errorf("%.70q is no hash", line)
		}
		path = append(path, ledger.Hash(h))
	}
	return path, nil
}
