package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"crypto/ed25519"
	"crypto/rand"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
)

type policyCase struct{ name, policy, want string }

// disputedPolicies are the cases on which policy readers in use disagree, with
// the verdict of c2sp.org/tlog-policy.
func disputedPolicies(t testing.TB) []policyCase {
	l, l2, a, b := logSigner("log.example"), logSigner("log2.example"), witnessSigner("a.example"), witnessSigner("b.example")
	renamed, _ := encodeVKey("other.example", 0x04, publicOf(t, a.vkey))
	plain := ed25519Key("a.example", 0x01)
	mlLog, mlWitness := mldsaKey(t, "log.example"), mldsaKey(t, "a.example")
	start := "log " + l.vkey + "\nwitness a " + a.vkey + "\nwitness b " + b.vkey + "\n"
	return []policyCase{
		{"witness without URL", "witness a " + a.vkey + "\nquorum a\n", ""},
		{"group g 0 a", start + "group g 0 a\nquorum g\n", "line 4: group g: threshold \"0\", want all, any, or 1 to 1"},
		{"group g 2 a a", start + "group g 2 a a\nquorum g\n", "line 4: group g: \"a\" is a member"},
		{"same key under two names", "witness a " + a.vkey + "\nwitness b " + renamed + "\nquorum a\n", "line 2: witness b: key other.example is the same key as a.example"},
		{"two quorum lines", start + "quorum a\nquorum b\n", "line 5: a second quorum line"},
		{"type-0x01 witness key", "witness a " + plain.vkey + "\nquorum a\n", "line 1: witness a"},
		{"ML-DSA witness key", "witness a " + mlWitness.vkey + "\nquorum a\n", ""},
		{"ML-DSA log key", "log " + mlLog.vkey + "\nquorum none\n", ""},
		{"two log lines", "log " + l.vkey + "\nlog " + l2.vkey + "\nquorum none\n", ""},
		{"carriage returns", "log " + l.vkey + "\r\nquorum none\r\n", "line 1: byte 0x0d"},
	}
}

func TestPolicyWhereReadersDisagree(t *testing.T) {
	for _, row := range disputedPolicies(t) {
		t.Run(row.name, func(t *testing.T) { checkPolicy(t, row.policy, row.want) })
	}
	l, l2 := logSigner("log.example"), logSigner("log2.example")
	t.Run("two log lines, any one suffices", func(t *testing.T) {
		p := mustPolicy(t, "log %s\nlog %s\nquorum none\n", l.vkey, l2.vkey)
		for _, key := range []noteSigner{l, l2} {
			h := headSample{key.name, 7, sampleHash("root"), ""}
			if c, err := p.Verify(h.note(key.line(h, 0))); err != nil || c.LogKey != key.vkey {
				t.Errorf("%s: %v", key.name, err)
			}
		}
	})
}

func publicOf(t testing.TB, vkey string) ed25519.PublicKey {
	t.Helper()
	v, err := parseVKey(vkey, keyTypes{typeEd25519: 32, typeCosigner: 32})
	if err != nil {
		t.Fatal(err)
	}
	return ed25519.PublicKey(v.public)
}

// checkPolicy parses a policy that is good where want is empty, and else fails
// with that text.
func checkPolicy(t *testing.T, policy, want string) {
	t.Helper()
	p, err := ParsePolicy([]byte(policy))
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && (err == nil || p != nil):
		t.Errorf("accepted, want %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("error %q, want %q", err, want)
	}
	var format *FormatError
	if err != nil && !errors.As(err, &format) {
		t.Errorf("%T, want a *FormatError", err)
	}
}

func TestParsePolicy(t *testing.T) {
	l, a, b, c := logSigner("log.example"), witnessSigner("a.example"), witnessSigner("b.example"), witnessSigner("c.example")
	sameAsLog, _ := encodeVKey("log.example", 0x04, publicOf(t, l.vkey))
	start := "log " + l.vkey + "\nwitness a " + a.vkey + "\nwitness b " + b.vkey + "\nwitness c " + c.vkey + "\n"
	id, rest, _ := strings.Cut(strings.TrimPrefix(l.vkey, "log.example+"), "+")
	noncanonical := func() string {
		// An ML-DSA-44 key has 1313 bytes with its type, so its base64 has a
		// last digit with bits to spare.
		m := mldsaKey(t, "m.example").vkey
		at := strings.Index(m, "=") - 1
		for _, digit := range "BCDRSTghijxyz" {
			if other := m[:at] + string(digit) + m[at+1:]; other != m {
				return other
			}
		}
		return ""
	}()
	for _, row := range []struct{ name, policy, want string }{
		{"quorum none alone", "quorum none\n", ""},
		{"no log", "witness a " + a.vkey + "\nquorum a\n", ""},
		{"comments, tabs, spaces, empty lines", "# a comment: \xff\n\n \t\n\t # another\nlog\t" + l.vkey + " \t https://log.example \nquorum \t none\t\n", ""},
		{"URLs", "log " + l.vkey + " https://log.example\nwitness a " + a.vkey + " https://a.example\nquorum a\n", ""},
		{"nested groups", start + "group g any a b\ngroup h all g c\nquorum h\n", ""},
		{"a group that the quorum does not use", start + "group g 1 a b\nquorum c\n", ""},
		{"a group after the quorum", start + "quorum c\ngroup g 1 a b\n", ""},
		{"the quorum's group in another", start + "group g any a b\ngroup h all g c\nquorum g\n", ""},
		{"names that are no text", "witness \xe2\x84\xaa " + a.vkey + "\nwitness K " + b.vkey + "\nwitness \xff " + c.vkey + "\ngroup g 3 K \xe2\x84\xaa \xff\nquorum g\n", ""},
		{"names like keywords", "witness quorum " + a.vkey + "\ngroup any any quorum\ngroup 1 1 any\nquorum 1\n", ""},

		{"empty", "", "no quorum line"},
		{"no quorum", start, "line 4: no quorum line"},
		{"no newline at the end", "quorum none", "line 1: the file ends here without a newline"},
		{"no newline after a comment", "quorum none\n# end", "line 2: the file ends"},
		{"NUL", "quorum none\x00\n", "line 1: byte 0x00"},
		{"DEL", "quorum none\x7f\n", "line 1: byte 0x7f"},
		{"vertical tab", "quorum\vnone\n", "line 1: byte 0x0b"},
		{"carriage return in a comment", "# \r\nquorum none\n", "line 1: byte 0x0d"},
		{"unknown keyword", "logs " + l.vkey + "\nquorum none\n", "line 1: unknown keyword"},
		{"keyword in capitals", "Quorum none\n", "line 1: unknown keyword"},
		{"no-break space", "quorum\u00a0none\n", "line 1: unknown keyword"},
		{"comment after a line", "quorum none # none\n", "line 1: want quorum <name>"},

		{"quorum without a name", "quorum\n", "line 1: want quorum <name>"},
		{"quorum with two names", start + "quorum a b\n", "line 5: want quorum <name>"},
		{"quorum of no name", start + "quorum d\n", "line 5: quorum \"d\" is not defined"},
		{"quorum before its witness", "quorum a\nwitness a " + a.vkey + "\n", "line 1: quorum \"a\" is not defined"},
		{"quorum none twice", "quorum none\nquorum none\n", "line 2: a second quorum line"},

		{"log without a key", "log\nquorum none\n", "line 1: want log <vkey> [<url>]"},
		{"log with a name", "log l " + l.vkey + " https://log.example\nquorum none\n", "line 1: want log <vkey>"},
		{"log twice", "log " + l.vkey + "\nlog " + l.vkey + "\nquorum none\n", "line 2: log: key log.example is the same key as log.example"},
		{"log with a witness's key type", "log " + a.vkey + "\nquorum none\n", "type 0x04 is for witnesses"},
		{"log as its own witness", start + "witness d " + sameAsLog + "\nquorum d\n", "line 5: witness d: key log.example is the same key as log.example"},
		{"witness without a key", "witness a\nquorum a\n", "line 1: want witness <name> <vkey> [<url>]"},
		{"witness with two URLs", "witness a " + a.vkey + " u v\nquorum a\n", "line 1: want witness"},
		{"witness twice", start + "witness d " + a.vkey + "\nquorum a\n", "line 5: witness d: key a.example is the same key as a.example"},
		{"witness name twice", "witness a " + a.vkey + "\nwitness a " + b.vkey + "\nquorum a\n", "line 2: the name \"a\" is defined"},
		{"witness named none", "witness none " + a.vkey + "\nquorum none\n", "line 1: none cannot be defined"},

		{"group without members", start + "group g any\nquorum g\n", "line 5: want group <name> all|any|<k> <member>"},
		{"group named none", start + "group none any a\nquorum a\n", "line 5: none cannot be defined"},
		{"group named like a witness", start + "group a any b\nquorum a\n", "line 5: the name \"a\" is defined"},
		{"group twice", start + "group g any a\ngroup g any b\nquorum g\n", "line 6: the name \"g\" is defined"},
		{"group in itself", start + "group g any a g\nquorum g\n", "line 5: group g: \"g\" is not defined"},
		{"group before its member", start + "group g any h\ngroup h any a\nquorum g\n", "line 5: group g: \"h\" is not defined"},
		{"none in a group", start + "group g any a none\nquorum g\n", "line 5: group g: none cannot be a member"},
		{"witness in two groups", start + "group g any a b\ngroup h all a c\nquorum h\n", "line 6: group h: \"a\" is a member of a group already"},
		{"group in two groups", start + "group g any a\ngroup h any g b\ngroup i any g c\nquorum i\n", "line 7: group i: \"g\" is a member of a group already"},
		{"member of a group and of one in it", start + "group g any a\ngroup h 2 g a\nquorum h\n", "line 6: group h: \"a\" is a member of a group already"},
		{"k over n", start + "group g 4 a b c\nquorum g\n", "threshold \"4\", want all, any, or 1 to 3"},
		{"k below 0", start + "group g -1 a\nquorum g\n", "threshold \"-1\""},
		{"k with a leading zero", start + "group g 01 a\nquorum g\n", "threshold \"01\""},
		{"k with a sign", start + "group g +1 a\nquorum g\n", "threshold \"+1\""},
		{"k in words", start + "group g ALL a\nquorum g\n", "threshold \"ALL\""},
		{"k of 2^64+1", start + "group g 18446744073709551617 a\nquorum g\n", "threshold \"1844674407370955"},

		{"key with another key ID", "log log.example+00000000+" + rest + "\nquorum none\n", "its key ID is " + id},
		{"key ID in capitals", "log log.example+" + strings.ToUpper(id) + "+" + rest + "\nquorum none\n", "its key ID is " + id},
		{"key without a name", "log +" + id + "+" + rest + "\nquorum none\n", "want name+id+base64"},
		{"key without a key", "log log.example+" + id + "\nquorum none\n", "want name+id+base64"},
		{"empty key", "log log.example+" + id + "+\nquorum none\n", "want canonical base64"},
		{"key that is no base64", "log log.example+" + id + "+!!\nquorum none\n", "want canonical base64"},
		{"key with free bits set", "log " + noncanonical + "\nquorum none\n", "want canonical base64"},
		{"key of 31 bytes", "log log.example+" + id + "+" + "AQ" + strings.Repeat("A", 40) + "==\nquorum none\n", "no verifier key"},
		{"key of type 0x02", "log log.example+" + id + "+" + "Ag" + rest[2:] + "\nquorum none\n", "unknown type 0x02"},
	} {
		t.Run(row.name, func(t *testing.T) { checkPolicy(t, row.policy, row.want) })
	}
}

func TestPolicyLimits(t *testing.T) {
	var logs, witnesses, groups strings.Builder
	for i := range maxPolicyKeys + 1 {
		fmt.Fprintf(&logs, "log %s\n", logSigner(fmt.Sprint("log", i)).vkey)
		fmt.Fprintf(&witnesses, "witness w%d %s\n", i, witnessSigner(fmt.Sprint("w", i)).vkey)
	}
	// A chain as deep as there may be groups.
	member := "w0"
	for i := range maxPolicyKeys + 1 {
		fmt.Fprintf(&groups, "group g%d all %s\n", i, member)
		member = fmt.Sprint("g", i)
	}
	lines := func(b strings.Builder, n int) string {
		return strings.Join(strings.SplitAfter(b.String(), "\n")[:n], "")
	}
	full := lines(logs, maxPolicyKeys) + lines(witnesses, maxPolicyKeys) + lines(groups, maxPolicyKeys)
	last := fmt.Sprintf("quorum g%d\n", maxPolicyKeys-1)
	padded := func(n int) string { return "quorum none\n#" + strings.Repeat("x", n-len("quorum none\n#\n")) + "\n" }
	for _, row := range []struct{ name, policy, want string }{
		{"as many as may be", full + last, ""},
		{"a log more", logs.String() + last, "more than 256 logs"},
		{"a witness more", witnesses.String() + last, "more than 256 witnesses"},
		{"a group more", lines(witnesses, 1) + groups.String() + last, "more than 256 groups"},
		{"as long as may be", padded(MaxPolicy), ""},
		{"a byte longer", padded(MaxPolicy + 1), "at most 1048576"},
	} {
		t.Run(row.name, func(t *testing.T) { checkPolicy(t, row.policy, row.want) })
	}
	p := mustPolicy(t, "%s", full+last)
	if p.QuorumSize() != 1 || len(p.Logs()) != maxPolicyKeys || len(p.Witnesses()) != maxPolicyKeys {
		t.Errorf("%d logs, %d witnesses, quorum of %d", len(p.Logs()), len(p.Witnesses()), p.QuorumSize())
	}
	if c := stamped(p, [2]uint64{0, 10}); p.NotAfter(c) != 10 {
		t.Error("a witness does not count through a chain of groups")
	}
}

// Two keys that share name and key ID cannot be told apart by their lines.
func TestPolicyKeyIDCollision(t *testing.T) {
	a := witnessSigner("a.example")
	p := &policyParser{Policy: &Policy{keys: map[noteKey]PolicyKey{{a.name, a.id}: {}}}, public: map[string]string{}}
	if _, err := p.key([]string{a.vkey}, witnessTypes); err == nil || !strings.Contains(err.Error(), "key ID of another key") {
		t.Errorf("%v", err)
	}
}

func TestPolicyAccessors(t *testing.T) {
	l, a, b := logSigner("log.example"), witnessSigner("a.example"), witnessSigner("b.example")
	p := mustPolicy(t, "log %s https://log.example\nwitness A %s\nwitness B %s https://b.example\ngroup g all A B\nquorum g\n", l.vkey, a.vkey, b.vkey)
	logs, witnesses := p.Logs(), p.Witnesses()
	if len(logs) != 1 || logs[0].Label != "" || logs[0].Name != "log.example" || logs[0].VKey != l.vkey || logs[0].URL != "https://log.example" {
		t.Errorf("logs %+v", logs)
	}
	if len(witnesses) != 2 || witnesses[0].Label != "A" || witnesses[0].URL != "" || witnesses[1].Label != "B" || witnesses[1].Name != "b.example" ||
		witnesses[1].VKey != b.vkey || witnesses[1].URL != "https://b.example" {
		t.Errorf("witnesses %+v", witnesses)
	}
	if p.QuorumSize() != 2 {
		t.Errorf("quorum of %d, want 2", p.QuorumSize())
	}
	if n := mustPolicy(t, "quorum none\n").QuorumSize(); n != 0 {
		t.Errorf("quorum none of %d", n)
	}
}

func TestParseHash(t *testing.T) {
	h := sampleHash("x")
	good := fmt.Sprintf("%x", h)
	if got, err := ParseHash(good); err != nil || got != h {
		t.Errorf("%x, %v", got, err)
	}
	for _, s := range []string{"", good[1:], good[2:], good + "00", strings.ToUpper(good), "0x" + good[2:], good[:62] + "g0", good + "\n", " " + good[1:]} {
		if _, err := ParseHash(s); err == nil {
			t.Errorf("%q is accepted", s)
		}
	}
	// RFC 6962, section 2.1: the leaf hash of no bytes.
	if got := fmt.Sprintf("%x", LeafHash(nil)); got != "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d" {
		t.Errorf("leaf hash of no bytes is %s", got)
	}
}

// A policy that parses has a quorum that all witnesses meet and none do not.
// Where torchwood refuses a policy of its kinds of keys, so do we.
func FuzzPolicy(f *testing.F) {
	l, a, b, c := logSigner("log.example"), witnessSigner("a.example"), witnessSigner("b.example"), witnessSigner("c.example")
	start := "log " + l.vkey + " https://log.example\nwitness a " + a.vkey + "\nwitness b " + b.vkey + "\nwitness c " + c.vkey + "\n"
	for _, s := range []string{"quorum none\n", "quorum a\n", "group g any a b\ngroup h all g c\nquorum h\n", "# x\n\tgroup g 2 a b c\nquorum g\n"} {
		f.Add([]byte(start + s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePolicy(b)
		if err != nil {
			return
		}
		all := p.tally()
		if p.quorum < 0 {
			return
		}
		if all.met {
			t.Error("nobody meets the quorum")
		}
		for _, w := range p.witnesses {
			all.add(w.node)
		}
		if !all.met || p.QuorumSize() < 1 || p.QuorumSize() > len(p.witnesses) {
			t.Errorf("all meet the quorum: %v; its size is %d", all.met, p.QuorumSize())
		}
		// torchwood cuts comments off anywhere, and reads Ed25519 alone.
		for _, k := range p.keys {
			if k.key.typ == typeMLDSA44 {
				return
			}
		}
		if _, err := torchwood.ParsePolicy(b); err != nil && !bytes.Contains(b, []byte("#")) {
			t.Errorf("torchwood refuses it: %v", err)
		}
	})
}

// TestPolicyOrigin: several keys of one log are one log.
func TestPolicyOrigin(t *testing.T) {
	var keys []string
	for _, name := range []string{"a.example", "a.example", "b.example"} {
		_, vkey, err := note.GenerateKey(rand.Reader, name)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, "log "+vkey+"\n")
	}
	for want, policy := range map[string]string{"a.example": keys[0] + keys[1], "b.example": keys[2], "": keys[0] + keys[2]} {
		p, err := ParsePolicy([]byte(policy + "quorum none\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Origin(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if p, err := ParsePolicy([]byte("quorum none\n")); err != nil || p.Origin() != "" {
		t.Errorf("no log: %v", err)
	}
}
