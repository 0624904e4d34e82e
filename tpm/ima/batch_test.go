package ima

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"io"
	"testing"
)

// TestBatches cuts lists of about the size of a batch at its bounds, and a list
// with a record that is longer than a batch, where replaying one record after
// the other does.
func TestBatches(t *testing.T) {
	short, err := io.ReadAll(newGenerated(2*batchRecords + 2))
	if err != nil {
		t.Fatal(err)
	}
	size := len(short) / (2*batchRecords + 2)
	data := sized(make([]byte, batchBytes+batchRoom+1))
	digest := sha1.Sum(data)
	long := made("custom", data)
	copy(long[4:], digest[:])
	for name, list := range map[string][]byte{
		"two batches":         short[:2*batchRecords*size],
		"and one record":      short[:(2*batchRecords+1)*size],
		"one batch less one":  short[:(batchRecords-1)*size],
		"a long record":       bytes.Join([][]byte{short[:3*size], long, short[:3*size]}, nil),
		"many long records":   bytes.Repeat(long, 5),
		"a long one at a cut": bytes.Join([][]byte{short[:(batchRecords-1)*size], long, short[:3*size]}, nil),
	} {
		all := readAll(t, list, Format{Bank: SHA1})
		p, err := NewReplayer([]Bank{SHA1, SHA256}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range all {
			if err := p.Extend(&all[i]); err != nil {
				t.Fatal(err)
			}
			n := i + 1
			if n%batchRecords > 1 && n%batchRecords < batchRecords-1 && n < len(all)-2 && n > 5 {
				continue
			}
			q := quoteOf(t, p, Selection{{SHA1, []int{10}}, {SHA256, []int{10}}})
			cut, err := cutOf(list, q, nil)
			if err != nil {
				t.Fatalf("%s, quoted after %d records: %v", name, n, err)
			}
			if cut.Prefix != uint64(n) || cut.Records != uint64(len(all)) || cut.Bytes != int64(len(list)) || !bytes.Equal(cut.End[Slot{SHA256, 10}], p.Value(Slot{SHA256, 10})) {
				t.Errorf("%s, quoted after %d records: %+v", name, n, cut)
			}
		}
	}
	// What is wrong is found where it is, whatever comes before it in its batch.
	for _, at := range []int{0, batchRecords - 1, batchRecords, 2 * batchRecords} {
		list := bytes.Clone(short)
		list[(at+1)*size-1] ^= 1
		q := quoteOf(t, replayed(t, nil, nil), Selection{{SHA1, []int{10}}, {SHA256, []int{10}}})
		var digest *DigestError
		if _, err := cutOf(list, q, nil); !errors.As(err, &digest) || digest.Record != uint64(at) || digest.Offset != int64(at*size) {
			t.Errorf("record %d altered: %v", at, err)
		}
		var syntax *SyntaxError
		if _, err := cutOf(short[:(at+1)*size-1], q, nil); !errors.As(err, &syntax) || syntax.Record != uint64(at) {
			t.Errorf("record %d cut short: %v", at, err)
		}
	}
}

// TestExpected: values that are expected narrow the search, and change nothing
// else.
func TestExpected(t *testing.T) {
	list := vector(t, "A", "B", "custom")
	slot := Slot{SHA256, 10}
	for n, prefix := range [][]byte{nil, vector(t, "A"), vector(t, "A", "B")} {
		p := replayed(t, prefix, nil)
		q := quoteOf(t, p, Selection{{SHA256, []int{0, 10}}})
		q.Expected = Values{slot: bytes.Clone(p.Value(slot)), {SHA1, 10}: make([]byte, 20)} // SHA-1 is not quoted
		cut, err := cutOf(list, q, nil)
		if err != nil || cut.Prefix != uint64(n) {
			t.Errorf("prefix %d: %+v, %v", n, cut, err)
		}
		q.Expected[slot][31] ^= 1
		var none *NoCutError
		if _, err := cutOf(list, q, nil); !errors.As(err, &none) {
			t.Errorf("prefix %d, another value expected: %v", n, err)
		}
		// What is expected and not what the quote is over.
		q.Expected[slot][31] ^= 1
		q.Digest = bytes.Repeat([]byte{1}, 32)
		if _, err := cutOf(list, q, nil); !errors.As(err, &none) {
			t.Errorf("prefix %d, another quote: %v", n, err)
		}
		q.Expected[slot] = q.Expected[slot][:20]
		if _, err := cutOf(list, q, nil); err == nil || errors.As(err, &none) {
			t.Errorf("prefix %d: 20 bytes expected in a SHA-256 register: %v", n, err)
		}
	}
}
