package ima

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

// listed makes a record of a template from its fields.
func listed(pcr uint32, template string, fields ...string) []byte {
	le := binary.LittleEndian
	var data []byte
	for _, f := range fields {
		data = append(le.AppendUint32(data, uint32(len(f))), f...)
	}
	raw := le.AppendUint32(nil, pcr)
	raw = append(raw, SHA1.appendSum(nil, data)...)
	raw = append(le.AppendUint32(raw, uint32(len(template))), template...)
	return append(le.AppendUint32(raw, uint32(len(data))), data...)
}

func factsOf(t *testing.T, raw []byte) Facts {
	t.Helper()
	rec, err := NewReader(bytes.NewReader(raw), Format{Bank: SHA1}).Next()
	if err != nil {
		t.Fatal(err)
	}
	return rec.Facts()
}

func TestFilter(t *testing.T) {
	digest := strings.Repeat("\xab", 32)
	sig := "\x03\x02\x04\xde\xad\xbe\xef\x00\x03sig"
	f := factsOf(t, listed(11, "ima-sig", "sha256:\x00"+digest, "/usr/bin/bash\x00", sig))
	number := func(n uint32) *uint32 { return &n }
	parsed := func(s string) FileDigest {
		d, err := ParseFileDigest(s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	hex := strings.Repeat("ab", 32)
	for _, c := range []struct {
		what string
		q    Filter
		want bool
	}{
		{"all", Filter{}, true},
		{"digest", Filter{Digest: parsed(hex)}, true},
		{"digest of the algorithm", Filter{Digest: parsed("sha256:" + hex)}, true},
		{"of another algorithm", Filter{Digest: parsed("sha3-256:" + hex)}, false},
		{"of another algorithm by the bank's name", Filter{Digest: parsed("sha3_256:" + hex)}, false},
		{"of verity", Filter{Digest: parsed("verity:sha256:" + hex)}, false},
		{"another digest", Filter{Digest: parsed(strings.Repeat("ac", 32))}, false},
		{"path", Filter{Path: "/usr/bin/bash"}, true},
		{"part of the path", Filter{Path: "/usr/bin"}, false},
		{"glob", Filter{Glob: "/usr/*sh"}, true},
		{"another glob", Filter{Glob: "/usr/*zsh"}, false},
		{"key", Filter{KeyID: number(0xdeadbeef)}, true},
		{"another key", Filter{KeyID: number(1)}, false},
		{"PCR", Filter{PCR: number(11)}, true},
		{"another PCR", Filter{PCR: number(10)}, false},
		{"template", Filter{Template: "ima-sig"}, true},
		{"another template", Filter{Template: "ima-ng"}, false},
		{"two that fit", Filter{Path: "/usr/bin/bash", PCR: number(11)}, true},
		{"one of two", Filter{Path: "/usr/bin/bash", PCR: number(10)}, false},
	} {
		if got := c.q.Match(&f); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
		if c.q.Empty() != (c.what == "all") {
			t.Errorf("%s: Empty is %v", c.what, c.q.Empty())
		}
	}
	modsig := factsOf(t, listed(10, "ima-modsig", "sha256:\x00"+digest, "/lib/m.ko\x00", "", "sha256:\x00"+strings.Repeat("\xcd", 32), "pkcs7"))
	if q := (Filter{Digest: parsed(strings.Repeat("cd", 32))}); !q.Match(&modsig) {
		t.Error("not found by the digest without the appended signature")
	}
}

// No register binds a template's name: a host that gives another one to hide what
// the data says makes a record that counts as opaque.
func TestFactsOpaque(t *testing.T) {
	digest := "sha256:\x00" + strings.Repeat("\xab", 32)
	for template, opaque := range map[string]bool{
		"ima-ng": false, "d-ng|n-ng": false, "ima-sig": true, "ima-hidden": true, "buf|sig": true, "sig|n-ng": true, "d-ng|buf": true, "n-ng|d-ng": true,
	} {
		if f := factsOf(t, listed(10, template, digest, "/usr/bin/bash\x00")); f.Opaque != opaque {
			t.Errorf("%s: opaque is %v, want %v", template, f.Opaque, opaque)
		}
	}
	if f := factsOf(t, listed(10, "ima-ng", "benign:\x00"+digest, "/usr/bin/bash\x00")); !f.Opaque {
		t.Error("an algorithm that no kernel has is not opaque")
	}
}

func TestParseFileDigest(t *testing.T) {
	for _, bad := range []string{"", "xyz", "abcd", "sha256:" + strings.Repeat("ab", 20), "sha999:" + strings.Repeat("ab", 32), "x:sha256:" + strings.Repeat("ab", 32),
		"a:verity:sha256:" + strings.Repeat("ab", 32), strings.Repeat("ab", 65)} {
		if d, err := ParseFileDigest(bad); err == nil {
			t.Errorf("%q: %v", bad, d)
		}
	}
}

func TestMatchGlob(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	letters := func(n int, from string) string {
		b := make([]byte, random.IntN(n))
		for i := range b {
			b[i] = from[random.IntN(len(from))]
		}
		return string(b)
	}
	matched := 0
	for range 50000 {
		pattern, name := letters(8, "ab/*?"), letters(10, "ab/")
		r := regexp.MustCompile("^" + strings.NewReplacer("*", ".*", "?", ".").Replace(pattern) + "$")
		want := r.MatchString(name)
		if got := MatchGlob(pattern, name); got != want {
			t.Fatalf("%q %q: %v, want %v", pattern, name, got, want)
		}
		if want {
			matched++
			if !strings.HasPrefix(name, GlobPrefix(pattern)) {
				t.Fatalf("%q matches %q, which does not begin with %q", pattern, name, GlobPrefix(pattern))
			}
		}
	}
	if matched < 1000 {
		t.Fatalf("only %d matches: the test tests little", matched)
	}
	// A pattern that sends other matchers into the night.
	if MatchGlob(strings.Repeat("*a", 200)+"b", strings.Repeat("a", 20000)) {
		t.Error("no b")
	}
}
