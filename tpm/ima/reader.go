package ima

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// readStep is how much of a record's stated length is taken before it is known
// to be there: a length that an attacker wrote costs no more than the bytes he
// also sent.
const readStep = 64 << 10

// readAhead is how many bytes are read at a time: most segments in one piece, and
// long lists as fast as with more.
const readAhead = 16 << 10

// minReadAhead is the least, whatever a list's size is said to be.
const minReadAhead = 512

// A Reader reads records from a list.
type Reader struct {
	r       io.Reader
	format  Format
	size    int    // of a stored digest
	index   uint64 // of the record being read
	offset  int64  // of it, bytes
	rec     Record // of Next
	buf     []byte // the record being read; Record's slices point into it
	in      []byte // read ahead
	start   int    // of what is left in in
	err     error
	ioError error
}

// NewReader returns a reader of the list r.
func NewReader(r io.Reader, f Format) *Reader { return NewReaderSize(r, f, readAhead) }

// NewReaderSize is NewReader for a list of about size bytes: a short one is read
// ahead in less memory.
func NewReaderSize(r io.Reader, f Format, size uint64) *Reader {
	n := &Reader{}
	n.Reset(r, f, size)
	return n
}

// Reset makes it a reader of another list, as NewReaderSize does, in the memory that
// it has.
func (r *Reader) Reset(list io.Reader, f Format, size uint64) {
	in, buf := r.in[:0], r.buf[:0]
	// One byte more finds the end of the list in the same call.
	if want := int(min(max(size+1, minReadAhead), readAhead)); cap(in) < want {
		in = make([]byte, 0, want)
	}
	if cap(buf) > readStep {
		buf = nil // one record was so long; the next need not be
	}
	*r = Reader{r: list, format: f, size: f.Bank.Size(), in: in, buf: buf}
}

// Format returns the list's format; the byte order is known after the first
// record.
func (r *Reader) Format() Format { return r.format }

// Next returns the next record, io.EOF at the list's clean end. A list that is
// none gives a *SyntaxError, and so does one that ends inside a record. The
// record is good until the next call.
func (r *Reader) Next() (*Record, error) {
	r.buf = r.buf[:0]
	if err := r.next(&r.rec); err != nil {
		return nil, err
	}
	return &r.rec, nil
}

// next reads a record into rec and into buf, which must be empty.
func (r *Reader) next(rec *Record) error {
	if r.err == nil && r.size == 0 {
		r.err = fmt.Errorf("list of %s: digests of unknown size", r.format.Bank)
	}
	if r.err != nil {
		return r.err
	}
	rec.Index, rec.Offset = r.index, r.offset
	if r.err = r.record(rec); r.err != nil {
		if r.ioError != nil {
			r.err = fmt.Errorf("record %d at byte %d: %w", r.index, r.offset, r.ioError)
		}
		return r.err
	}
	r.index++
	r.offset += int64(len(r.buf))
	return nil
}

func (r *Reader) fail(mend, format string, args ...any) error {
	return &SyntaxError{r.index, r.offset, fmt.Sprintf(format, args...), mend}
}

// record reads one record. The slices are set only when it is whole, since buf
// may move while it grows.
func (r *Reader) record(rec *Record) error {
	if r.whole(rec) {
		return nil
	}
	if r.start == len(r.in) {
		if err := r.fill(); err != nil {
			return err // io.EOF: the clean end
		}
	}
	if err := r.take(4, "PCR number"); err != nil {
		return err
	}
	if r.format.Order == DetectOrder {
		order, ok := detectOrder(r.buf)
		if !ok {
			return r.fail("give a binary measurement list, not the ascii one", "%x is no PCR number in either byte order", r.buf)
		}
		r.format.Order = order
	}
	pcr := r.format.Order.uint32(r.buf)
	if pcr > maxListPCR {
		return r.fail("join only whole lists of one host, all in the byte order "+r.format.Order.String(), "PCR number %d, the largest is %d: no record begins here, or one in another byte order", pcr, maxListPCR)
	}
	if err := r.take(r.size, "digest"); err != nil {
		return err
	}
	nameAt, err := r.sized("template name", MaxName)
	if err != nil {
		return err
	}
	dataAt := len(r.buf)
	if string(r.buf[nameAt:]) == legacyTemplate {
		if err := r.legacyData(); err != nil {
			return err
		}
	} else if dataAt, err = r.sized("template data", MaxData); err != nil {
		return err
	}
	r.set(rec, pcr, nameAt, nameAt+int(r.format.Order.uint32(r.buf[nameAt-4:])), dataAt)
	return nil
}

// set points the record into buf, which has all of it.
func (r *Reader) set(rec *Record, pcr uint32, nameAt, nameEnd, dataAt int) {
	rec.PCR, rec.bank, rec.order = pcr, r.format.Bank, r.format.Order
	rec.Raw, rec.Digest = r.buf, r.buf[4:4+r.size]
	rec.Template, rec.Data = r.buf[nameAt:nameEnd], r.buf[dataAt:]
}

// whole reads, in one piece, a record that was read ahead to its end and that
// nothing is special about. For any other it does nothing and reports false.
func (r *Reader) whole(rec *Record) bool {
	in, order, nameAt := r.in[r.start:], r.format.Order, 4+r.size+4
	if order == DetectOrder || len(in) < nameAt+MaxName+4 {
		return false
	}
	pcr, name := order.uint32(in), order.uint32(in[nameAt-4:])
	if pcr > maxListPCR || name > MaxName {
		return false
	}
	nameEnd := nameAt + int(name)
	dataAt := nameEnd + 4
	data := order.uint32(in[nameEnd:])
	if string(in[nameAt:nameEnd]) == legacyTemplate || data > MaxData || len(in) < dataAt+int(data) {
		return false
	}
	n := dataAt + int(data)
	r.buf = append(r.buf, in[:n]...)
	r.start += n
	r.set(rec, pcr, nameAt, nameEnd, dataAt)
	return true
}

// sized reads a length and as many bytes, and returns where these begin.
func (r *Reader) sized(what string, max uint32) (int, error) {
	if err := r.take(4, what); err != nil {
		return 0, err
	}
	n := r.format.Order.uint32(r.buf[len(r.buf)-4:])
	if n > max {
		mend := fmt.Sprintf("the record is damaged, unless the list stores other digests than %s (%d bytes) or has another byte order than %s", r.format.Bank, r.size, r.format.Order)
		return 0, r.fail(mend, "%s of %d bytes, at most %d", what, n, max)
	}
	at := len(r.buf)
	return at, r.take(int(n), what)
}

// legacyData reads a digest and a file name with its length.
func (r *Reader) legacyData() error {
	at := len(r.buf)
	if err := r.take(legacyDigest+4, "file digest"); err != nil {
		return err
	}
	length := r.buf[at+legacyDigest:]
	n := r.format.Order.uint32(length)
	if n > legacyName {
		// With ima_hash=md5 the name's length stands four bytes earlier, and its
		// first letters are where the length should be.
		if n := r.format.Order.uint32(r.buf[at+legacyMD5:]); n > 0 && n <= legacyName {
			return r.fail("boot the host with another ima_hash or ima_template", "a legacy record with an MD5 digest: such lists are ambiguous and not read")
		}
		return r.fail("the record is damaged", "file name of %d bytes, at most %d", n, legacyName)
	}
	at = len(r.buf)
	if err := r.take(int(n), "file name"); err != nil {
		return err
	}
	// The name is hashed padded with zeros and without its length, so with zeros
	// of its own one measurement would have several encodings.
	if bytes.IndexByte(r.buf[at:], 0) >= 0 {
		return r.fail("the record is damaged", "a zero byte in a legacy record's file name")
	}
	return nil
}

// take appends n bytes of the list to buf.
func (r *Reader) take(n int, what string) error {
	for n > 0 {
		if r.start == len(r.in) {
			if err := r.fill(); err != nil {
				if r.ioError != nil {
					return err
				}
				return r.ended(what)
			}
		}
		step := min(n, len(r.in)-r.start)
		r.buf = append(r.buf, r.in[r.start:r.start+step]...)
		r.start += step
		n -= step
	}
	return nil
}

// ended says that the list ends inside a record.
func (r *Reader) ended(what string) error {
	text := fmt.Sprintf("the list ends inside this record, at its %s, after %d of its bytes", what, len(r.buf))
	return &endError{&SyntaxError{r.index, r.offset, text, "it was truncated: copy it again to its end"}}
}

// endError is a SyntaxError that is also an unexpected end.
type endError struct{ *SyntaxError }

func (e *endError) Unwrap() []error { return []error{e.SyntaxError, io.ErrUnexpectedEOF} }

func (r *Reader) fill() error {
	r.start, r.in = 0, r.in[:cap(r.in)]
	n, err := io.ReadAtLeast(r.r, r.in, 1)
	r.in = r.in[:n]
	if n > 0 {
		return nil
	}
	if !errors.Is(err, io.EOF) {
		r.ioError = err
	}
	return err
}
