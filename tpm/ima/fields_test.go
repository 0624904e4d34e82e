package ima

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

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
		{"n without NUL in a custom format", record("d-ng|n", 0, 0, 0, 0, 1, 0, 0, 0, 'x'), "one NUL"},
		{"data of no bytes", record("ima-ng"), "no length"},
		{"more lengths than xattrs", record("xattrnames|xattrlengths", 2, 0, 0, 0, 'a', 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), "left over"},
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
	for name, want := range map[string]string{"/bin/a b": "/bin/a b", "/a\nb": `"/a\nb"`, "\xff": `"\xff"`, "/\u202ex": `"/\u202ex"`, "": `""`} {
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

// TestVectorFields takes the rarer fields apart.
func TestVectorFields(t *testing.T) {
	fields := func(list []byte, order Order) *Fields {
		t.Helper()
		f, err := readAll(t, list, Format{Bank: SHA1, Order: order})[0].Fields()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	if f := fields(vector(t, "D"), DetectOrder); f.Digest.Type != "verity" || f.Digest.Algorithm != "sha256" || string(f.Path) != "/a_b" || !f.Bound {
		t.Errorf("ima-ngv2: %+v", f)
	}
	if f := fields(vector(t, "modsig"), DetectOrder); string(f.Path) != "/m.ko" || len(f.Sig)+len(f.Modsig) > 0 || f.ModHash.String() != "" {
		t.Errorf("ima-modsig with empty fields: %+v", f)
	}
	if f := fields(vector(t, "be"), DetectOrder); string(f.Path) != "/sbin/init" {
		t.Errorf("big-endian: %+v", f)
	}
	f := fields(vector(t, "evm"), DetectOrder)
	if f.UID == nil || *f.UID != 1000 && *f.UID != 0 || f.GID == nil || f.Mode == nil || *f.Mode != 0o100755 || len(f.EVMSig) != 2 {
		t.Errorf("evm-sig: %+v", f)
	}
	if len(f.Xattrs) != 1 || f.Xattrs[0].Name != "security.ima" || len(f.Xattrs[0].Value) != 33 {
		t.Errorf("xattrs: %+v", f.Xattrs)
	}
	if f := fields(made("d|n", sized(make([]byte, 16)), sized([]byte("/x\x00"))), DetectOrder); f.Digest.Algorithm != "md5" || string(f.Path) != "/x" {
		t.Errorf("custom d|n: %+v", f)
	}
	if f := fields(made("xattrnames|xattrlengths|xattrvalues", sized([]byte{0}), sized(nil), sized(nil)), DetectOrder); f.Xattrs != nil {
		t.Errorf("a file without extended attributes: %+v", f.Xattrs)
	}
}

// TestPathBytes: a file's name has any bytes but NUL, and they are kept.
func TestPathBytes(t *testing.T) {
	for path, printed := range map[string]string{"/a_b": "/a_b", "/a\nb": `"/a\nb"`, "/\xff\xfe": `"/\xff\xfe"`, "/\x1b[2J": `"/\x1b[2J"`} {
		f, err := readAll(t, made("n-ng", sized([]byte(path+"\x00"))), Format{Bank: SHA1})[0].Fields()
		if err != nil || string(f.Path) != path || Printable(f.Path) != printed {
			t.Errorf("%q: %v, printed as %s, want %s", path, err, Printable(f.Path), printed)
		}
	}
}

func TestSignature(t *testing.T) {
	good := []byte{3, 2, 4, 0xde, 0xad, 0xbe, 0xef, 0, 3, 7, 8, 9}
	s, err := ParseSignature(good)
	if err != nil || s.KeyID != 0xdeadbeef || s.Algorithm() != "sha256" || len(s.Sig) != 3 {
		t.Errorf("%+v, %v", s, err)
	}
	for n := range good {
		if _, err := ParseSignature(good[:n]); err == nil {
			t.Errorf("cut at byte %d: accepted", n)
		}
	}
	for name, bad := range map[string][]byte{
		"trailing byte": append(bytes.Clone(good), 0),
		"type 1":        append([]byte{1}, good[1:]...),
		"version 1":     append([]byte{3, 1}, good[2:]...),
	} {
		if _, err := ParseSignature(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
