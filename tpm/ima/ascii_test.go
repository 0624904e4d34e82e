package ima

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestASCIIRecordings: the lines are the kernel's own, byte for byte, on every list
// that was recorded with its ascii sibling: all built-in templates, a custom format,
// violations, records of PCR 11.
func TestASCIIRecordings(t *testing.T) {
	var dirs []string
	for _, pattern := range []string{"*/*/ascii_runtime_measurements*", "*/*/*/ascii_runtime_measurements*"} {
		names, err := filepath.Glob(recordings + pattern)
		if err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, names...)
	}
	lines, grown := 0, 0
	for _, name := range dirs {
		name = strings.TrimSuffix(name, ".gz")
		want := readFile(t, name)
		binary := strings.Replace(name, "/ascii_", "/binary_", 1)
		var got []byte
		for _, rec := range readAll(t, readFile(t, binary), Format{Bank: SHA1}) {
			var err error
			if got, err = rec.AppendASCII(got, SHA1, StyleDigest); err != nil {
				t.Fatalf("%s: %v", binary, err)
			}
			lines++
		}
		// In two cuts the ascii list was read after one more record.
		if !bytes.HasPrefix(want, got) || bytes.Count(want[len(got):], []byte("\n")) > 1 {
			at := 0
			for at < min(len(got), len(want)) && got[at] == want[at] {
				at++
			}
			t.Errorf("%s: differs at byte %d:\n got %.200q\nwant %.200q", name, at, got[max(0, at-80):], want[max(0, at-80):])
		}
		if len(got) < len(want) {
			grown++
		}
	}
	if grown > 2 || len(dirs) < 10 || lines < 500 {
		t.Errorf("%d lists with %d lines, of which %d grew", len(dirs), lines, grown)
	}
}

// TestListOfBank: a list in SHA-256 that is made of the SHA-1 one is the kernel's, byte
// for byte, and back.
func TestListOfBank(t *testing.T) {
	names, err := filepath.Glob(recordings + "*/*/binary_runtime_measurements_sha256*")
	if err != nil || len(names) < 4 {
		t.Fatalf("%d lists, %v", len(names), err)
	}
	for _, name := range names {
		name = strings.TrimSuffix(name, ".gz")
		other := strings.Replace(name, "_sha256", "", 1)
		if _, err := os.Stat(other); errors.Is(err, os.ErrNotExist) {
			if _, err := os.Stat(other + ".gz"); err != nil {
				t.Errorf("%s has no SHA-1 sibling", name)
				continue
			}
		}
		lists := map[Bank][]byte{SHA1: readFile(t, other), SHA256: readFile(t, name)}
		for from, to := range map[Bank]Bank{SHA1: SHA256, SHA256: SHA1} {
			var got []byte
			for _, rec := range readAll(t, lists[from], Format{Bank: from}) {
				got = rec.AppendIn(got, to, StyleDigest)
			}
			if !bytes.Equal(got, lists[to]) {
				t.Errorf("%s: %s made of %s is not the kernel's", name, to, from)
			}
		}
	}
}

// TestASCIIHostile: what the kernel does not escape is not escaped, and what it has no
// line for has none here.
func TestASCIIHostile(t *testing.T) {
	name := []byte("/tmp/a\nb\x1b[31m\xff\"=1+1")
	rec := readAll(t, ngRecord(t, "ima-ng", name), Format{Bank: SHA1})[0]
	line, err := rec.AppendASCII(nil, SHA1, StyleDigest)
	if err != nil || !bytes.HasSuffix(line, append(append([]byte("00 "), name...), '\n')) {
		t.Errorf("%q, %v", line, err)
	}
	for _, template := range []string{"unknown", "d-ng|n-ng|sig"} {
		rec := readAll(t, ngRecord(t, template, name), Format{Bank: SHA1})[0]
		var bad *FieldError
		if line, err := rec.AppendASCII(nil, SHA1, StyleDigest); !errors.As(err, &bad) {
			t.Errorf("%s: %q, %v", template, line, err)
		}
	}
}

// ngRecord makes a record with a d-ng of zeros and a name.
func ngRecord(t *testing.T, template string, name []byte) []byte {
	t.Helper()
	le := func(n int) []byte { return []byte{byte(n), byte(n >> 8), byte(n >> 16), 0} }
	digest := append([]byte("sha256:\x00"), make([]byte, 32)...)
	data := bytes.Join([][]byte{le(len(digest)), digest, le(len(name) + 1), name, {0}}, nil)
	sum := SHA1.New()
	sum.Write(data)
	return bytes.Join([][]byte{le(10), sum.Sum(nil), le(len(template)), []byte(template), le(len(data)), data}, nil)
}
