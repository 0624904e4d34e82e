package witness

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Names in the state directory.
const (
	keyFile  = "key"
	lockFile = "lock"
	logsDir  = "logs"
	tempExt  = ".new"
)

var errClosed = errors.New("witness is closed")

// state is the state directory.
type state struct {
	dir    string
	lock   *os.File
	disk   disk
	closed bool // written while the locks of all logs are held
}

// openState opens or makes the state directory of the witness with the vkeys, one
// a line.
func openState(dir, vkeys string, disk disk) (_ *state, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	s := &state{dir: dir, disk: disk}
	if s.lock, err = lock(filepath.Join(dir, lockFile)); err != nil {
		return nil, err
	}
	if err := s.claim(vkeys); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// claim makes sure that the directory is that of the witness: what another key
// cosigned says nothing about what this one may cosign.
func (s *state) claim(vkeys string) error {
	name, logs := filepath.Join(s.dir, keyFile), filepath.Join(s.dir, logsDir)
	owner, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		// The key comes last: where it is, logs was made and is on disk.
		if err := os.Mkdir(logs, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make the state directory: %w", err)
		}
		if err := s.disk.syncDir(filepath.Dir(filepath.Clean(s.dir))); err != nil {
			return fmt.Errorf("make the state directory: %w", err)
		}
		return s.replace(name, vkeys)
	}
	if err != nil {
		return fmt.Errorf("read the state directory's owner: %w", err)
	}
	if string(owner) != vkeys {
		return fmt.Errorf("state directory %s belongs to the witness %q, not to %q: give each key a directory of its own", s.dir, owner, vkeys)
	}
	if _, err := os.Stat(logs); err != nil {
		return fmt.Errorf("the state of witness %q was removed, and it must not start from nothing: restore it, or take a new key: %w", vkeys, err)
	}
	return nil
}

// path gives the file of a log.
func (s *state) path(origin string) string {
	return filepath.Join(s.dir, logsDir, originHash(origin))
}

// originHash names a log in paths: the SHA-256 of its origin in lower-case hex.
func originHash(origin string) string {
	sum := sha256.Sum256([]byte(origin))
	return hex.EncodeToString(sum[:])
}

// get gives the newest cosigned checkpoint of a log, fs.ErrNotExist if there is none.
func (s *state) get(origin string) (string, error) {
	if s.closed {
		return "", errClosed
	}
	raw, err := os.ReadFile(s.path(origin))
	if err != nil {
		return "", fmt.Errorf("read the state of the log %s: %w", origin, err)
	}
	return string(raw), nil
}

// put replaces the checkpoint of a log. When it returns nil, the checkpoint
// outlives a crash of the machine.
func (s *state) put(origin, checkpoint string) error {
	if s.closed {
		return errClosed
	}
	return s.replace(s.path(origin), checkpoint)
}

// replace replaces a file by way of a new one beside it. The order is what makes
// it durable and whole:
//
//  1. write the new file and sync it: its content is on disk before it has the name;
//  2. rename it: readers see the old content or the new, never a part;
//  3. sync the directory: the name is on disk.
//
// A failure in 1 leaves the old content. After one in 2 or 3 the disk may hold
// either, and both are safe: the caller has not let the new cosignature out, and
// the next request reads what is there and goes through all three steps again,
// with a file of its own, so that no error the kernel reported once can be lost.
//
// The new file's name is fixed: the log's lock and the directory's keep others
// from it, and what a crash left there is overwritten.
func (s *state) replace(name, content string) error {
	err := s.disk.writeSync(name+tempExt, content)
	if err == nil {
		err = s.disk.rename(name+tempExt, name)
	}
	if err == nil {
		err = s.disk.syncDir(filepath.Dir(name))
	}
	if err != nil {
		return fmt.Errorf("persist %s: %w", name, err)
	}
	return nil
}

func (s *state) close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	return s.lock.Close() // which drops the lock
}
