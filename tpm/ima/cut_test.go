package ima

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

func quoteOf(t testing.TB, p *Replayer, s Selection) Quoted {
	return Quoted{Selection: s, Hash: SHA256, Digest: s.Digest(SHA256, p.Value)}
}

// replayed returns the registers after a SHA-1 list from base, in SHA-1 and
// SHA-256.
func replayed(t testing.TB, list []byte, base Values) *Replayer {
	t.Helper()
	p, err := NewReplayer([]Bank{SHA1, SHA256}, base, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range readAll(t, list, Format{Bank: SHA1}) {
		if err := p.Extend(&rec); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func cutOf(list []byte, q Quoted, base Values) (*Cut, error) {
	return FindCut(NewReader(bytes.NewReader(list), Format{Bank: SHA1}), q, base, nil)
}

func TestVectorCut(t *testing.T) {
	list := vector(t, "A", "B", "C", "V", "D", "custom")
	for sel, want := range vectorQuotes {
		var s Selection
		for _, name := range strings.Split(sel, ",") {
			bank, err := ParseBank(name)
			if err != nil {
				t.Fatal(err)
			}
			s = append(s, SelectedBank{bank, []int{10}})
		}
		digest, _ := hex.DecodeString(want)
		cut, err := FindCut(NewReader(bytes.NewReader(list), Format{Bank: SHA1}), Quoted{Selection: s, Hash: SHA256, Digest: digest}, nil, nil)
		if err != nil || cut.Prefix != 5 || cut.Records != 6 {
			t.Errorf("%s: %+v, %v", sel, cut, err)
		}
	}
}

// TestCutPlaces: the base itself, each record, duplicates, and none.
func TestCutPlaces(t *testing.T) {
	list := vector(t, "A", "B", "B", "V", "V", "D")
	s := Selection{{SHA1, []int{10}}, {SHA256, []int{10}}}
	p, _ := NewReplayer([]Bank{SHA1, SHA256}, nil, nil)
	quotes := []Quoted{quoteOf(t, p, s)}
	for _, rec := range readAll(t, list, Format{Bank: SHA1}) {
		if err := p.Extend(&rec); err != nil {
			t.Fatal(err)
		}
		quotes = append(quotes, quoteOf(t, p, s))
	}
	for i, q := range quotes {
		cut, err := FindCut(NewReader(bytes.NewReader(list), Format{Bank: SHA1}), q, nil, nil)
		if err != nil || cut.Prefix != uint64(i) || cut.Records != 6 {
			t.Errorf("quote after %d records: %+v, %v", i, cut, err)
		}
	}
	var none *NoCutError
	// The quote is ahead of the list, and older than the base.
	if _, err := FindCut(NewReader(bytes.NewReader(vector(t, "A", "B")), Format{Bank: SHA1}), quotes[6], nil, nil); !errors.As(err, &none) || none.Records != 2 {
		t.Errorf("quote ahead of the list: %v", err)
	}
	if _, err := FindCut(NewReader(bytes.NewReader(vector(t, "D")), Format{Bank: SHA1}), quotes[0], p.Values(), nil); !errors.As(err, &none) {
		t.Errorf("quote older than the base: %v", err)
	}
}

func withPCR(record []byte, pcr uint32) []byte {
	record = bytes.Clone(record)
	binary.LittleEndian.PutUint32(record, pcr)
	return record
}

// TestSeveralPCRs: one prefix is taken over all quoted registers together.
func TestSeveralPCRs(t *testing.T) {
	eleven := withPCR(vector(t, "custom"), 11)
	list := slices.Concat(vector(t, "A"), eleven, vector(t, "B"), eleven, vector(t, "D"))
	both := Selection{{SHA1, []int{10, 11}}, {SHA256, []int{10, 11}}}
	p, _ := NewReplayer([]Bank{SHA1, SHA256}, nil, nil)
	for _, rec := range readAll(t, list, Format{Bank: SHA1})[:4] {
		if err := p.Extend(&rec); err != nil {
			t.Fatal(err)
		}
	}
	cut, err := FindCut(NewReader(bytes.NewReader(list), Format{Bank: SHA1}), quoteOf(t, p, both), nil, nil)
	if err != nil || cut.Prefix != 4 || !slices.Equal(cut.Named, []int{10, 11}) {
		t.Errorf("%+v, %v", cut, err)
	}
	// A quote that covers PCR 10 alone leaves the others' place free.
	var unquoted *UnquotedError
	if _, err := FindCut(NewReader(bytes.NewReader(list), Format{Bank: SHA1}), quoteOf(t, p, Selection{{SHA256, []int{10}}}), nil, nil); !errors.As(err, &unquoted) || unquoted.Slot.PCR != 11 || unquoted.Record != 1 {
		t.Errorf("PCR 11 not quoted: %v", err)
	}
	if _, err := FindCut(NewReader(bytes.NewReader(list), Format{Bank: SHA1}), quoteOf(t, p, Selection{{SHA1, []int{10}}, {SHA256, []int{10, 11}}}), nil, nil); !errors.As(err, &unquoted) || unquoted.Slot.Bank != SHA1 {
		t.Errorf("PCR 11 not quoted in one bank: %v", err)
	}
	// A quote over PCR 16 with PCR 10's value is no quote over PCR 10.
	fake := quoteOf(t, p, both)
	fake.Selection = Selection{{SHA1, []int{11, 16}}, {SHA256, []int{11, 16}}}
	if _, err := FindCut(NewReader(bytes.NewReader(list), Format{Bank: SHA1}), fake, nil, nil); err == nil {
		t.Error("a quote over PCR 16 passes for one over PCR 10")
	}
}

// TestUnattestable: records of registers that the kernel cannot extend are
// listed, change nothing, and the cut stands before them.
func TestUnattestable(t *testing.T) {
	for _, pcr := range []uint32{17, 22, 24, 63} {
		list := slices.Concat(vector(t, "A"), withPCR(vector(t, "custom"), pcr), vector(t, "B"), withPCR(vector(t, "custom"), pcr))
		p, _ := NewReplayer([]Bank{SHA256}, nil, nil)
		all := readAll(t, list, Format{Bank: SHA1})
		for _, rec := range all {
			if err := p.Extend(&rec); err != nil {
				t.Fatal(err)
			}
		}
		cut, err := FindCut(NewReader(bytes.NewReader(list), Format{Bank: SHA1}), quoteOf(t, p, Selection{{SHA256, []int{10}}}), nil, nil)
		if err != nil || cut.Prefix != 3 || cut.Unattested != 1 {
			t.Errorf("PCR %d: %+v, %v", pcr, cut, err)
		}
		if f, err := all[1].Fields(); err != nil || f.Bound {
			t.Errorf("PCR %d: fields %+v, %v; want them marked as not bound", pcr, f, err)
		}
	}
	if _, err := NewReader(bytes.NewReader(withPCR(vector(t, "A"), math.MaxUint32)), Format{Bank: SHA1}).Next(); err == nil {
		t.Error("PCR 0xffffffff is accepted")
	}
}

// TestViolationIsFree: the contents of a violation can be altered, and the
// fields say so.
func TestViolationIsFree(t *testing.T) {
	list := vector(t, "A", "V", "B")
	p, _ := NewReplayer([]Bank{SHA1, SHA256}, nil, nil)
	for _, rec := range readAll(t, list, Format{Bank: SHA1}) {
		if err := p.Extend(&rec); err != nil {
			t.Fatal(err)
		}
	}
	q := quoteOf(t, p, Selection{{SHA1, []int{10}}, {SHA256, []int{10}}})
	altered := bytes.Replace(list, []byte("/var/log/x"), []byte("/var/log/y"), 1)
	cut, err := FindCut(NewReader(bytes.NewReader(altered), Format{Bank: SHA1}), q, nil, nil)
	if err != nil || cut.Prefix != 3 {
		t.Errorf("%+v, %v", cut, err)
	}
	rec := readAll(t, altered, Format{Bank: SHA1})[1]
	if f, err := rec.Fields(); err != nil || f.Bound || string(f.Path) != "/var/log/y" {
		t.Errorf("fields %+v, %v; want them marked as not bound", f, err)
	}
}

// TestStoredDigestAltered: the SHA-256 bank does not cover the stored SHA-1
// digest, so it is recomputed.
func TestStoredDigestAltered(t *testing.T) {
	list := vector(t, "A", "B")
	list[4] ^= 1
	p, _ := NewReplayer([]Bank{SHA256}, nil, nil)
	rec, err := NewReader(bytes.NewReader(list), Format{Bank: SHA1}).Next()
	if err != nil {
		t.Fatal(err)
	}
	var digest *DigestError
	if err := p.Extend(rec); !errors.As(err, &digest) || digest.Record != 0 || digest.Bank != SHA1 {
		t.Errorf("%v, want a *DigestError", err)
	}
}

// TestViolationPlaces: a violation as a list's only, first and last record.
func TestViolationPlaces(t *testing.T) {
	for _, names := range [][]string{{"V"}, {"V", "A"}, {"A", "V"}, {"legacyV", "V"}} {
		list := vector(t, names...)
		q := quoteOf(t, replayed(t, list, nil), Selection{{SHA1, []int{10}}, {SHA256, []int{10}}})
		if cut, err := cutOf(list, q, nil); err != nil || cut.Prefix != uint64(len(names)) {
			t.Errorf("%v: %+v, %v", names, cut, err)
		}
	}
}

// TestUnmappedBank: a bank that the kernel has no number for, such as SHA3-256,
// is extended with padded SHA-1, and its list stores the same. Another style
// does not fit: neither the quote, nor the stored digest.
func TestUnmappedBank(t *testing.T) {
	padded := KernelStyles()
	var list []byte // …_tpm_alg_27, of the vectors
	for _, rec := range readAll(t, vector(t, "A", "V", "B"), Format{Bank: SHA1}) {
		stored := append(bytes.Clone(rec.Digest), make([]byte, 12)...)
		list = slices.Concat(list, rec.Raw[:4], stored, rec.Raw[24:])
	}
	p, err := NewReplayer([]Bank{SHA3_256}, nil, padded)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 32)
	extend := func(digest []byte) { h := SHA3_256.New(); h.Write(want); h.Write(digest); want = h.Sum(nil) }
	for _, rec := range readAll(t, list, Format{Bank: SHA3_256}) {
		if err := p.Extend(&rec); err != nil {
			t.Fatal(err)
		}
		if rec.Violation() {
			extend(append(bytes.Repeat([]byte{0xff}, 20), make([]byte, 12)...))
		} else {
			extend(rec.Digest)
		}
	}
	if got := p.Value(Slot{SHA3_256, 10}); !bytes.Equal(got, want) {
		t.Fatalf("PCR 10 is %x, want %x", got, want)
	}
	q := quoteOf(t, p, Selection{{SHA3_256, []int{10}}})
	cut := func(style Styles) error {
		_, err := FindCut(NewReader(bytes.NewReader(list), Format{Bank: SHA3_256}), q, nil, style)
		return err
	}
	if err := cut(padded); err != nil {
		t.Error(err)
	}
	var digest *DigestError
	if err := cut(nil); !errors.As(err, &digest) || !strings.Contains(err.Error(), "style padded") {
		t.Errorf("padded digests in style digest: %v", err)
	}
	var none *NoCutError
	if err := cut(Styles{SHA3_256: StylePaddedFF}); !errors.As(err, &none) {
		t.Errorf("padded violations in style padded-ff: %v", err)
	}
	// The list's bank is checked in its style also where it is not replayed.
	sha256Only, _ := NewReplayer([]Bank{SHA256}, nil, padded)
	rec, err := NewReader(bytes.NewReader(list), Format{Bank: SHA3_256}).Next()
	if err != nil || sha256Only.Extend(rec) != nil {
		t.Errorf("list of a bank that is not replayed: %v, %v", err, sha256Only.Extend(rec))
	}
}

// TestPinnedStyle: what was extended in padded style does not pass for the
// bank's own hash, nor the other way round.
func TestPinnedStyle(t *testing.T) {
	list := vector(t, "A", "B")
	for _, extended := range []Style{StyleDigest, StylePadded} {
		p, _ := NewReplayer([]Bank{SHA256}, nil, Styles{SHA256: extended})
		for _, rec := range readAll(t, list, Format{Bank: SHA1}) {
			if err := p.Extend(&rec); err != nil {
				t.Fatal(err)
			}
		}
		q := quoteOf(t, p, Selection{{SHA256, []int{10}}})
		for _, pinned := range []Style{StyleDigest, StylePadded} {
			_, err := FindCut(NewReader(bytes.NewReader(list), Format{Bank: SHA1}), q, nil, Styles{SHA256: pinned})
			if (err == nil) != (pinned == extended) {
				t.Errorf("extended in style %d, pinned to %d: %v", extended, pinned, err)
			}
		}
	}
}

// TestSelections that cannot say anything of a list, or not of this one.
func TestSelections(t *testing.T) {
	list := vector(t, "A", "B")
	p := replayed(t, list, nil)
	ten := Slot{SHA256, 10}
	base := Values{ten: p.Value(ten), {SHA256, 11}: make([]byte, 32)}
	known := Values{{SHA256, 16}: p.Value(ten)}
	var unquoted *UnquotedError
	var none *NoCutError
	for _, row := range []struct {
		name   string
		list   []byte
		s      Selection
		base   Values
		digest func(Quoted) []byte // nil: of the registers after the list
		want   any                 // an error type; nil: any error
	}{
		{"empty", list, nil, nil, nil, nil},
		{"banks without registers", list, Selection{{SHA256, nil}}, nil, nil, nil},
		{"one bank twice", list, Selection{{SHA256, []int{10}}, {SHA256, []int{10}}}, nil, nil, nil},
		{"PCR 30", list, Selection{{SHA256, []int{10, 30}}}, nil, nil, nil},
		{"a bank that cannot be computed", list, Selection{{SM3_256, []int{10}}}, nil, nil, ErrUnavailable},
		{"PCR 10 not quoted", list, Selection{{SHA256, []int{0, 1}}}, nil, nil, &unquoted},
		{"PCR 10 not quoted, and no record", nil, Selection{{SHA256, []int{0, 1}}}, nil, nil, &unquoted},
		{"PCR 10 not quoted in one bank", list, Selection{{SHA1, []int{1}}, {SHA256, []int{10}}}, nil, nil, &unquoted},
		{"a register of base not quoted", nil, Selection{{SHA256, []int{10}}}, base, nil, &unquoted},
		{"PCR 16 that holds PCR 10's value", list, Selection{{SHA256, []int{16}}}, nil, func(q Quoted) []byte {
			return q.Selection.Digest(SHA256, func(s Slot) []byte { return known[s] })
		}, &unquoted},
		{"another order of registers", list, Selection{{SHA256, []int{10}}, {SHA1, []int{10}}}, nil, func(Quoted) []byte {
			return Selection{{SHA1, []int{10}}, {SHA256, []int{10}}}.Digest(SHA256, p.Value)
		}, &none},
	} {
		q := quoteOf(t, p, row.s)
		q.Known = known
		if row.digest != nil {
			q.Digest = row.digest(q)
		}
		cut, err := cutOf(row.list, q, row.base)
		switch want := row.want.(type) {
		case nil:
			if err == nil {
				t.Errorf("%s: %+v", row.name, cut)
			}
		case error:
			if !errors.Is(err, want) {
				t.Errorf("%s: %+v, %v", row.name, cut, err)
			}
		default:
			if !errors.As(err, want) {
				t.Errorf("%s: %+v, %v", row.name, cut, err)
			}
		}
	}
}

// TestKnownValues: hints stand in for registers that the list leaves alone; for
// one that it names after the quote, the value it got by then does not.
func TestKnownValues(t *testing.T) {
	eleven := withPCR(vector(t, "custom"), 11)
	quoted, later := vector(t, "A"), slices.Concat(vector(t, "A"), eleven, vector(t, "B"))
	s := Selection{{SHA256, []int{0, 10, 11}}}
	zero := bytes.Repeat([]byte{7}, 32) // what firmware left in PCR 0
	p := replayed(t, quoted, Values{{SHA256, 0}: zero})
	q := quoteOf(t, p, s)
	q.Known = Values{{SHA256, 0}: zero}
	for _, slot := range []Slot{{SHA256, 10}, {SHA256, 11}} {
		q.Known[slot] = replayed(t, later, nil).Value(slot) // read after the quote
	}
	cut, err := cutOf(later, q, nil)
	if err != nil || cut.Prefix != 1 || !bytes.Equal(cut.Others[Slot{SHA256, 11}], make([]byte, 32)) || !bytes.Equal(cut.Others[Slot{SHA256, 0}], zero) {
		t.Errorf("PCR 11 extended after the quote: %+v, %v", cut, err)
	}
	// The list may also leave PCR 11 alone, and it holds what something else put there.
	q = quoteOf(t, replayed(t, quoted, Values{{SHA256, 0}: zero, {SHA256, 11}: zero}), s)
	q.Known = Values{{SHA256, 0}: zero, {SHA256, 11}: zero}
	if cut, err = cutOf(quoted, q, nil); err != nil || cut.Prefix != 1 || !bytes.Equal(cut.Others[Slot{SHA256, 11}], zero) || len(cut.End) != 1 {
		t.Errorf("PCR 11 left alone: %+v, %v", cut, err)
	}
	var none *NoCutError
	q.Known = nil
	if _, err = cutOf(quoted, q, nil); !errors.As(err, &none) || !slices.Equal(none.Unknown, []Slot{{SHA256, 0}, {SHA256, 11}}) {
		t.Errorf("no hints: %v", err)
	}
	q.Known = Values{{SHA256, 0}: zero[:20]}
	if _, err = cutOf(quoted, q, nil); err == nil {
		t.Error("a hint of 20 bytes for a SHA-256 register is taken")
	}
}

// TestHintOfExtended: the hint of a register that the list extends under the quote
// must not make a shorter prefix fit, which would leave those records to a segment
// that can never be cut.
func TestHintOfExtended(t *testing.T) {
	eleven := withPCR(vector(t, "custom"), 11)
	list := slices.Concat(vector(t, "A"), eleven, eleven)
	p := replayed(t, list, nil)
	q := quoteOf(t, p, Selection{{SHA256, []int{10, 11}}})
	q.Known = Values{{SHA256, 11}: p.Value(Slot{SHA256, 11})}
	cut, err := cutOf(list, q, nil)
	if err != nil || cut.Prefix != 3 || !slices.Equal(cut.Named, []int{10, 11}) {
		t.Errorf("%+v, %v", cut, err)
	}
	// Something else extended PCR 11 before, and the list does after the quote:
	// then the hint is all there is.
	before := bytes.Repeat([]byte{7}, 32)
	q = quoteOf(t, replayed(t, vector(t, "A"), Values{{SHA256, 11}: before}), Selection{{SHA256, []int{10, 11}}})
	q.Known = Values{{SHA256, 11}: before}
	if cut, err = cutOf(list, q, nil); err != nil || cut.Prefix != 1 || !bytes.Equal(cut.Others[Slot{SHA256, 11}], before) {
		t.Errorf("extended by something else: %+v, %v", cut, err)
	}
}

// TestDamagedAfterTheCut: the whole list is held to its form, since what follows
// the cut begins the next segment.
func TestDamagedAfterTheCut(t *testing.T) {
	q := quoteOf(t, replayed(t, vector(t, "A"), nil), Selection{{SHA256, []int{10}}})
	list := vector(t, "A", "B")
	var syntax *SyntaxError
	if _, err := cutOf(list[:len(list)-1], q, nil); !errors.As(err, &syntax) || syntax.Record != 1 {
		t.Errorf("truncated after the cut: %v", err)
	}
	var digest *DigestError
	list[len(list)-1] ^= 1
	if _, err := cutOf(list, q, nil); !errors.As(err, &digest) || digest.Record != 1 {
		t.Errorf("altered after the cut: %v", err)
	}
}
