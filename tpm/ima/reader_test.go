package ima

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

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
		{"SHA-1 list read as SHA-256", slices.Concat(a, a), SHA256, "other digests than sha256"},
		{"SHA-256 list read as SHA-1", vector(t, "sha256file"), SHA1, "at most"},
		{"big-endian record after a little-endian one", slices.Concat(a, vector(t, "be")), SHA1, "byte order"},
		{"little-endian record after a big-endian one", slices.Concat(vector(t, "be"), a), SHA1, "byte order"},
		{"text", []byte("10 0123 ima-ng sha256:00 /bin/sh\n"), SHA1, "binary measurement list"},
		{"garbage after the last record", append(bytes.Clone(a), 0xff, 0xff, 0xff, 0xff), SHA1, "PCR number"},
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

// TestLegacyForms: what only the legacy template has, and what is refused of it.
func TestLegacyForms(t *testing.T) {
	record := func(data ...[]byte) []byte {
		return slices.Concat([]byte{10, 0, 0, 0}, bytes.Repeat([]byte{1}, 20), []byte{3, 0, 0, 0}, []byte("ima"), slices.Concat(data...))
	}
	sha := bytes.Repeat([]byte{2}, legacyDigest)
	for _, row := range []struct {
		name string
		list []byte
		want string // empty: accepted
	}{
		{"name of 255 bytes", record(sha, []byte{255, 0, 0, 0}, bytes.Repeat([]byte("n"), 255)), ""},
		{"name of no bytes", record(sha, []byte{0, 0, 0, 0}), ""},
		{"name of 256 bytes", record(sha, []byte{0, 1, 0, 0}, make([]byte, 256)), "file name of 256 bytes"},
		{"MD5 digest", record(sha[:legacyMD5], []byte{8, 0, 0, 0}, []byte("/bin/cat")), "MD5"},
		{"name with a zero byte, hashed as without", record(sha, []byte{2, 0, 0, 0}, []byte("x\x00")), "zero byte"},
	} {
		_, err := NewReader(bytes.NewReader(row.list), Format{Bank: SHA1}).Next()
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
	// Buffers are measured in ima-buf also where the template is ima.
	all := readAll(t, vector(t, "legacy", "C", "legacyV", "legacy"), Format{Bank: SHA1})
	if len(all) != 4 || string(all[1].Template) != "ima-buf" || !all[2].Violation() {
		t.Errorf("mixed: %d records", len(all))
	}
	if f, err := all[0].Fields(); err != nil || string(f.Path) != "/bin/ls" || f.Digest.Algorithm != "sha1" {
		t.Errorf("legacy: %+v, %v", f, err)
	}
}

func TestEmptyList(t *testing.T) {
	for range 2 {
		if _, err := NewReader(bytes.NewReader(nil), Format{Bank: SHA1}).Next(); err != io.EOF {
			t.Errorf("a list of 0 bytes: %v, want io.EOF", err)
		}
	}
}

// sized is a field, a template's data or a name with its length before it.
func sized(b []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...)
}

// made is a SHA-1 list's record of PCR 10 with the given data.
func made(template string, fields ...[]byte) []byte {
	data := slices.Concat(fields...)
	digest := sha1.Sum(data)
	return slices.Concat([]byte{10, 0, 0, 0}, digest[:], sized([]byte(template)), sized(data))
}

// TestLongFields: what is longer than other parsers expect, up to the limit.
func TestLongFields(t *testing.T) {
	digest := sized([]byte("sha256:\x00" + strings.Repeat("d", 32)))
	long := func(n int) []byte { return bytes.Repeat([]byte("x"), n) }
	path := sized(append(long(4096), 0))
	for _, row := range []struct {
		name   string
		record []byte
		good   bool
	}{
		{"n-ng of 4097 bytes", made("ima-ng", digest, path), true},
		{"sig of 4627 bytes", made("ima-sig", digest, path, sized(long(4627))), true},
		{"buf of 1 MiB", made("ima-buf", digest, path, sized(long(1<<20))), true},
		{"buf of none", made("ima-buf", digest, path, sized(nil)), true},
		{"three empty fields", made("ima-modsig", digest, path, sized(nil), sized(nil), sized(nil)), true},
		{"data of 16 MiB", made("opaque", long(MaxData)), true},
		{"data of 16 MiB and one byte", made("opaque", long(MaxData+1)), false},
		{"no data", made("opaque"), true},
	} {
		rec, err := NewReader(bytes.NewReader(row.record), Format{Bank: SHA1}).Next()
		if (err == nil) != row.good {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if !row.good {
			continue
		}
		p, _ := NewReplayer([]Bank{SHA1, SHA256}, nil, nil)
		if err := p.Extend(rec); err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
		if f, err := rec.Fields(); err != nil || string(rec.Template) != "opaque" && len(f.Path) != 4096 {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

// TestShortReads: securityfs gives a page at a time, and a pipe what it has.
func TestShortReads(t *testing.T) {
	list := readFile(t, recordings+"templates-7.3/cut1/binary_runtime_measurements")
	want := readAll(t, list, Format{Bank: SHA1})
	r := NewReader(iotest.OneByteReader(bytes.NewReader(list)), Format{Bank: SHA1})
	for i := range want {
		rec, err := r.Next()
		if err != nil || !bytes.Equal(rec.Raw, want[i].Raw) || rec.Offset != want[i].Offset || rec.Index != uint64(i) {
			t.Fatalf("record %d: %v", i, err)
		}
	}
	broken := errors.New("broken")
	r = NewReader(io.MultiReader(bytes.NewReader(list[:100]), iotest.ErrReader(broken)), Format{Bank: SHA1})
	var err error
	for err == nil {
		_, err = r.Next()
	}
	var syntax *SyntaxError
	if !errors.Is(err, broken) || errors.As(err, &syntax) {
		t.Errorf("a read error: %v, want it and no *SyntaxError", err)
	}
}

func TestBankOfFile(t *testing.T) {
	for name, want := range map[string]Bank{
		"binary_runtime_measurements": SHA1, "binary_runtime_measurements_staged": SHA1, "binary_runtime_measurements_sha1": SHA1,
		"binary_runtime_measurements_sha256": SHA256, "/a/binary_runtime_measurements_sha256_staged": SHA256, "x_sha512": SHA512,
		"binary_runtime_measurements_sm3": SM3_256, "binary_runtime_measurements_tpm_alg_27": SHA3_256, "list": SHA1,
	} {
		if got := BankOfFile(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// TestListOfEachBank: a file has no word on which bank it is of. Read as its own,
// each bank's list gives the same records; as another's it is refused, or no stored
// digest fits.
func TestListOfEachBank(t *testing.T) {
	banks := []Bank{SHA1, SHA256, SHA384, SHA512}
	for _, is := range banks {
		var list []byte
		want := readAll(t, vector(t, "A", "V", "C", "D"), Format{Bank: SHA1})
		for _, rec := range want {
			digest := make([]byte, is.Size())
			if !rec.Violation() {
				digest = rec.Sum(is, StyleDigest)
			}
			list = slices.Concat(list, rec.Raw[:4], digest, rec.Raw[4+20:])
		}
		for _, as := range banks {
			p, err := NewReplayer([]Bank{SHA256}, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			r := NewReader(bytes.NewReader(list), Format{Bank: as})
			for err == nil {
				var rec *Record
				if rec, err = r.Next(); err != nil {
					break
				}
				if err = p.Extend(rec); err == nil && !bytes.Equal(rec.Data, want[n].Data) {
					t.Errorf("list of %s: record %d has other data", is, n)
				}
				n++
			}
			if is == as && (err != io.EOF || n != len(want)) || is != as && (err == io.EOF || n > 1) {
				t.Errorf("list of %s read as of %s: %d records, %v", is, as, n, err)
			}
		}
	}
}
