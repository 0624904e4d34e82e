package witness

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Names in the state directory.
const (
	keyFile     = "key"
	lockFile    = "lock"
	journalFile = "journal"
	stoppedFile = "stopped"
	tempExt     = ".new"
	fenceExt    = ".fence"
)

var errClosed = errors.New("witness is closed")

// ErrNoState is a key that may have signed before, and no memory of what.
var ErrNoState = errors.New("the witness has no state")

// state is the state directory and its fence.
type state struct {
	dir   string
	lock  *os.File
	fence *fence
	disk  disk
	id    string
	owner string // vkeys that have signed with it, those in use and those that are not any more, one a line
	ready bool   // whether the start has come to its end, and the fence is this state's
	*committer
}

// openState opens or makes the state directory of the witness with the vkeys, one
// a line. records has the newest checkpoint of each log, by origin.
func openState(dir, fenceName, vkeys string, expect Expectation, disk disk) (_ *state, records map[string]string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("make the state directory: %w", err)
	}
	s := &state{dir: dir, disk: disk}
	if s.lock, err = lock(filepath.Join(dir, lockFile)); err != nil {
		return nil, nil, err
	}
	if records, err = s.open(fenceName, vkeys, expect); err != nil {
		return nil, nil, errors.Join(err, s.close())
	}
	return s, records, nil
}

// open does what openState does once the directory is locked. The order of a
// first start is: the fence, which says that nothing was signed, then the
// journal, then the key; a crash between them starts over. What follows is the
// order of each start: the journal is read and written anew, so that what was
// read is on disk and not in the kernel's memory alone, and then the fence says
// that this state is the one.
func (s *state) open(fenceName, vkeys string, expect Expectation) (map[string]string, error) {
	if text, err := os.ReadFile(filepath.Join(s.dir, stoppedFile)); err == nil {
		return nil, fmt.Errorf("this witness stopped for good, and must not start again with this key: %s", strings.TrimSpace(string(text)))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	fence, found, adopt, err := openFence(fenceName)
	if err != nil {
		return nil, err
	}
	s.fence = fence
	old, err := s.claimed(vkeys)
	if err != nil {
		return nil, err
	}
	var end position
	records := make(map[string]string)
	switch {
	case !old && found && fence.last.sequence > 0:
		return nil, fmt.Errorf("the state of this witness is gone: %s says that it was used, and %s has no state; "+
			"a witness that starts from nothing cosigns a second history: bring the state back, or take a new key", fence.name, s.dir)
	case !old && expect == ExpectUsed && !found && !fence.new:
		return nil, fmt.Errorf("%w: neither %s nor the fence %s says what this key has signed, and a witness that starts from nothing cosigns a second history: "+
			"if the key has signed before, bring both back, or take a new key", ErrNoState, s.dir, fence.name)
	case old && expect == ExpectNew:
		return nil, fmt.Errorf("the key is called new, and %s has a state of it", s.dir)
	case !old:
		s.id = newStateID()
		if err := s.begin(); err != nil {
			return nil, err
		}
	case !found && !adopt:
		return nil, fmt.Errorf("the fence %s is missing, without which nobody can tell whether the state in %s is the newest: name the fence; "+
			"or, if it is lost and the state is certainly no copy, write the word %q into it", fence.name, s.dir, adoptFence)
	default:
		if records, end, err = s.read(found); err != nil {
			return nil, err
		}
	}
	if s.committer, err = newCommitter(s, records, end); err != nil {
		return nil, err
	}
	if !old {
		if err := s.own(vkeys); err != nil {
			return nil, err
		}
		s.owner = vkeys
	}
	if err := s.mark(); err != nil {
		return nil, err
	}
	s.ready = true
	return records, nil
}

// claimed reports whether the directory has a state, and refuses that of other
// keys: what another key cosigned says nothing about what this one may cosign.
func (s *state) claimed(vkeys string) (bool, error) {
	owner, err := os.ReadFile(filepath.Join(s.dir, keyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the state directory's owner: %w", err)
	}
	s.owner = string(owner)
	for vkey := range strings.Lines(vkeys) {
		if !strings.Contains("\n"+string(owner), "\n"+vkey) {
			return false, fmt.Errorf("state directory %s belongs to the witness %q, not to %q: give each key a directory of its own "+
				"(or, for a key that has never signed, add it as a line to %s)", s.dir, owner, vkey, filepath.Join(s.dir, keyFile))
		}
	}
	return true, nil
}

// begin makes the fence say that nothing was signed with this state yet.
func (s *state) begin() error {
	if err := s.fence.write(fenceMark{id: s.id}); err != nil {
		return err
	}
	if err := s.disk.syncDir(dirOf(s.fence.name)); err != nil {
		return fmt.Errorf("make the fence: %w", err)
	}
	if err := s.disk.syncDir(dirOf(filepath.Clean(s.dir))); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	return nil
}

// own writes whose the directory is.
func (s *state) own(vkeys string) error {
	f, _, err := writeWhole(s.disk, filepath.Join(s.dir, keyFile), writeText(vkeys))
	if err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	return f.Close()
}

// read reads the journal and holds it against the fence, if there is one.
func (s *state) read(fenced bool) (map[string]string, position, error) {
	name, mark := filepath.Join(s.dir, journalFile), s.fence.last
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, position{}, fmt.Errorf("the state of this witness is gone, and it must not start from nothing: bring it back, or take a new key: %w", err)
	}
	records := make(map[string]string)
	var at hash // the chain where the fence stood
	header, end, err := parseJournal(b, func(p position, batch []string) error {
		for _, record := range batch {
			origin, _, _ := strings.Cut(record, "\n")
			records[origin] = record
		}
		if p.sequence == mark.sequence {
			at = p.chain
		}
		return nil
	})
	if err != nil {
		return nil, position{}, fmt.Errorf("journal %s: %w: never repair it, for to forget a checkpoint is to be able to cosign another history; take a new key", name, err)
	}
	s.id = header.id
	switch {
	case !fenced:
	case mark.id != header.id:
		return nil, position{}, fmt.Errorf("the state in %s is %s, and the fence %s is of %s: each state has a fence of its own", s.dir, header.id, s.fence.name, mark.id)
	case end.sequence < mark.sequence:
		return nil, position{}, fmt.Errorf("the state in %s is older than what this witness last signed: it ends at batch %d, and %s knows of %d: "+
			"it is a copy of an earlier day; bring the newest back, or take a new key", s.dir, end.sequence, s.fence.name, mark.sequence)
	case mark.sequence > header.sequence && at != mark.chain:
		return nil, position{}, fmt.Errorf("the state in %s and the fence %s part before batch %d: two copies of one state were used; take a new key", s.dir, s.fence.name, mark.sequence)
	}
	return records, end, nil
}

// stop writes down why the witness must not go on, for this process and every
// later one.
func (s *state) stop(reason string) error {
	f, _, err := writeWhole(s.disk, filepath.Join(s.dir, stoppedFile), writeText(reason+"\n"))
	if err == nil {
		err = f.Close()
	}
	return err
}

// close ends the writing, makes the fence say how far it came, and gives the
// directory up.
func (s *state) close() error {
	var err error
	if s.committer != nil {
		if err = s.committer.close(); err == nil && s.ready {
			err = s.mark()
		}
	}
	if s.fence != nil {
		err = errors.Join(err, s.fence.close())
	}
	return errors.Join(err, s.lock.Close()) // which drops the lock
}

// mark writes the fence.
func (s *state) mark() error {
	p, time := s.durable()
	return s.fence.write(fenceMark{s.id, p, max(time, s.fence.time())})
}

// originHash names a log in paths: the SHA-256 of its origin in lower-case hex.
func originHash(origin string) string {
	sum := sha256.Sum256([]byte(origin))
	return hex.EncodeToString(sum[:])
}

func newStateID() string {
	id := make([]byte, 16)
	rand.Read(id) // never fails
	return hex.EncodeToString(id)
}

// dirOf gives the directory of a file.
func dirOf(name string) string { return filepath.Dir(filepath.Clean(name)) }
