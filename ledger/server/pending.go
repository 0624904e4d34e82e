package server

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/imaledger/imaledger/ledger"
)

const (
	// DefaultPendingLife is how long an addendum that no entry names is kept. The
	// submitter of one that was removed is told so, and uploads it again.
	DefaultPendingLife = 24 * time.Hour
	tidyInterval       = time.Minute
)

// pending is what was uploaded and is named by no entry yet: how much of it each
// uploader has, and who is at work with which addendum.
//
// An addendum is removed only while nobody has a claim on it, and nobody gets a
// claim while it is being removed. Who admits an entry claims its addenda before
// he looks whether they are there, until the log has the entry; and that an entry
// names them is told before the claim ends. So what an entry names is never
// removed here, and what is being removed is not there for who looks next.
//
// A mark, a file of the addendum's name, is made before the addendum and removed
// after the log has an entry that names it. A crash between leaves a mark too
// many, which reading the log at the next start mends, or, where the machine lost
// power, a mark too few: then the addendum stays for ever and does no harm.
type pending struct {
	dir  string
	max  int64 // bytes of each uploader; 0 for no limit
	life time.Duration
	now  func() time.Time

	mu       sync.Mutex
	marks    map[ledger.Hash]mark
	bytes    map[string]int64 // by uploader: of its marks, and of its uploads that are not whole
	claims   map[ledger.Hash]int
	taken    map[ledger.Hash]bool          // of those with a claim: an entry that names it was read meanwhile
	removing map[ledger.Hash]chan struct{} // closed when it is done
}

type mark struct {
	uploader string
	size     int64 // bytes
	since    time.Time
}

// openPending reads the marks of a directory, which is made if it does not exist.
func openPending(dir string, max int64, life time.Duration, now func() time.Time) (*pending, error) {
	p := &pending{
		dir: dir, max: max, life: life, now: now, marks: make(map[ledger.Hash]mark), bytes: make(map[string]int64),
		claims: make(map[ledger.Hash]int), taken: make(map[ledger.Hash]bool), removing: make(map[ledger.Hash]chan struct{}),
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		digest, ok := parseHash(f.Name())
		if !ok {
			continue
		}
		info, err := f.Info()
		if err != nil {
			return nil, err
		}
		content, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, err
		}
		m := mark{since: info.ModTime()}
		line, uploader, _ := strings.Cut(strings.TrimSuffix(string(content), "\n"), " ")
		if _, err := fmt.Sscan(line, &m.size); err != nil {
			m.size = 0 // cut off by a crash; the addendum may be there all the same
		}
		m.uploader = uploader
		p.marks[digest] = m
		p.bytes[m.uploader] += m.size
	}
	return p, nil
}

func (p *pending) name(digest ledger.Hash) string {
	return filepath.Join(p.dir, hex.EncodeToString(digest[:]))
}

// claim keeps addenda from being removed until release is called, once. It waits
// for a removal that has begun.
func (p *pending) claim(digests ...ledger.Hash) (release func()) {
	p.mu.Lock()
	for i := 0; i < len(digests); i++ {
		if gone := p.removing[digests[i]]; gone != nil {
			p.mu.Unlock()
			<-gone
			p.mu.Lock()
			i = -1
		}
	}
	defer p.mu.Unlock()
	for _, d := range digests {
		p.claims[d]++
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, d := range digests {
			if p.claims[d]--; p.claims[d] == 0 {
				delete(p.claims, d)
				delete(p.taken, d)
			}
		}
	}
}

// full is what a host is told that uploads and does not submit.
func (p *pending) full() error {
	return &limitError{fmt.Sprintf("more than %d bytes of yours are named by no entry: submit the entries first", p.max), time.Minute}
}

// grow counts bytes that an uploader adds; n may be negative.
func (p *pending) grow(uploader string, n int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n > 0 && p.max > 0 && p.bytes[uploader]+n > p.max {
		return p.full()
	}
	p.count(uploader, n)
	return nil
}

func (p *pending) count(uploader string, n int64) {
	if p.bytes[uploader] += n; p.bytes[uploader] == 0 {
		delete(p.bytes, uploader)
	}
}

// mark makes the mark of an addendum that is about to be stored. The caller has a
// claim on it.
func (p *pending) mark(digest ledger.Hash, uploader string, size int64) error {
	p.mu.Lock()
	_, marked := p.marks[digest]
	p.mu.Unlock()
	if marked {
		return nil
	}
	// Not under the lock, which every admission takes.
	return os.WriteFile(p.name(digest), fmt.Appendf(nil, "%d %s\n", size, uploader), 0o644)
}

// unmark removes the mark of an addendum that was not stored after all, unless
// somebody else has stored it, or is about to.
func (p *pending) unmark(digest ledger.Hash) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, marked := p.marks[digest]; !marked && p.claims[digest] == 1 {
		os.Remove(p.name(digest))
	}
}

// stored says that a marked addendum is there. Its bytes are counted already. It is
// not pending if another front end has stored it too, and taken an entry that names
// it, while it came.
func (p *pending) stored(digest ledger.Hash, uploader string, size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken[digest] {
		p.count(uploader, -size)
		os.Remove(p.name(digest))
		return
	}
	if old, twice := p.marks[digest]; twice {
		p.count(old.uploader, -old.size)
	}
	p.marks[digest] = mark{uploader, size, p.now()}
}

// renew sets the time anew from which a pending addendum is kept: somebody has
// asked for it, and is about to name it. known is false where it is not pending.
func (p *pending) renew(digest ledger.Hash) (known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m, known := p.marks[digest]
	if known {
		m.since = p.now()
		p.marks[digest] = m
	}
	return known
}

// named says that the log has an entry that names addenda.
func (p *pending) named(digests ...ledger.Hash) error {
	var errs []error
	for _, d := range digests {
		if p.forget(d) {
			errs = append(errs, p.removeMark(d))
		}
	}
	return errors.Join(errs...)
}

// forget drops a mark from memory.
func (p *pending) forget(digest ledger.Hash) (known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.claims[digest] > 0 {
		p.taken[digest] = true
	}
	m, known := p.marks[digest]
	if known {
		delete(p.marks, digest)
		p.count(m.uploader, -m.size)
	}
	return known
}

func (p *pending) removeMark(digest ledger.Hash) error {
	if err := os.Remove(p.name(digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// sweep removes the addenda that have been pending for too long and on which
// nobody has a claim, each within around. It returns how many.
func (p *pending) sweep(remove func(ledger.Hash) error, around func(ledger.Hash, func() error) error) (n int, err error) {
	p.mu.Lock()
	var old []ledger.Hash
	for d, m := range p.marks {
		if p.now().Sub(m.since) > p.life {
			old = append(old, d)
		}
	}
	p.mu.Unlock()
	for _, d := range old {
		err = errors.Join(err, around(d, func() error {
			removed, err := p.removeOne(d, remove)
			if removed {
				n++
			}
			return err
		}))
	}
	return n, err
}

// remove removes an addendum, marked or not, unless it is needed. Who has a claim
// on it keeps it for now: the error says so.
func (p *pending) remove(digest ledger.Hash, needed func() bool, remove func(ledger.Hash) error) error {
	p.mu.Lock()
	if p.claims[digest] > 0 || p.removing[digest] != nil {
		p.mu.Unlock()
		return fmt.Errorf("addendum %x: somebody is at work with it", digest[:6])
	}
	gone := make(chan struct{})
	p.removing[digest] = gone
	p.mu.Unlock()

	var err error
	// Who had a claim until now has told the chains what he needs it for, and who
	// wants one waits.
	if !needed() {
		err = remove(digest)
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.removing, digest)
	close(gone)
	if err != nil {
		return fmt.Errorf("remove addendum %x: %w", digest[:6], err)
	}
	return nil
}

func (p *pending) removeOne(digest ledger.Hash, remove func(ledger.Hash) error) (removed bool, err error) {
	p.mu.Lock()
	m, found := p.marks[digest]
	if !found || p.claims[digest] > 0 || p.now().Sub(m.since) <= p.life {
		p.mu.Unlock()
		return false, nil
	}
	gone := make(chan struct{})
	p.removing[digest] = gone
	p.mu.Unlock()

	// The addendum before its mark: a crash between leaves the mark, which is seen
	// to once more. Both before anybody who waits may store it again.
	if err = remove(digest); err == nil {
		err = p.removeMark(digest)
	}
	if err == nil {
		p.forget(digest)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.removing, digest)
	close(gone)
	if err != nil {
		return false, fmt.Errorf("remove addendum %x, which no entry names: %w", digest[:6], err)
	}
	return true, nil
}
