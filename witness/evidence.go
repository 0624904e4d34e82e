package witness

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Evidence is kept in a folder of the state directory.
const (
	evidenceDir = "evidence"
	provenExt   = ".equivocation"
	openExt     = ".suspicion"
	// maxEvidence is how much proven evidence is kept of one log: who holds a log's
	// key can sign as many trees as it likes, and cannot fill the disk with them.
	maxEvidence = 8
)

// keepEvidence keeps a request that the log signed and that contradicts what was
// cosigned, once. What proves that the log signed two histories is told to the
// operator; what only may be is kept once for each log: anyone can send a log's
// checkpoint with a proof that is wrong. The caller holds the log's lock.
//
// SPEC: If the origin is known, and the signature is valid, the witness MAY log the
// SPEC: request even if the checkpoint fails one of the consistency checks above (but
// SPEC: MUST NOT cosign the checkpoint), as it might be proof of log misbehavior.
func (w *Witness) keepEvidence(log *logState, trusted *Log, r *request) {
	if log.raw == "" || r.checkpoint.size == log.latest.size && r.checkpoint.root == log.latest.root {
		return
	}
	e, err := newEquivocation(trusted, w.keys, log.raw, r)
	if err != nil {
		w.logger.Error("cannot make evidence of a request", "log", log.origin, "error", err)
		return
	}
	what, err := e.Verify()
	proven := err == nil
	if !proven && !errors.Is(err, ErrNotProven) {
		return
	}
	file, kept, err := w.state.keep(e, proven)
	if err != nil {
		w.logger.Error("cannot keep evidence against a log", "log", log.origin, "error", err)
		return
	}
	if !kept {
		return
	}
	if !proven {
		w.logger.Warn("a log's checkpoint came with a proof that does not verify", "log", log.origin, "evidence", file)
		return
	}
	w.metrics.equivocations.Add(1)
	w.logger.Error("a log has signed two histories", "what", what, "evidence", file)
	if w.onEquivocation != nil {
		w.ended.Go(func() { w.onEquivocation(file) })
	}
}

// keep writes evidence to a file of its own. kept is false where there is the
// same, or enough.
func (s *state) keep(e *Equivocation, proven bool) (file string, kept bool, err error) {
	dir := filepath.Join(s.dir, evidenceDir)
	name := originHash(e.Origin())
	if proven {
		sum := sha256.Sum256([]byte(e.first.text + e.second.text))
		name += fmt.Sprintf("-%x", sum[:8])
	}
	file = filepath.Join(dir, name+map[bool]string{true: provenExt, false: openExt}[proven])
	if err := os.Mkdir(dir, 0o700); err == nil {
		err = s.disk.syncDir(s.dir)
		if err != nil {
			return "", false, err
		}
	} else if !errors.Is(err, os.ErrExist) {
		return "", false, err
	}
	if _, err := os.Lstat(file); err == nil {
		return file, false, nil
	}
	if proven {
		names, err := filepath.Glob(filepath.Join(dir, originHash(e.Origin())+"-*"+provenExt))
		if err != nil || len(names) >= maxEvidence {
			return "", false, err
		}
	}
	f, _, err := writeWhole(s.disk, file, writeText(string(e.Bytes())))
	if err != nil {
		return "", false, err
	}
	return file, true, f.Close()
}

// Evidence gives the files that prove that a log signed two histories.
func (w *Witness) Evidence() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(w.state.dir, evidenceDir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var files []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), provenExt) {
			files = append(files, filepath.Join(w.state.dir, evidenceDir, e.Name()))
		}
	}
	return files, err
}
