package ledger

import (
	"strings"
	"testing"

	"crypto/sha256"

	"golang.org/x/mod/sumdb/note"
)

func vkey(t testing.TB, name string) string {
	t.Helper()
	seed := sha256.Sum256([]byte(name))
	_, v, err := note.GenerateKey(strings.NewReader(string(seed[:])), name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestRules(t *testing.T) {
	a, b, c := vkey(t, "a"), vkey(t, "b"), vkey(t, "c")
	good := "imaledger/trust/v1\n# who enrols\nregistrar " + a + "\nregistrar " + b + "\nregistrars 2\n\noperator " + c + "\ngrade certificate\ngrade software because this is a test\nallow sha1\n"
	r, err := ParseRules([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Registrars) != 2 || r.Threshold != 2 || len(r.Operators) != 1 || len(r.Grades) != 2 || r.Reason != "this is a test" || !r.AllowSHA1 {
		t.Errorf("read as %+v", r)
	}
	for _, row := range []struct{ name, old, new, want string }{
		{"version", "trust/v1", "trust/v2", "first line"},
		{"threshold 0", "registrars 2", "registrars 0", "registrars"},
		{"threshold over the number", "registrars 2", "registrars 3", "registrars"},
		{"no threshold", "registrars 2\n", "", "registrars"},
		{"threshold 0, and then another", "registrars 2\n", "registrars 0\nregistrars 2\n", "registrars"},
		{"threshold twice", "registrars 2\n", "registrars 2\nregistrars 1\n", "said before"},
		{"one key, two roles", "operator " + c, "operator " + a, "a line already"},
		{"one key, two names", "operator " + c, "operator " + rename(t, a, "d"), "has the key of"},
		{"no key", "registrar " + a, "registrar a+b+c", "verifier key"},
		{"unknown line", "allow sha1", "allow md5", "unknown"},
		{"software without reason", "grade software because this is a test", "grade software", "reason"},
		{"reason for another grade", "grade certificate", "grade certificate because so", "reason"},
		{"grade twice", "grade certificate\n", "grade certificate\ngrade certificate\n", "said before"},
		{"no grade", "grade certificate\ngrade software because this is a test\n", "", "grade"},
		{"carriage return", "allow sha1\n", "allow sha1\r\n", "0x0d"},
		{"no last newline", "allow sha1\n", "allow sha1", "newline"},
	} {
		altered := strings.Replace(good, row.old, row.new, 1)
		if altered == good {
			t.Fatalf("%s: nothing altered", row.name)
		}
		if _, err := ParseRules([]byte(altered)); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

// rename gives a verifier key another name, and the key ID that goes with it.
func rename(t *testing.T, v, name string) string {
	t.Helper()
	parts := strings.SplitN(v, "+", 3)
	seed := sha256.Sum256([]byte(parts[0]))
	_, renamed, err := note.GenerateKey(strings.NewReader(string(seed[:])), name)
	if err != nil {
		t.Fatal(err)
	}
	return renamed
}

func FuzzRules(f *testing.F) {
	f.Add("imaledger/trust/v1\nregistrar " + vkey(f, "a") + "\nregistrars 1\ngrade certificate\n")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRules([]byte(s))
		if err == nil && (r.Threshold < 1 || r.Threshold > len(r.Registrars) || len(r.Grades) == 0) {
			t.Fatalf("rules that anything satisfies: %+v", r)
		}
	})
}
