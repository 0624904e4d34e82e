package ima

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Fields is what a record's template data says. The slices are good as long as
// the record's.
type Fields struct {
	Format  []string // names of the fields in order, read-only; nil for an unknown template
	Path    []byte   // n, n-ng: file name, or the name of a buffer; any bytes but NUL
	Digest  FileDigest
	Sig     []byte // sig: security.ima signature; see ParseSignature
	Buf     []byte // buf
	HasBuf  bool
	Modsig  []byte     // modsig: appended PKCS#7 signature
	ModHash FileDigest // d-modsig
	EVMSig  []byte     // evmsig: portable signature
	UID     *uint32    // iuid
	GID     *uint32    // igid
	Mode    *uint16    // imode
	Xattrs  []Xattr    // of xattrnames, xattrlengths, xattrvalues

	// Bound says that registers bind the template data, and so what is read from
	// it here: once a quote covers the record, it is proven. See Record.Bound. The
	// template's name is never bound: it says how the data is read, and a data
	// field of the same form can be passed off as another (sig as buf).
	Bound bool
}

// A FileDigest is a file's digest and its algorithm by the kernel's name.
type FileDigest struct {
	Type      string // "", or "ima" or "verity" (d-ngv2)
	Algorithm string // empty where there is no digest
	Digest    []byte
}

func (d FileDigest) String() string {
	if d.Algorithm == "" {
		return ""
	}
	s := fmt.Sprintf("%s:%x", d.Algorithm, d.Digest)
	if d.Type != "" {
		s = d.Type + ":" + s
	}
	return s
}

// An Xattr is an extended attribute that an EVM signature covers.
type Xattr struct {
	Name  string
	Value []byte
}

// A FieldError is template data that does not have the form of its template.
// The record's digest is over the data all the same.
type FieldError struct {
	Record   uint64
	Template string
	What     string
}

func (e *FieldError) Error() string {
	return fmt.Sprintf("record %d: template %.64q: %s", e.Record, e.Template, e.What)
}

// Fields takes the template data apart. An unknown template has no fields and
// gives no error; data that does not have the form of a known one gives a
// *FieldError.
func (r *Record) Fields() (*Fields, error) {
	f := &Fields{Format: formatOf(r.Template), Bound: r.Bound()}
	if f.Format == nil {
		return f, nil
	}
	if r.legacy() {
		f.Digest = FileDigest{Algorithm: "sha1", Digest: r.Data[:legacyDigest]}
		f.Path = r.Data[legacyDigest+4:]
		return f, nil
	}
	d := fieldReader{rest: r.Data, order: r.order}
	var names, lengths, values []byte
	for _, name := range f.Format {
		v := d.next(name)
		switch name {
		case "d":
			f.Digest = d.plainDigest(v)
		case "d-ng":
			f.Digest = d.digest(v, 1)
		case "d-ngv2":
			f.Digest = d.digest(v, 2)
		case "d-modsig":
			f.ModHash = d.digest(v, 1)
		case "n", "n-ng":
			f.Path = d.string(name, v)
		case "sig":
			f.Sig = v
		case "buf":
			f.Buf, f.HasBuf = v, true
		case "modsig":
			f.Modsig = v
		case "evmsig":
			f.EVMSig = v
		case "iuid":
			f.UID = d.uint32(name, v)
		case "igid":
			f.GID = d.uint32(name, v)
		case "imode":
			f.Mode = d.uint16(name, v)
		case "xattrnames":
			names = v
		case "xattrlengths":
			lengths = v
		case "xattrvalues":
			values = v
		}
	}
	if d.what == "" && len(d.rest) > 0 {
		d.what = fmt.Sprintf("%d bytes after the last field", len(d.rest))
	}
	f.Xattrs = d.xattrs(names, lengths, values)
	if d.what != "" {
		return nil, &FieldError{r.Index, string(r.Template), d.what}
	}
	return f, nil
}

// fieldReader keeps its first fault.
type fieldReader struct {
	rest  []byte
	order Order
	what  string
}

func (d *fieldReader) fail(format string, args ...any) {
	if d.what == "" {
		d.what = fmt.Sprintf(format, args...)
	}
}

func (d *fieldReader) next(name string) []byte {
	if d.what != "" {
		return nil
	}
	if len(d.rest) < 4 {
		d.fail("field %s: no length, %d bytes are left", name, len(d.rest))
		return nil
	}
	n := d.order.uint32(d.rest)
	if uint64(n) > uint64(len(d.rest)-4) {
		d.fail("field %s: %d bytes, %d are left", name, n, len(d.rest)-4)
		return nil
	}
	v := d.rest[4 : 4+n]
	d.rest = d.rest[4+n:]
	return v
}

func (d *fieldReader) plainDigest(v []byte) FileDigest {
	switch len(v) {
	case 0:
		return FileDigest{}
	case 16:
		return FileDigest{Algorithm: "md5", Digest: v}
	case 20:
		return FileDigest{Algorithm: "sha1", Digest: v}
	}
	d.fail("field d: a digest of %d bytes", len(v))
	return FileDigest{}
}

// digest reads words that each end in a colon, a NUL, and the digest:
// sha256:NUL…, verity:sha256:NUL….
func (d *fieldReader) digest(v []byte, words int) FileDigest {
	if len(v) == 0 || d.what != "" {
		return FileDigest{}
	}
	head, digest, found := bytes.Cut(v, []byte{0})
	parts := strings.Split(string(head), ":")
	if !found || len(parts) != words+1 || parts[words] != "" || parts[words-1] == "" {
		d.fail("file digest: want an algorithm, a colon, a NUL and the digest, have %.32q", v)
		return FileDigest{}
	}
	f := FileDigest{Algorithm: parts[words-1], Digest: digest}
	if words == 2 {
		f.Type = parts[0]
	}
	return f
}

// string takes off the NUL that the length counts.
func (d *fieldReader) string(name string, v []byte) []byte {
	at := bytes.IndexByte(v, 0)
	if d.what == "" && at != len(v)-1 {
		d.fail("field %s: want one NUL, at the end", name)
		return nil
	}
	return bytes.TrimSuffix(v, []byte{0})
}

func (d *fieldReader) uint32(name string, v []byte) *uint32 {
	if len(v) == 0 {
		return nil
	}
	if len(v) != 4 {
		d.fail("field %s: %d bytes, want 4", name, len(v))
		return nil
	}
	n := d.order.uint32(v)
	return &n
}

func (d *fieldReader) uint16(name string, v []byte) *uint16 {
	if len(v) == 0 {
		return nil
	}
	if len(v) != 2 {
		d.fail("field %s: %d bytes, want 2", name, len(v))
		return nil
	}
	n := d.order.uint16(v)
	return &n
}

func (d *fieldReader) xattrs(names, lengths, values []byte) []Xattr {
	names = bytes.TrimSuffix(names, []byte{0})
	if len(names) == 0 || d.what != "" {
		return nil
	}
	var list []Xattr
	for _, name := range strings.Split(string(names), "|") {
		if len(lengths) < 4 {
			d.fail("field xattrlengths: fewer lengths than names")
			return nil
		}
		n := d.order.uint32(lengths)
		lengths = lengths[4:]
		if uint64(n) > uint64(len(values)) {
			d.fail("field xattrvalues: %s has %d bytes, %d are left", name, n, len(values))
			return nil
		}
		list = append(list, Xattr{name, values[:n]})
		values = values[n:]
	}
	if len(lengths) > 0 || len(values) > 0 {
		d.fail("field xattrvalues: %d bytes of lengths and %d of values are left over", len(lengths), len(values))
	}
	return list
}

// BufferMatches reports whether a buffer record's file digest is that of the
// buffer. ok is false where it cannot be told, for other records and unknown
// algorithms. A record of which the kernel kept only the buffer's digest (an LSM
// that asks for its policy's hash) matches, by the digest of that digest.
func (f *Fields) BufferMatches() (match, ok bool) {
	bank, known := bankOfAlgorithm(f.Digest.Algorithm)
	if !f.HasBuf || !known || !bank.Available() || len(f.Digest.Digest) != bank.Size() {
		return false, false
	}
	return bytes.Equal(bank.appendSum(nil, f.Buf), f.Digest.Digest), true
}

// Printable returns a name for people: as it is where it is plain, else quoted
// with its control, bidirectional and non-UTF-8 bytes visible.
func Printable(name []byte) string {
	s := string(name)
	if utf8.ValidString(s) && s != "" && !strings.ContainsFunc(s, func(c rune) bool { return !strconv.IsGraphic(c) || c == '"' || c == '\\' }) {
		return s
	}
	return strconv.QuoteToGraphic(s)
}
