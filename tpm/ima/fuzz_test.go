package ima

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func FuzzReader(f *testing.F) {
	for name := range vectors {
		f.Add(vector(f, name), uint16(vectorFormat(name).Bank))
	}
	f.Fuzz(func(t *testing.T, list []byte, bank uint16) {
		r := NewReader(bytes.NewReader(list), Format{Bank: Bank(bank)})
		p, err := NewReplayer([]Bank{SHA1, SHA256}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		var raw []byte
		var end error
		for {
			var rec *Record
			if rec, end = r.Next(); end != nil {
				break
			}
			raw = append(raw, rec.Raw...)
			rec.Fields()
			rec.BootAggregate()
			p.Extend(rec)
		}
		if !bytes.HasPrefix(list, raw) || errors.Is(end, io.EOF) && len(raw) != len(list) {
			t.Fatal("the records' bytes are not those of the list")
		}
		// What a length names costs nothing before it is there.
		if cap(r.buf) > 2*len(list)+64 {
			t.Fatalf("%d bytes taken for a list of %d", cap(r.buf), len(list))
		}
	})
}

func FuzzParseSlot(f *testing.F) {
	f.Add("sha256:10")
	f.Add("sha3_512:0")
	f.Fuzz(func(t *testing.T, s string) {
		if slot, err := ParseSlot(s); err == nil && slot.String() != s {
			t.Fatalf("%q reads as %s", s, slot)
		}
	})
}

func FuzzParseSignature(f *testing.F) {
	f.Add([]byte{3, 2, 4, 0xde, 0xad, 0xbe, 0xef, 0, 3, 7, 8, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ParseSignature(b); err == nil {
			s.Algorithm()
			if len(s.Sig) != len(b)-signatureHeader {
				t.Fatal("bytes are left over")
			}
		}
	})
}

func FuzzParseModsig(f *testing.F) {
	for _, b := range modsigs(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if ids, err := ParseModsig(b); err == nil && (len(ids) == 0 || len(ids) > maxSigners) {
			t.Fatalf("%d signers", len(ids))
		}
	})
}
