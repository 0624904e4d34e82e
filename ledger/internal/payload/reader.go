package payload

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"github.com/imaledger/imaledger/ledger"
)

// reader reads what is of known size and digest.
type reader struct {
	file   io.ReadCloser
	left   int64 // bytes not yet read
	hash   hash.Hash
	digest ledger.Hash
	err    error // what every later Read returns
}

// NewReader returns a reader of an addendum's bytes, wherever they are stored. The
// read that comes to the size gives its bytes only if all have the digest: what has
// decayed ends in ErrDigest, never in io.EOF. Closing it closes f.
func NewReader(f io.ReadCloser, size int64, digest ledger.Hash) io.ReadCloser {
	return &reader{file: f, left: size, hash: sha256.New(), digest: digest}
}

// Read implements io.Reader. The read that reaches the file's end gives its
// bytes only if all of them together have the digest.
func (r *reader) Read(p []byte) (int, error) {
	switch {
	case r.err != nil:
		return 0, r.err
	case len(p) == 0:
		return 0, nil
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := io.ReadFull(r.file, p)
	if err != nil {
		return 0, r.fail(fmt.Errorf("addendum %x: %w", r.digest[:6], err))
	}
	r.hash.Write(p)
	r.left -= int64(n)
	if r.left > 0 {
		return n, nil
	}
	if got := r.hash.Sum(nil); ledger.Hash(got) != r.digest {
		return 0, r.fail(fmt.Errorf("addendum %x as stored has SHA-256 %x: %w", r.digest[:6], got, ErrDigest))
	}
	r.err = io.EOF
	return n, io.EOF
}

func (r *reader) fail(err error) error {
	r.err = err
	return err
}

// Close implements io.Closer.
func (r *reader) Close() error { return r.file.Close() }
