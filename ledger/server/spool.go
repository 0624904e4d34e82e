package server

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/imaledger/imaledger/ledger"
)

// spool keeps uploads that are not whole, in files of this front end: what came of
// an addendum before its connection broke. Each uploader has a folder of its own,
// so that nobody can put wrong bytes into another one's upload.
//
// Nothing here is synced: what a power cut leaves may be anything, and the digest
// tells when the upload is whole.
type spool struct {
	dir     string
	pending *pending // counts the bytes

	mu     sync.Mutex
	active map[string]*spooling // by file name
}

// A spooling is an upload at work.
type spooling struct {
	abort func()        // makes it end soon
	done  chan struct{} // closed when it has
}

func openSpool(dir string, p *pending) (*spool, error) {
	s := &spool{dir: dir, pending: p, active: make(map[string]*spooling)}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return s, s.each(func(uploader, _ string, info fs.FileInfo) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.count(uploader, info.Size())
		return nil
	})
}

// each calls f for each file.
func (s *spool) each(f func(uploader, name string, info fs.FileInfo) error) error {
	files, err := filepath.Glob(filepath.Join(s.dir, "*", "*"))
	if err != nil {
		return err
	}
	for _, name := range files {
		uploader, err := url.PathUnescape(filepath.Base(filepath.Dir(name)))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		info, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = f(uploader, name, info)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// name is url.PathEscape's, which leaves a host's name as it is. No uploader's
// name is "." or "..".
func (s *spool) name(uploader string, digest ledger.Hash) string {
	return filepath.Join(s.dir, url.PathEscape(uploader), hex.EncodeToString(digest[:]))
}

// size returns how many bytes of an upload are there.
func (s *spool) size(uploader string, digest ledger.Hash) int64 {
	info, err := os.Stat(s.name(uploader, digest))
	if err != nil {
		return 0
	}
	return info.Size()
}

// An offsetError is an upload that would leave a hole.
type offsetError struct{ have int64 }

func (e *offsetError) Error() string {
	return fmt.Sprintf("the ledger has %d bytes of this addendum: go on from there", e.have)
}

// open opens an upload to go on at an offset: what came after it before is cut
// off. One of the same uploader that is under way already is ended first: its
// client has lost the connection and begun a new one. close must be called.
func (s *spool) open(uploader string, digest ledger.Hash, offset int64, abort func()) (*partial, error) {
	name := s.name(uploader, digest)
	me := &spooling{abort, make(chan struct{})}
	for {
		s.mu.Lock()
		other := s.active[name]
		if other == nil {
			s.active[name] = me
			s.mu.Unlock()
			break
		}
		s.mu.Unlock()
		other.abort()
		<-other.done
	}
	u := &partial{spool: s, uploader: uploader, digest: digest, name: name, me: me}
	if err := u.open(offset); err != nil {
		return nil, errors.Join(err, u.close())
	}
	return u, nil
}

// A partial is an upload that is not whole.
type partial struct {
	spool    *spool
	uploader string
	digest   ledger.Hash
	name     string
	me       *spooling
	file     *os.File
	size     int64
}

func (u *partial) open(offset int64) (err error) {
	if have := u.spool.size(u.uploader, u.digest); offset > have {
		return &offsetError{have}
	}
	if err := os.MkdirAll(filepath.Dir(u.name), 0o755); err != nil {
		return err
	}
	if u.file, err = os.OpenFile(u.name, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return err
	}
	info, err := u.file.Stat()
	if err != nil {
		return err
	}
	u.size = info.Size()
	if err := u.file.Truncate(offset); err != nil {
		return err
	}
	if err := u.spool.pending.grow(u.uploader, offset-u.size); err != nil {
		return err
	}
	u.size = offset
	_, err = u.file.Seek(offset, io.SeekStart)
	return err
}

// Write implements io.Writer.
func (u *partial) Write(b []byte) (int, error) {
	if err := u.spool.pending.grow(u.uploader, int64(len(b))); err != nil {
		return 0, err
	}
	n, err := u.file.Write(b)
	u.size += int64(n)
	if n < len(b) {
		_ = u.spool.pending.grow(u.uploader, int64(n-len(b)))
	}
	return n, err
}

// drop removes the file. Its bytes stay counted where counted is set: they are
// those of an addendum that was stored.
func (u *partial) drop(counted bool) error {
	if !counted {
		_ = u.spool.pending.grow(u.uploader, -u.size)
	}
	return os.Remove(u.name)
}

func (u *partial) close() error {
	var err error
	if u.file != nil {
		err = u.file.Close()
	}
	u.spool.mu.Lock()
	delete(u.spool.active, u.name)
	u.spool.mu.Unlock()
	close(u.me.done)
	return err
}

// sweep removes uploads that nobody has gone on with for a while.
func (s *spool) sweep(now time.Time, life time.Duration) (n int, err error) {
	err = s.each(func(uploader, name string, info fs.FileInfo) error {
		if now.Sub(info.ModTime()) <= life {
			return nil
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.active[name] != nil {
			return nil
		}
		if err := os.Remove(name); err != nil {
			return err
		}
		n++
		return s.pending.grow(uploader, -info.Size())
	})
	return n, err
}
