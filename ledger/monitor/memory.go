package monitor

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/internal/durable"
)

// The files of an audit's directory. The audit file names the others of its time by
// their digests, and is renamed into place after they are on disk: so that an audit
// that ends anywhere leaves the last whole one.
const (
	auditFile   = "audit.json"
	statePrefix = "state-"  // what package audit remembers
	leafPrefix  = "leaves-" // eight bytes of each leaf hash
	lockFile    = "lock"

	auditFormat = "imaledger/audit/v1"
)

// A memory is what audits know of a log.
type memory struct {
	Format     string `json:"format"`
	Checkpoint []byte `json:"checkpoint"` // the newest that verified
	Next       uint64 `json:"next"`       // the first entry that is not judged
	Counts     `json:"counts"`
	Noted      map[ledger.Code]uint64 `json:"noted"`
	Findings   []ledger.Finding       `json:"findings"`
	More       uint64                 `json:"more"`
	missing
	// LeftAlone counts segments whose records were not looked at, as was asked for: a
	// later audit that looks at records looks at those of newer segments.
	LeftAlone uint64      `json:"leftAlone"`
	Times     []timePoint `json:"times"`
	State     string      `json:"state"`  // SHA-256 of the file
	Leaves    string      `json:"leaves"` // likewise

	dir    string
	lock   io.Closer
	seen   *ledger.Checkpoint // of Checkpoint, nil before the first
	state  *audit.State
	times  times
	leaves leaves
}

// openMemory reads what earlier audits left in a directory, which is made where it
// does not exist.
func openMemory(dir string, trust *ledger.Trust) (*memory, error) {
	m := &memory{Format: auditFormat, dir: dir, Noted: make(map[ledger.Code]uint64), missing: missing{Missing: make(map[string]ledger.Finding)}, state: audit.NewState(trust)}
	if dir == "" {
		return m, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	m.lock = f
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: another audit uses it", dir), m.close())
	}
	if err := m.read(trust); err != nil {
		return nil, errors.Join(fmt.Errorf("%w; it holds what earlier audits found: audit from the beginning into a new directory", err), m.close())
	}
	return m, nil
}

// anew returns the memory of one who has judged nothing. It keeps what the log has
// shown, when it had shown how much, and the files that the next save replaces.
func (m *memory) anew(trust *ledger.Trust) *memory {
	return &memory{
		Format: auditFormat, Noted: make(map[ledger.Code]uint64), missing: missing{Missing: make(map[string]ledger.Finding)}, State: m.State, Leaves: m.Leaves,
		dir: m.dir, lock: m.lock, seen: m.seen, state: audit.NewState(trust), times: times{list: m.times.list},
	}
}

func (m *memory) close() error {
	if m.lock == nil {
		return nil
	}
	return m.lock.Close()
}

func (m *memory) read(trust *ledger.Trust) error {
	name := filepath.Join(m.dir, auditFile)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(m); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if m.Format != auditFormat {
		return fmt.Errorf("%s: format %.40q, want %s", name, m.Format, auditFormat)
	}
	// The trust folder may have other witnesses now.
	if m.seen, err = trust.Policy.VerifyUnwitnessed(m.Checkpoint); err != nil {
		return fmt.Errorf("%s: the checkpoint of the audit before: %w", name, err)
	}
	state, err := m.readFile(statePrefix, m.State)
	if err != nil {
		return err
	}
	if m.state, err = audit.ReadState(trust, bytes.NewReader(state)); err != nil {
		return fmt.Errorf("%s: %w", m.dir, err)
	}
	prefixes, err := m.readFile(leafPrefix, m.Leaves)
	if err != nil {
		return err
	}
	if uint64(len(prefixes)) != 8*m.Next {
		return fmt.Errorf("%s: %d leaves, want %d", m.dir, len(prefixes)/8, m.Next)
	}
	for ; len(prefixes) > 0; prefixes = prefixes[8:] {
		m.leaves.prefixes = append(m.leaves.prefixes, binary.BigEndian.Uint64(prefixes))
	}
	m.times.list, m.Times = m.Times, nil
	return nil
}

// readFile reads a file that the audit file names by its digest.
func (m *memory) readFile(prefix, digest string) ([]byte, error) {
	if _, err := ledger.ParseHash(digest); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", m.dir, prefix, err)
	}
	name := filepath.Join(m.dir, prefix+digest)
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != digest {
		return nil, fmt.Errorf("%s: its bytes are not those that were written", name)
	}
	return b, nil
}

// save writes down how far the audit has come.
func (m *memory) save() (err error) {
	if m.dir == "" || m.seen == nil {
		return nil
	}
	was := map[string]bool{statePrefix + m.State: true, leafPrefix + m.Leaves: true}
	if m.State, err = m.writeFile(statePrefix, m.state.Write); err != nil {
		return err
	}
	if m.Leaves, err = m.writeFile(leafPrefix, func(w io.Writer) error {
		var b [8]byte
		for _, p := range m.leaves.prefixes {
			binary.BigEndian.PutUint64(b[:], p)
			if _, err := w.Write(b[:]); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	m.times.mu.Lock()
	m.Times = m.times.list
	b, err := json.Marshal(m)
	m.Times = nil
	m.times.mu.Unlock()
	if err != nil {
		return err
	}
	// Order: the files are on disk, then the one that names them.
	if err := durable.WriteFile(filepath.Join(m.dir, auditFile), bytes.NewReader(b), 0o600); err != nil {
		return err
	}
	files, err := os.ReadDir(m.dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		name := f.Name()
		old := was[name] || strings.HasSuffix(name, ".new")
		if old && name != statePrefix+m.State && name != leafPrefix+m.Leaves {
			err = errors.Join(err, os.Remove(filepath.Join(m.dir, name)))
		}
	}
	return err
}

// writeFile writes a file that its digest names.
func (m *memory) writeFile(prefix string, write func(io.Writer) error) (digest string, err error) {
	temp := filepath.Join(m.dir, prefix+".new")
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	b := bufio.NewWriter(io.MultiWriter(f, h))
	err = write(b)
	if err = errors.Join(err, b.Flush(), f.Sync(), f.Close()); err != nil {
		return "", err
	}
	digest = hex.EncodeToString(h.Sum(nil))
	return digest, os.Rename(temp, filepath.Join(m.dir, prefix+digest))
}
