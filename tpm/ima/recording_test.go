package ima

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const recordings = "testdata/recordings/"

// readFile reads a file of testdata, unpacked if it is kept compressed.
func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		var f *os.File
		if f, err = os.Open(name + ".gz"); err == nil {
			defer f.Close()
			var z *gzip.Reader
			if z, err = gzip.NewReader(f); err == nil {
				b, err = io.ReadAll(z)
			}
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// readQuoted reads what a recorded quote says. The quote's form is read by hand
// here: package quote, which does it strictly, is not this package's to import.
func readQuoted(t testing.TB, dir string) Quoted {
	t.Helper()
	b := readFile(t, filepath.Join(dir, "quote.tpms_attest"))
	sized := func() []byte {
		n := binary.BigEndian.Uint16(b)
		v := b[2 : 2+n]
		b = b[2+n:]
		return v
	}
	b = b[6:]
	sized() // qualifiedSigner
	sized() // extraData
	b = b[8+4+4+1+8:]
	q := Quoted{Hash: SHA256, Known: readPCRs(t, dir)}
	n := binary.BigEndian.Uint32(b)
	b = b[4:]
	for range n {
		s := SelectedBank{Bank: Bank(binary.BigEndian.Uint16(b))}
		for i, mask := range b[3:6] {
			for bit := range 8 {
				if mask>>bit&1 == 1 {
					s.PCRs = append(s.PCRs, 8*i+bit)
				}
			}
		}
		q.Selection = append(q.Selection, s)
		b = b[6:]
	}
	q.Digest = sized()
	return q
}

func readPCRs(t testing.TB, dir string) Values {
	t.Helper()
	var file struct{ PCRs map[string]map[string]string }
	if err := json.Unmarshal(readFile(t, filepath.Join(dir, "pcrs.json")), &file); err != nil {
		t.Fatal(err)
	}
	v := make(Values)
	for name, pcrs := range file.PCRs {
		bank, err := ParseBank(name)
		if err != nil {
			t.Fatal(err)
		}
		for index, value := range pcrs {
			i, err := strconv.Atoi(index)
			if err != nil {
				t.Fatal(err)
			}
			if v[Slot{bank, i}], err = hex.DecodeString(value); err != nil {
				t.Fatal(err)
			}
		}
	}
	return v
}

func readAll(t testing.TB, list []byte, f Format) []Record {
	t.Helper()
	var all []Record
	for r := NewReader(bytes.NewReader(list), f); ; {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		kept := *rec
		kept.Digest, kept.Template, kept.Data, kept.Raw = bytes.Clone(rec.Digest), bytes.Clone(rec.Template), bytes.Clone(rec.Data), bytes.Clone(rec.Raw)
		all = append(all, kept)
	}
}

// TestRecordings: every recorded quote divides its list where the recordings'
// README says, from zero, in the SHA-1 and in the per-bank file.
func TestRecordings(t *testing.T) {
	for _, row := range []struct {
		dir             string
		prefix, records uint64
	}{
		{"stock-6.1/boot1/cut1", 5, 7}, {"stock-6.1/boot1/cut2", 52, 52}, {"stock-6.1/boot1/cut3", 119, 119}, {"stock-6.1/boot1/cut4", 141, 141},
		{"stock-6.1/boot2/cut1", 5, 7}, {"stock-6.1/boot2/cut2", 52, 52}, {"stock-6.1/boot2/cut3", 119, 119}, {"stock-6.1/boot2/cut4", 141, 141},
		{"templates-7.3/cut1", 25, 25}, {"custom-format-7.3/cut1", 22, 23}, {"big-7.3/cut1", 20003, 20003},
		{"staging-7.3-kexec/01-full", 2, 3}, {"staging-7.3-kexec/02-before-deleting-10", 63, 63},
	} {
		dir := recordings + row.dir
		q := readQuoted(t, dir)
		for _, file := range []struct {
			suffix string
			bank   Bank
		}{{"", SHA1}, {"_sha256", SHA256}} {
			name := filepath.Join(dir, "binary_runtime_measurements"+file.suffix)
			if _, err := os.Stat(name); file.bank != SHA1 && err != nil {
				continue // big-7.3 and stock-6.1 have the SHA-1 file alone
			}
			list := readFile(t, name)
			cut, err := FindCut(NewReader(bytes.NewReader(list), Format{Bank: file.bank}), q, nil, nil)
			if err != nil {
				t.Errorf("%s%s: %v", row.dir, file.suffix, err)
				continue
			}
			if cut.Prefix != row.prefix || cut.Records != row.records || cut.Bytes != int64(len(list)) || cut.Order != LittleEndian {
				t.Errorf("%s%s: cut %+v, want prefix %d of %d records", row.dir, file.suffix, cut, row.prefix, row.records)
			}
		}
	}
}

// TestStagingChain joins the recordings of a 7.3 kernel whose list was shortened
// by N, then by A and D, and carried over a kexec with records staged. Each
// quote's cut is found from the register values at which the list then began,
// and from no other.
func TestStagingChain(t *testing.T) {
	dir := func(name string) string { return recordings + "staging-7.3-kexec/" + name }
	read := func(name, file string) []byte {
		return readFile(t, filepath.Join(dir(name), "binary_runtime_measurements"+file))
	}
	full := read("02-before-deleting-10", "")
	ten := full[:readAll(t, full, Format{Bank: SHA1})[10].Offset]
	shortened := read("03-after-deleting-10", "")
	if !bytes.Equal(full, slices.Concat(ten, shortened)) {
		t.Fatal("03 is not 02 without its first ten records")
	}
	staged := read("04-staged", "_staged")
	deleted := slices.Concat(ten, staged)
	for _, row := range []struct {
		dir             string
		before, list    []byte // deleted from the kernel, and still in it
		prefix, records uint64
	}{
		{"03-after-deleting-10", ten, shortened, 53, 53},
		{"04-staged", ten, staged, 113, 113},
		{"05-staged-deleted", deleted, nil, 0, 0},
		{"06-violations", deleted, read("06-violations", ""), 64, 64},
		{"07-staged-before-kexec", deleted, slices.Concat(read("07-staged-before-kexec", "_staged"), read("07-staged-before-kexec", "")), 69, 69},
		{"08-after-kexec", deleted, read("08-after-kexec", ""), 124, 124},
		{"09-after-kexec-later", deleted, read("09-after-kexec-later", ""), 134, 134},
	} {
		q := readQuoted(t, dir(row.dir))
		p, err := NewReplayer([]Bank{SHA1, SHA256}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range readAll(t, row.before, Format{Bank: SHA1}) {
			if err := p.Extend(&rec); err != nil {
				t.Fatal(err)
			}
		}
		cut, err := FindCut(NewReader(bytes.NewReader(row.list), Format{Bank: SHA1}), q, p.Values(), nil)
		if err != nil {
			t.Errorf("%s: %v", row.dir, err)
			continue
		}
		if cut.Prefix != row.prefix || cut.Records != row.records {
			t.Errorf("%s: %d of %d records, want %d of %d", row.dir, cut.Prefix, cut.Records, row.prefix, row.records)
		}
		var none *NoCutError
		if _, err := FindCut(NewReader(bytes.NewReader(row.list), Format{Bank: SHA1}), q, nil, nil); !errors.As(err, &none) {
			t.Errorf("%s: from a zero base: %v, want a *NoCutError", row.dir, err)
		}
	}
	boots := 0
	for _, rec := range readAll(t, read("08-after-kexec", ""), Format{Bank: SHA1}) {
		if _, _, ok := rec.BootAggregate(); ok {
			boots++
		}
	}
	if boots != 1 {
		t.Errorf("%d boot_aggregate in the list that the kexec carried over, want the second one alone", boots)
	}
}

// TestKernelRendering holds the decoded fields to the kernel's own text of the
// same records.
func TestKernelRendering(t *testing.T) {
	lines, err := filepath.Glob(recordings + "*/*/ascii*")
	more, _ := filepath.Glob(recordings + "*/*/*/ascii*")
	lines = append(lines, more...)
	if err != nil || len(lines) < 19 {
		t.Fatalf("%d renderings, %v", len(lines), err)
	}
	for _, name := range lines {
		text := string(readFile(t, name))
		all := readAll(t, readFile(t, strings.Replace(name, "ascii_", "binary_", 1)), Format{Bank: SHA1})
		want := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		if text == "" {
			want = nil
		}
		if len(want) < len(all) { // the text was read last: it may have more
			t.Errorf("%s: %d lines, %d records", name, len(want), len(all))
			continue
		}
		for i := range all {
			if got := render(t, &all[i]); got != want[i] {
				t.Errorf("%s: record %d renders as\n%s, the kernel wrote\n%s", name, i, got, want[i])
			}
		}
	}
}

// render writes a record as ima_ascii_measurements_show does.
func render(t *testing.T, r *Record) string {
	f, err := r.Fields()
	if err != nil {
		t.Fatal(err)
	}
	s := fmt.Sprintf("%2d %x %s", r.PCR, r.Digest, r.Template)
	for _, name := range f.Format {
		var v string
		switch name {
		case "d":
			v = hex.EncodeToString(f.Digest.Digest)
		case "d-ng", "d-ngv2":
			v = f.Digest.String()
		case "n", "n-ng":
			v = string(f.Path)
		case "sig":
			v = hex.EncodeToString(f.Sig)
		case "buf":
			v = hex.EncodeToString(f.Buf)
		case "d-modsig":
			v = f.ModHash.String()
		case "modsig":
			v = hex.EncodeToString(f.Modsig)
		case "evmsig":
			v = hex.EncodeToString(f.EVMSig)
		case "iuid":
			v = number(f.UID)
		case "igid":
			v = number(f.GID)
		case "imode":
			v = number(f.Mode)
		case "xattrnames":
			var names []string
			for _, x := range f.Xattrs {
				names = append(names, x.Name)
			}
			v = strings.Join(names, "|")
		case "xattrlengths":
			for _, x := range f.Xattrs {
				v += fmt.Sprintf("%08x", bits.ReverseBytes32(uint32(len(x.Value))))
			}
		case "xattrvalues":
			for _, x := range f.Xattrs {
				v += hex.EncodeToString(x.Value)
			}
		}
		s += " " + v
	}
	return s
}

func number[T uint16 | uint32](n *T) string {
	if n == nil {
		return ""
	}
	return fmt.Sprint(*n)
}
