package ima

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func vector(t testing.TB, names ...string) []byte {
	t.Helper()
	var list []byte
	for _, n := range names {
		b, err := hex.DecodeString(vectors[n])
		if err != nil || len(b) == 0 {
			t.Fatalf("vector %s: %v", n, err)
		}
		list = append(list, b...)
	}
	return list
}

func vectorFormat(name string) Format {
	f := Format{Bank: SHA1}
	if name == "sha256file" {
		f.Bank = SHA256
	}
	return f
}

func TestVectorDigests(t *testing.T) {
	for name := range vectors {
		rec := readAll(t, vector(t, name), vectorFormat(name))[0]
		if rec.Violation() {
			if got := rec.Sum(SHA256, StyleDigest); !bytes.Equal(got, bytes.Repeat([]byte{0xff}, 32)) {
				t.Errorf("%s: a violation extends %x", name, got)
			}
			continue
		}
		if rec.bank == SHA1 && !bytes.Equal(rec.Sum(SHA1, StyleDigest), rec.Digest) {
			t.Errorf("%s: SHA-1 digest %x, stored %x", name, rec.Sum(SHA1, StyleDigest), rec.Digest)
		}
		if want := vectorDigests[name]; want != "" && hex.EncodeToString(rec.Sum(SHA256, StyleDigest)) != want {
			t.Errorf("%s: SHA-256 digest %x, want %s", name, rec.Sum(SHA256, StyleDigest), want)
		}
	}
}

func TestVectorReplay(t *testing.T) {
	order := []string{"A", "B", "C", "V", "D"}
	for _, row := range []struct {
		name  string
		bank  Bank
		style Style
	}{{"sha1", SHA1, StyleDigest}, {"sha256", SHA256, StyleDigest}, {"sha256 padded", SHA256, StylePadded}} {
		p, err := NewReplayer([]Bank{row.bank}, nil, Styles{row.bank: row.style})
		if err != nil {
			t.Fatal(err)
		}
		for i, rec := range readAll(t, vector(t, order...), Format{Bank: SHA1}) {
			if err := p.Extend(&rec); err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(p.Value(Slot{row.bank, 10})); got != vectorPCRs[row.name][i] {
				t.Errorf("%s after %s: %s, want %s", row.name, order[i], got, vectorPCRs[row.name][i])
			}
		}
	}
	// A violation in padded-ff style differs from padded in its last 12 bytes.
	rec := readAll(t, vector(t, "V"), Format{Bank: SHA1})[0]
	if got := rec.Sum(SHA256, StylePaddedFF); !bytes.Equal(got, bytes.Repeat([]byte{0xff}, 32)) {
		t.Errorf("padded-ff violation extends %x", got)
	}
}

func quoteOf(t testing.TB, p *Replayer, s Selection) Quoted {
	return Quoted{Selection: s, Hash: SHA256, Digest: s.Digest(SHA256, p.Value)}
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
	if _, err := FindCut(NewReader(bytes.NewReader(list), Format{Bank: SHA1}), quoteOf(t, p, Selection{{SHA256, []int{10}}}), nil, nil); !errors.As(err, &unquoted) || unquoted.PCR != 11 || unquoted.Record != 1 {
		t.Errorf("PCR 11 not quoted: %v", err)
	}
	if _, err := FindCut(NewReader(bytes.NewReader(list), Format{Bank: SHA1}), quoteOf(t, p, Selection{{SHA1, []int{10}}, {SHA256, []int{10, 11}}}), nil, nil); !errors.As(err, &unquoted) || unquoted.Bank != SHA1 {
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

func TestTruncatedAtEachByte(t *testing.T) {
	for name := range vectors {
		list := append(vector(t, name), vector(t, name)...)
		for n := range list {
			r := NewReader(bytes.NewReader(list[:n]), vectorFormat(name))
			var err error
			records := 0
			for ; err == nil; records++ {
				_, err = r.Next()
			}
			records--
			var syntax *SyntaxError
			switch {
			case n%(len(list)/2) == 0:
				if !errors.Is(err, io.EOF) || records != n/(len(list)/2) {
					t.Errorf("%s cut after %d whole records: %v after %d", name, n/(len(list)/2), err, records)
				}
			case !errors.As(err, &syntax) || !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "truncated") || syntax.Record != uint64(records):
				t.Errorf("%s cut at byte %d: %v", name, n, err)
			}
		}
	}
}

// TestMalformed: lengths that lie, other byte orders, other digest sizes. None
// may cost memory that was not sent.
func TestMalformed(t *testing.T) {
	a := vector(t, "A")
	put := func(at int, v uint32) []byte {
		b := bytes.Clone(a)
		binary.LittleEndian.PutUint32(b[at:], v)
		return b
	}
	longName := slices.Concat(a[:24], []byte{255, 0, 0, 0}, bytes.Repeat([]byte("n"), 255), []byte{0, 0, 0, 0})
	digest := sha1.Sum(nil)
	copy(longName[4:], digest[:])
	for _, row := range []struct {
		name string
		list []byte
		bank Bank
		want string // empty: accepted
	}{
		{"name of 255 bytes, data of none", longName, SHA1, ""},
		{"name of 256 bytes", put(24, 256), SHA1, "template name of 256 bytes"},
		{"name of 4 GiB", put(24, math.MaxUint32), SHA1, "at most"},
		{"data of 4 GiB", put(34, math.MaxUint32), SHA1, "at most"},
		{"data of 16 MiB that are not there", put(34, MaxData), SHA1, "truncated"},
		{"SHA-1 list read as SHA-256", slices.Concat(a, a), SHA256, "another size than sha256"},
		{"SHA-256 list read as SHA-1", vector(t, "sha256file"), SHA1, "at most"},
		{"big-endian record after a little-endian one", slices.Concat(a, vector(t, "be")), SHA1, "byte order"},
		{"little-endian record after a big-endian one", slices.Concat(vector(t, "be"), a), SHA1, "byte order"},
		{"text", []byte("10 0123 ima-ng sha256:00 /bin/sh\n"), SHA1, "binary measurement list"},
		{"garbage after the last record", append(bytes.Clone(a), 0xff, 0xff, 0xff, 0xff), SHA1, "PCR number"},
		{"legacy name of 255 bytes", slices.Concat(a[:24], []byte{3, 0, 0, 0}, []byte("ima"), make([]byte, 20), []byte{255, 0, 0, 0}, bytes.Repeat([]byte("n"), 255)), SHA1, "stored sha1 digest"},
		{"legacy name of 256 bytes", slices.Concat(a[:24], []byte{3, 0, 0, 0}, []byte("ima"), make([]byte, 20), []byte{0, 1, 0, 0}, make([]byte, 256)), SHA1, "file name of 256 bytes"},
		{"bank of unknown size", a, 0x7777, "unknown size"},
	} {
		r := NewReader(bytes.NewReader(row.list), Format{Bank: row.bank})
		p, _ := NewReplayer([]Bank{SHA256}, nil, nil)
		var err error
		for err == nil {
			var rec *Record
			if rec, err = r.Next(); err == nil {
				err = p.Extend(rec)
			}
		}
		if cap(r.buf) > 4*readStep {
			t.Errorf("%s: took %d bytes", row.name, cap(r.buf))
		}
		if row.want == "" != errors.Is(err, io.EOF) || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

// TestEachBit alters every bit of a real list that a real quote covers. What is
// not refused lies in what no register binds, and nowhere else.
func TestEachBit(t *testing.T) {
	dir := recordings + "staging-7.3-kexec/01-full"
	list := readFile(t, dir+"/binary_runtime_measurements")
	q := readQuoted(t, dir)
	cut, err := FindCut(NewReader(bytes.NewReader(list), Format{Bank: SHA1}), q, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	free := make(map[int]bool)
	for _, rec := range readAll(t, list, Format{Bank: SHA1}) {
		at := int(rec.Offset)
		if rec.Index >= cut.Prefix {
			for i := range rec.Raw {
				free[at+i] = true // after the quote
			}
		}
		for i := range rec.Template {
			free[at+28+i] = true
		}
	}
	for i := range list {
		for bit := range 8 {
			altered := bytes.Clone(list)
			altered[i] ^= 1 << bit
			got, err := FindCut(NewReader(bytes.NewReader(altered), Format{Bank: SHA1}), q, nil, nil)
			if err == nil && got.Prefix == cut.Prefix && !free[i] {
				t.Errorf("bit %d of byte %d altered: still %d records under the quote", bit, i, got.Prefix)
			}
		}
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

func TestFieldErrors(t *testing.T) {
	record := func(template string, data ...byte) *Record {
		return &Record{Template: []byte(template), Data: data, Digest: []byte{1}, bank: SHA1, order: LittleEndian}
	}
	for _, row := range []struct {
		name string
		rec  *Record
		want string
	}{
		{"field longer than the data", record("n-ng", 5, 0, 0, 0, 'x', 0), "5 bytes, 2 are left"},
		{"data longer than the fields", record("n-ng", 2, 0, 0, 0, 'x', 0, 9), "after the last field"},
		{"no length", record("n-ng", 5, 0), "no length"},
		{"name without NUL", record("n-ng", 1, 0, 0, 0, 'x'), "one NUL"},
		{"name with an inner NUL", record("n-ng", 3, 0, 0, 0, 'x', 0, 0), "one NUL"},
		{"digest without algorithm", record("d-ng", 2, 0, 0, 0, ':', 0), "algorithm"},
		{"imode of one byte", record("imode", 1, 0, 0, 0, 7), "want 2"},
	} {
		_, err := row.rec.Fields()
		var field *FieldError
		if !errors.As(err, &field) || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
	if f, err := record("no|such|template", 1, 2, 3).Fields(); err != nil || f.Format != nil {
		t.Errorf("an unknown template: %+v, %v", f, err)
	}
	if f, err := record("sig", 0, 0, 0, 0).Fields(); err != nil || len(f.Sig) != 0 {
		t.Errorf("an empty signature: %+v, %v", f, err)
	}
	for name, want := range map[string]string{"/bin/a b": "/bin/a b", "/a\nb": `"/a\nb"`, "\xff": `"\xff"`, "/‮x": `"/\u202ex"`, "": `""`} {
		if got := Printable([]byte(name)); got != want {
			t.Errorf("Printable(%q) = %s, want %s", name, got, want)
		}
	}
}

func TestBufferMatches(t *testing.T) {
	rec := readAll(t, vector(t, "C"), Format{Bank: SHA1})[0]
	f, err := rec.Fields()
	if err != nil || string(f.Buf) != "6.12.0" || string(f.Path) != "kernel_version" {
		t.Fatalf("%+v, %v", f, err)
	}
	if match, ok := f.BufferMatches(); !match || !ok {
		t.Errorf("match %v, ok %v", match, ok)
	}
	f.Buf = []byte("6.12.1")
	if match, ok := f.BufferMatches(); match || !ok {
		t.Errorf("altered: match %v, ok %v", match, ok)
	}
}

// TestBootAggregateZero holds the two constants of a machine whose firmware
// measured nothing.
func TestBootAggregateZero(t *testing.T) {
	zero := func(s Slot) []byte { return make([]byte, s.Bank.Size()) }
	for bank, want := range map[Bank]string{
		SHA1:   "9797edf8d0eed36b1cf92547816051c8af4e45ee",
		SHA256: "7b6436b0c98f62380866d9432c2af0ee08ce16a171bda6951aecd95ee1307d61",
	} {
		if got, ok := BootAggregate(bank, zero); !ok || hex.EncodeToString(got) != want {
			t.Errorf("%s: %x, want %s", bank, got, want)
		}
	}
}

// TestBootAggregateRecorded holds the first record of each recorded boot to the
// registers that were read beside it.
func TestBootAggregateRecorded(t *testing.T) {
	for _, dir := range []string{"stock-6.1/boot1/cut1", "stock-6.1/boot2/cut1", "templates-7.3/cut1", "custom-format-7.3/cut1", "big-7.3/cut1", "staging-7.3-kexec/01-full"} {
		pcrs := readPCRs(t, recordings+dir)
		rec := readAll(t, readFile(t, recordings+dir+"/binary_runtime_measurements"), Format{Bank: SHA1})[0]
		alg, digest, ok := rec.BootAggregate()
		want, known := BootAggregate(alg, func(s Slot) []byte { return pcrs[s] })
		if !ok || !known || !bytes.Equal(digest, want) {
			t.Errorf("%s: first record is %s %x (%v), PCR 0 to 9 give %x", dir, alg, digest, ok, want)
		}
	}
}

// TestEvmctl has ima-evm-utils replay the same lists to the same values.
func TestEvmctl(t *testing.T) {
	if _, err := exec.LookPath("evmctl"); err != nil {
		t.Fatal("evmctl is not installed: apt-get install ima-evm-utils")
	}
	lists := map[string][]byte{
		"vectors":   vector(t, "A", "B", "C", "D", "custom", "modsig", "evm", "kexec"),
		"stock-6.1": readFile(t, recordings+"stock-6.1/boot1/cut2/binary_runtime_measurements"),
		"big-7.3":   readFile(t, recordings+"big-7.3/cut1/binary_runtime_measurements"),
	}
	for name, list := range lists {
		p, _ := NewReplayer([]Bank{SHA1, SHA256}, nil, nil)
		for _, rec := range readAll(t, list, Format{Bank: SHA1}) {
			if err := p.Extend(&rec); err != nil {
				t.Fatal(err)
			}
		}
		dir := t.TempDir()
		file := filepath.Join(dir, "list")
		if err := os.WriteFile(file, list, 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"ima_measurement", "--ignore-violations"}
		for _, bank := range []Bank{SHA1, SHA256} {
			// The format of a kernel's pcrs file, as evmctl reads it.
			var b strings.Builder
			for pcr := range MaxPCRs {
				fmt.Fprintf(&b, "PCR-%02d: % X\n", pcr, p.Value(Slot{bank, pcr}))
			}
			f := filepath.Join(dir, bank.String())
			if err := os.WriteFile(f, []byte(b.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			args = append(args, "--pcrs", bank.String()+","+f)
		}
		out, err := exec.Command("evmctl", append(args, file)...).CombinedOutput()
		if err != nil || !regexp.MustCompile(`(?i)match`).Match(out) {
			t.Errorf("%s: evmctl %v: %v\n%s", name, args, err, out)
		}
		// It must have looked at the values: one altered is refused.
		f := filepath.Join(dir, "sha256")
		b, _ := os.ReadFile(f)
		at := bytes.Index(b, []byte("PCR-10: ")) + 8
		b[at] = "10"[b[at]&1]
		if err := os.WriteFile(f, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("evmctl", append(args, file)...).CombinedOutput(); err == nil {
			t.Errorf("%s: evmctl takes an altered value as well:\n%s", name, out)
		}
	}
}

// generated is a list of n records that is made as it is read.
type generated struct {
	n, i uint64
	left []byte
}

func (g *generated) Read(p []byte) (int, error) {
	if len(g.left) == 0 {
		if g.i == g.n {
			return 0, io.EOF
		}
		g.i++
		path := fmt.Sprintf("/usr/lib/x86_64-linux-gnu/generated-%09d.so\x00", g.i)
		data := binary.LittleEndian.AppendUint32(nil, 40)
		data = append(data, "sha256:\x00"...)
		data = append(data, make([]byte, 32)...)
		data = binary.LittleEndian.AppendUint32(data, uint32(len(path)))
		data = append(data, path...)
		d := sha1.Sum(data)
		g.left = binary.LittleEndian.AppendUint32(g.left[:0], 10)
		g.left = append(g.left, d[:]...)
		g.left = binary.LittleEndian.AppendUint32(g.left, 6)
		g.left = append(g.left, "ima-ng"...)
		g.left = binary.LittleEndian.AppendUint32(g.left, uint32(len(data)))
		g.left = append(g.left, data...)
	}
	n := copy(p, g.left)
	g.left = g.left[n:]
	return n, nil
}

func replayAll(t testing.TB, r io.Reader) uint64 {
	reader := NewReader(r, Format{Bank: SHA1})
	p, err := NewReplayer([]Bank{SHA1, SHA256}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := uint64(0); ; n++ {
		rec, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Extend(rec); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReplayAllocatesNothing: after the first record, a replay takes no more
// memory, however long the list.
func TestReplayAllocatesNothing(t *testing.T) {
	list := readFile(t, recordings+"big-7.3/cut1/binary_runtime_measurements")
	reader := bytes.NewReader(list)
	allocs := testing.AllocsPerRun(3, func() {
		reader.Reset(list)
		replayAll(t, reader)
	})
	if allocs > 20 {
		t.Errorf("%v allocations over 20,003 records, want a constant few", allocs)
	}
}

// TestReplaySpeed: at least 70 % of the speed of the bare hashing, measured in
// turn in one run; the best of several tries of each, since the machine is
// shared.
func TestReplaySpeed(t *testing.T) {
	list := readFile(t, recordings+"big-7.3/cut1/binary_runtime_measurements")
	all := readAll(t, list, Format{Bank: SHA1})
	best := func(d *time.Duration, f func()) {
		start := time.Now()
		f()
		if took := time.Since(start); *d == 0 || took < *d {
			*d = took
		}
	}
	var bare, replay time.Duration
	for range 10 {
		best(&bare, func() { bareHashing(all) })
		best(&replay, func() { replayAll(t, bytes.NewReader(list)) })
	}
	ratio := float64(bare) / float64(replay)
	t.Logf("bare hashing %v, replay %v: %.0f %% of its speed", bare, replay, 100*ratio)
	if ratio < 0.7 {
		t.Errorf("replay has %.0f %% of the speed of the hashing it must do, want 70 %%", 100*ratio)
	}
}

// bareHashing does what no replay can leave out: one digest of each record's
// data and one extend, for each bank.
func bareHashing(all []Record) {
	values := map[Bank][]byte{SHA1: make([]byte, 40), SHA256: make([]byte, 64)}
	one, two := values[SHA1], values[SHA256]
	for i := range all {
		SHA1.appendSum(one[20:20], all[i].Data)
		SHA1.appendSum(one[:0], one)
		SHA256.appendSum(two[32:32], all[i].Data)
		SHA256.appendSum(two[:0], two)
	}
}

func BenchmarkReplay(b *testing.B) {
	list := readFile(b, recordings+"big-7.3/cut1/binary_runtime_measurements")
	all := readAll(b, list, Format{Bank: SHA1})
	b.Run("BareHashing", func(b *testing.B) {
		b.SetBytes(int64(len(list)))
		for b.Loop() {
			bareHashing(all)
		}
	})
	b.Run("Replay", func(b *testing.B) {
		b.SetBytes(int64(len(list)))
		b.ReportAllocs()
		for b.Loop() {
			replayAll(b, bytes.NewReader(list))
		}
	})
	b.Run("Cut", func(b *testing.B) {
		q := readQuoted(b, recordings+"big-7.3/cut1")
		b.SetBytes(int64(len(list)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := FindCut(NewReader(bytes.NewReader(list), Format{Bank: SHA1}), q, nil, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkReplayMemory shows that memory does not grow with the records.
func BenchmarkReplayMemory(b *testing.B) {
	for _, n := range []uint64{1e4, 1e6} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if got := replayAll(b, &generated{n: n}); got != n {
					b.Fatalf("%d records of %d", got, n)
				}
			}
		})
	}
}

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
		for {
			rec, err := r.Next()
			if err != nil {
				break
			}
			raw = append(raw, rec.Raw...)
			rec.Fields()
			rec.BootAggregate()
			p.Extend(rec)
		}
		if !bytes.HasPrefix(list, raw) {
			t.Fatal("the records' bytes are not those of the list")
		}
	})
}
