package export

import (
	"encoding/binary"
	"encoding/hex"
	"testing"

	"github.com/imaledger/imaledger/tpm/ima"
)

// The readers here are of this test alone: they take what the specification has, and
// nothing of the writers' code.

// tlvRecords reads CEL-TLV.
func tlvRecords(t *testing.T, b []byte) (log []celRecord) {
	t.Helper()
	next := func(b *[]byte) (typ byte, value []byte) {
		if len(*b) < 5 {
			t.Fatalf("%d bytes, want a type and a length", len(*b))
		}
		n := binary.BigEndian.Uint32((*b)[1:])
		typ, value, *b = (*b)[0], (*b)[5:5+n], (*b)[5+n:]
		return typ, value
	}
	want := func(b *[]byte, typ byte) []byte {
		got, value := next(b)
		if got != typ {
			t.Fatalf("type %d, want %d", got, typ)
		}
		return value
	}
	for len(b) > 0 {
		r := celRecord{ContentType: "ima_template"}
		r.Recnum = binary.BigEndian.Uint64(want(&b, 0))
		r.PCR = uint32(want(&b, 1)[0])
		for digests := want(&b, 3); len(digests) > 0; {
			typ, value := next(&digests)
			r.Digests = append(r.Digests, celDigest{ima.Bank(typ).String(), hex.EncodeToString(value)})
		}
		content := want(&b, 7)
		r.Content.Name = string(want(&content, 0))
		r.Content.Data = hex.EncodeToString(want(&content, 1))
		if len(content) > 0 {
			t.Fatal("bytes after the content")
		}
		log = append(log, r)
	}
	return log
}

// cborRecords reads CEL-CBOR.
func cborRecords(t *testing.T, b []byte) (log []celRecord) {
	t.Helper()
	head := func(major byte) uint64 {
		first := b[0]
		if first>>5 != major {
			t.Fatalf("major type %d, want %d", first>>5, major)
		}
		b = b[1:]
		n, size := uint64(first&0x1f), 0
		if n >= 24 {
			size, n = 1<<(n-24), 0
		}
		for range size {
			n = n<<8 | uint64(b[0])
			b = b[1:]
		}
		if size == 1 && n < 24 || size > 1 && n>>(4*size) == 0 {
			t.Fatalf("%d in %d bytes is not the shortest", n, size)
		}
		return n
	}
	is := func(what string, got, want uint64) {
		if got != want {
			t.Fatalf("%s %d, want %d", what, got, want)
		}
	}
	text := func(major byte) string {
		n := head(major)
		s := string(b[:n])
		b = b[n:]
		return s
	}
	for range head(4) {
		r := celRecord{ContentType: "ima_template"}
		is("members", head(5), 5)
		is("key", head(0), 0)
		r.Recnum = head(0)
		is("key", head(0), 1)
		r.PCR = uint32(head(0))
		is("key", head(0), 3)
		for range head(4) {
			is("members", head(5), 2)
			is("key", head(0), 0)
			bank := ima.Bank(head(0))
			is("key", head(0), 1)
			r.Digests = append(r.Digests, celDigest{bank.String(), hex.EncodeToString([]byte(text(2)))})
		}
		is("key", head(0), 9)
		is("content type", head(0), 7)
		is("key", head(0), 10)
		is("members", head(5), 2)
		is("key", head(0), 0)
		r.Content.Name = text(3)
		is("key", head(0), 1)
		r.Content.Data = hex.EncodeToString([]byte(text(2)))
		log = append(log, r)
	}
	if len(b) > 0 {
		t.Fatalf("%d bytes after the log", len(b))
	}
	return log
}
