package appraise

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/tpm/ima"
)

func parseList(t testing.TB, text string) *DigestList {
	t.Helper()
	l, err := ParseDigestList([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

// TestOrder: what is not bound is never passed on its word, and what no policy knows
// fails.
func TestOrder(t *testing.T) {
	all := parseList(t, zeros)
	a := &Appraiser{Policies: []Policy{all}}
	for _, c := range []struct {
		what    string
		m       measured
		verdict Verdict
		rule    string
	}{
		{"listed", measured{path: "/a"}, Passed, RuleDigest},
		{"of PCR 17", measured{path: "/a", pcr: 17}, Undecided, RuleUnattested},
		{"a violation of PCR 17", measured{path: "/a", pcr: 17, violation: true}, Undecided, RuleUnattested},
		{"a violation", measured{path: "/a", violation: true}, Failed, RuleViolation},
		{"of an unknown template", measured{template: "strange", path: "/a"}, Failed, RuleUnreadable},
		{"cut short", measured{template: "ima-sigv2", path: "/a"}, Failed, RuleUnreadable},
		{"not listed", measured{path: "/a", digest: bytes.Repeat([]byte{1}, 32)}, Failed, RuleUnlisted},
		{"a boot_aggregate that none can check", measured{path: "boot_aggregate", digest: bytes.Repeat([]byte{1}, 32)}, Undecided, RuleBootAggregate},
	} {
		wantJudgement(t, c.what, a.Judge(c.m.record(t)), c.verdict, c.rule)
	}
	wantJudgement(t, "nothing", (&Appraiser{}).Judge(measured{path: "/a"}.record(t)), Failed, RuleNone)
	a.PassViolations = true
	wantJudgement(t, "a violation that is passed", a.Judge(measured{violation: true}.record(t)), Passed, RuleViolation)
}

// TestBootAggregate: one that is of the quoted registers passes, another does not, and
// a list decides before that.
func TestBootAggregate(t *testing.T) {
	h := sha256.New()
	for range 10 {
		h.Write(make([]byte, 32))
	}
	a := &Appraiser{Policies: []Policy{parseList(t, zeros)}, Quoted: func(s ima.Slot) []byte { return make([]byte, s.Bank.Size()) }}
	wantJudgement(t, "right", a.Judge(measured{path: "boot_aggregate", digest: h.Sum(nil)}.record(t)), Passed, RuleBootAggregate)
	wantJudgement(t, "wrong", a.Judge(measured{path: "boot_aggregate", digest: bytes.Repeat([]byte{1}, 32)}.record(t)), Failed, RuleUnlisted)
	wantJudgement(t, "listed", a.Judge(measured{path: "boot_aggregate"}.record(t)), Passed, RuleDigest)
	wantJudgement(t, "a buffer of that name", a.Judge(measured{path: "boot_aggregate", digest: h.Sum(nil), buf: []byte("x")}.record(t)), Failed, RuleUnlisted)
}

// TestSecondPolicy: a record passes by the first policy that passes it.
func TestSecondPolicy(t *testing.T) {
	a := &Appraiser{Policies: []Policy{&Keyring{}, parseList(t, zeros)}}
	wantJudgement(t, "unsigned and listed", a.Judge(measured{path: "/a"}.record(t)), Passed, RuleDigest)
	wantJudgement(t, "neither", a.Judge(measured{path: "/a", digest: bytes.Repeat([]byte{1}, 32)}.record(t)), Failed, RuleUnlisted)
}

func TestSummary(t *testing.T) {
	var s Summary
	if s.Verdict() != Undecided {
		t.Error("no records pass")
	}
	s.Add(Judgement{Verdict: Passed, Rule: "a", Weak: true})
	s.Add(Judgement{Verdict: Passed, Rule: "a"})
	if s.Verdict() != Passed || s.Weak != 1 || len(s.Rules) != 1 || s.Rules[0].Records != 2 {
		t.Errorf("%+v", s)
	}
	s.Add(Judgement{Verdict: Undecided, Rule: "b"})
	if s.Verdict() != Undecided {
		t.Errorf("%+v", s)
	}
	s.Add(Judgement{Verdict: Failed, Rule: "a"})
	if s.Verdict() != Failed || len(s.Rules) != 3 || s.Records != 4 {
		t.Errorf("%+v", s)
	}
}

// TestDigestTools: what the tools of every host write is read: coreutils in three
// forms and five algorithms, also of a name that they escape.
func TestDigestTools(t *testing.T) {
	dir := t.TempDir()
	content := []byte("what runs")
	plain, odd := filepath.Join(dir, "a b"), filepath.Join(dir, "a\\b\nc")
	for _, name := range []string{plain, odd} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for tool, size := range map[string]int{"md5sum": 16, "sha1sum": 20, "sha224sum": 28, "sha256sum": 32, "sha384sum": 48, "sha512sum": 64} {
		for _, flag := range []string{"--text", "--binary", "--tag"} {
			out, err := exec.Command(tool, flag, plain, odd).Output()
			if err != nil {
				t.Fatal(err)
			}
			l := parseList(t, string(out))
			algorithm := strings.TrimSuffix(tool, "sum")
			var digest []byte
			for key := range l.digests {
				name, digits, _ := strings.Cut(key, ":")
				if digest, err = hex.DecodeString(digits); err != nil || name != algorithm || len(digest) != size {
					t.Fatalf("%s %s: %s", tool, flag, key)
				}
			}
			wantJudgement(t, tool+" "+flag, judge(t, l, measured{path: "/elsewhere", algorithm: algorithm, digest: digest}), Passed, RuleDigest)
			for _, path := range []string{strings.ReplaceAll(plain, " ", "_"), odd} {
				digest[0] ^= 1
				wantJudgement(t, tool+" "+flag+" of another "+path, judge(t, l, measured{path: path, algorithm: algorithm, digest: digest}), Failed, RuleAltered)
				digest[0] ^= 1
			}
			if weak := judge(t, l, measured{algorithm: algorithm, digest: digest}).Weak; weak != (size <= 20) {
				t.Errorf("%s: weak is %v", tool, weak)
			}
		}
	}
}

// TestDigestForms: other forms, and which digests are not of the same thing.
func TestDigestForms(t *testing.T) {
	l := parseList(t, "# a comment\n\nsha3-256:"+zeros+"\r\n"+strings.Repeat("00", 20)+"\nverity:sha256:"+zeros+"\n"+"SHA512 (/x) = "+zeros+zeros+"\n68b329da9893e34099c7d8ad5cb9c940  usr/share/doc/a\n")
	for _, c := range []struct {
		m       measured
		verdict Verdict
		rule    string
	}{
		{measured{algorithm: "sha3-256"}, Passed, RuleDigest},
		{measured{algorithm: "sha1", digest: make([]byte, 20)}, Passed, RuleDigest},
		{measured{algorithm: "sha512", digest: make([]byte, 64)}, Passed, RuleDigest},
		{measured{template: "ima-ngv2", algorithm: "verity:sha256"}, Passed, RuleDigest},
		// Thirty-two zeros by another algorithm are another digest.
		{measured{algorithm: "sha256"}, Failed, RuleUnlisted},
		{measured{template: "ima-ngv2", algorithm: "ima:sha256"}, Failed, RuleUnlisted},
		{measured{template: "ima-ngv2", algorithm: "ima:sha3-256"}, Passed, RuleDigest},
		{measured{algorithm: "sm3"}, Failed, RuleUnlisted},
		{measured{algorithm: "sha3-512", digest: make([]byte, 64)}, Failed, RuleUnlisted},
		{measured{path: "/usr/share/doc/a", algorithm: "md5", digest: make([]byte, 16)}, Failed, RuleAltered},
	} {
		wantJudgement(t, c.m.algorithm+" "+c.m.path, judge(t, l, c.m), c.verdict, c.rule)
	}
	for text, want := range map[string]string{
		"":                                 "no digest in it",
		"# nothing":                        "no digest in it",
		"nonsense":                         "line 1: \"nonsense\": want a digest in hex first",
		zeros + "\n" + zeros[1:]:           "line 2: ",
		"00":                               "is of no algorithm",
		"md9:00":                           "unknown algorithm \"md9\"",
		"sha1:" + zeros:                    "of another than sha1",
		"SHA256 ) = x ( y":                 "line 1",
		"a ) = b (c":                       "line 1",
		strings.Repeat("0", maxLine+1):     "at most 16384",
		"verity:" + strings.Repeat("1", 3): "want a digest in hex first",
	} {
		if _, err := ParseDigestList([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
}

func FuzzParseDigestList(f *testing.F) {
	f.Add([]byte(zeros + "  /a\n"))
	f.Add([]byte("\\" + zeros + " */a\\nb\nSHA1 (x) = 00\nverity:sha256:" + zeros))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := ParseDigestList(b)
		if err != nil {
			return
		}
		for key := range l.digests {
			if n, err := normalDigest(key); err != nil || n != key {
				t.Fatalf("%q is not in its one form: %q, %v", key, n, err)
			}
		}
	})
}
