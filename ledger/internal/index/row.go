package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/cockroachdb/pebble/v2"

	"github.com/imaledger/imaledger/tpm/ima"
)

// First bytes of the rows: see the package's comment.
const (
	rowMeta        = 'M'
	rowSegment     = 'e'
	rowHost        = 'h'
	rowLeaf        = 'l'
	rowForward     = 'f'
	rowPosting     = 'o'
	rowMeasurement = 'm'
	rowNumber      = 'u'
	rowDigest      = 'd'
	rowPath        = 'p'
	rowKeyID       = 'k'
	rowPCR         = 'q'
	rowTemplate    = 'x'
	rowLimit       = 'w'
	rowTime        = 't'
	rowStatement   = 's'
)

var errRow = errors.New("index: a row is damaged")

// appendNumber appends a number that sorts as bytes.
func appendNumber(b []byte, n uint64) []byte {
	size := (bits.Len64(n) + 7) / 8
	b = append(b, byte(size))
	for i := size - 1; i >= 0; i-- {
		b = append(b, byte(n>>(8*i)))
	}
	return b
}

// number reads what appendNumber wrote.
func number(b []byte) (n uint64, rest []byte, err error) {
	if len(b) == 0 || b[0] > 8 || len(b) < 1+int(b[0]) {
		return 0, nil, errRow
	}
	size := int(b[0])
	for _, c := range b[1 : 1+size] {
		n = n<<8 | uint64(c)
	}
	return n, b[1+size:], nil
}

func key(row byte, n ...uint64) []byte {
	b := []byte{row}
	for _, n := range n {
		b = appendNumber(b, n)
	}
	return b
}

// textKey is a key of a text with no zero byte in it, and a number.
func textKey(row byte, text string, n ...uint64) []byte {
	b := append(append([]byte{row}, text...), 0)
	for _, n := range n {
		b = appendNumber(b, n)
	}
	return b
}

func digestKey(digest []byte, n ...uint64) []byte {
	b := append([]byte{rowDigest, byte(len(digest))}, digest...)
	for _, n := range n {
		b = appendNumber(b, n)
	}
	return b
}

// attributes calls f with the key of each row that a measurement is found by.
func attributes(m uint64, s *ima.Facts, f func(key []byte) error) error {
	keys := [][]byte{key(rowPCR, uint64(s.PCR), m), textKey(rowTemplate, s.Template, m)}
	if s.Path != "" {
		keys = append(keys, textKey(rowPath, s.Path, m))
	}
	for _, d := range s.Digests {
		keys = append(keys, digestKey(d.Digest, m))
	}
	for _, id := range s.KeyIDs {
		keys = append(keys, key(rowKeyID, uint64(id), m))
	}
	for _, k := range keys {
		if err := f(k); err != nil {
			return err
		}
	}
	return nil
}

// getter is a database, or a snapshot of one.
type getter interface {
	Get(key []byte) ([]byte, io.Closer, error)
	NewIter(o *pebble.IterOptions) (*pebble.Iterator, error)
}

// get returns a copy of a row's value.
func get(db getter, key []byte) (value []byte, found bool, err error) {
	v, closer, err := db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	value = append([]byte(nil), v...)
	return value, true, closer.Close()
}

// errEnough ends a scan.
var errEnough = errors.New("enough")

// scan calls f for each row whose key begins so, in their order.
func scan(db getter, prefix []byte, f func(key, value []byte) error) error {
	return scanFrom(db, prefix, prefix, f)
}

// scanFrom is scan from a key on.
func scanFrom(db getter, prefix, from []byte, f func(key, value []byte) error) (err error) {
	iter, err := db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	for ok := iter.SeekGE(from); ok; ok = iter.Next() {
		value, err := iter.ValueAndErr()
		if err != nil {
			return fmt.Errorf("index: %w", err)
		}
		if err := f(iter.Key(), value); err != nil {
			if errors.Is(err, errEnough) {
				return nil
			}
			return err
		}
	}
	return nil
}

// after returns the first key after all that begin so.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// appendText appends a text with its size.
func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// A row reader reads values. It keeps its first fault.
type rowReader struct {
	rest []byte
	err  error
}

func (r *rowReader) uvarint() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.rest, r.err = nil, errRow
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *rowReader) text() string {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.rest, r.err = nil, errRow
		return ""
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}

// Flags of a measurement.
const (
	flagViolation = 1 << iota
	flagOpaque
)

// appendFacts encodes what a measurement says.
func appendFacts(b []byte, s *ima.Facts) []byte {
	flags := uint64(0)
	if s.Violation {
		flags |= flagViolation
	}
	if s.Opaque {
		flags |= flagOpaque
	}
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(s.PCR)), flags)
	b = appendText(appendText(b, s.Template), s.Path)
	b = binary.AppendUvarint(b, uint64(len(s.Digests)))
	for _, d := range s.Digests {
		b = appendText(appendText(appendText(b, d.Type), d.Algorithm), string(d.Digest))
	}
	b = binary.AppendUvarint(b, uint64(len(s.KeyIDs)))
	for _, id := range s.KeyIDs {
		b = binary.AppendUvarint(b, uint64(id))
	}
	return b
}

func parseFacts(b []byte) (*ima.Facts, error) {
	r := &rowReader{rest: b}
	s := &ima.Facts{PCR: uint32(r.uvarint())}
	flags := r.uvarint()
	s.Violation, s.Opaque = flags&flagViolation != 0, flags&flagOpaque != 0
	s.Template, s.Path = r.text(), r.text()
	for n := r.uvarint(); n > 0 && r.err == nil; n-- {
		s.Digests = append(s.Digests, ima.FileDigest{Type: r.text(), Algorithm: r.text(), Digest: []byte(r.text())})
	}
	for n := r.uvarint(); n > 0 && r.err == nil; n-- {
		s.KeyIDs = append(s.KeyIDs, uint32(r.uvarint()))
	}
	return s, r.err
}

// appendForward encodes a segment's measurements: differences, since a host measures
// together what others measured together.
func appendForward(b []byte, list []uint64) []byte {
	last := uint64(0)
	for _, m := range list {
		b = binary.AppendVarint(b, int64(m-last))
		last = m
	}
	return b
}

// forward calls f with each record's index and measurement.
func forward(b []byte, f func(record, m uint64) bool) error {
	m := uint64(0)
	for record := uint64(0); len(b) > 0; record++ {
		d, size := binary.Varint(b)
		if size <= 0 {
			return errRow
		}
		m, b = m+uint64(d), b[size:]
		if !f(record, m) {
			return nil
		}
	}
	return nil
}
