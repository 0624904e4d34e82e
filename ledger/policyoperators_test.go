package ledger

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// trustOf reads a policy of three of five witnesses, of which one stands outside
// the quorum, with lines added to the rules.
func trustOf(t testing.TB, lines string) (*Trust, noteSigner, []noteSigner, error) {
	t.Helper()
	l := logSigner("log.example")
	policy := "log " + l.vkey + "\n"
	var witnesses []noteSigner
	for i, name := range []string{"a", "b", "c", "d", "outside"} {
		witnesses = append(witnesses, witnessSigner(name+".example"))
		policy += fmt.Sprintf("witness %s %s\n", name, witnesses[i].vkey)
	}
	policy += "group g 2 a b c d\nquorum g\n"
	rules := TrustRulesFormat + "\nregistrar " + vkey(t, "registrar") + "\nregistrars 1\ngrade certificate\n" + lines
	trust, err := ParseTrust([]byte(policy), []byte(rules))
	return trust, l, witnesses, err
}

const fourOperators = "witness a by Ann\nwitness b by Ann\nwitness c by Bob\nwitness d by Carol & sons\nwitness outside by Dora\n"

// A checkpoint counts for each set of witnesses that meets the quorum and has as
// many operators, and for no other; a witness outside the quorum adds none.
func TestIndependent(t *testing.T) {
	operators := []string{"Ann", "Ann", "Bob", "Carol & sons", ""}
	for k := 1; k <= 3; k++ {
		trust, l, witnesses, err := trustOf(t, fourOperators+fmt.Sprintf("independent %d\n", k))
		if err != nil {
			t.Fatal(err)
		}
		h := headSample{"log.example", 7, sampleHash("root"), ""}
		for set := range 1 << len(witnesses) {
			lines := []string{l.line(h, 0)}
			var labels []string
			inside, behind := 0, make(map[string]bool)
			for i, w := range witnesses {
				if set>>i&1 == 0 {
					continue
				}
				lines, labels = append(lines, w.line(h, 1000)), append(labels, trust.Policy.Witnesses()[i].Label)
				if operators[i] != "" {
					inside++
					behind[operators[i]] = true
				}
			}
			want := inside >= 2 && len(behind) >= k
			c, err := trust.Policy.Verify(h.note(lines...))
			if (err == nil) != want || trust.Policy.Meets(labels...) != want {
				t.Errorf("independent %d, %v: %v, want %v", k, labels, err, want)
			}
			var quorum *QuorumError
			if err != nil && (!errors.As(err, &quorum) || !strings.Contains(err.Error(), fmt.Sprintf("run by at least %d operators", k))) {
				t.Errorf("%v", err)
			}
			if err == nil && trust.Policy.NotAfter(c) != 1000 {
				t.Errorf("%v: not after %d", labels, trust.Policy.NotAfter(c))
			}
		}
	}
}

// The bounds of time are a set's that counts: Ann's two witnesses are no quorum.
func TestIndependentTimes(t *testing.T) {
	trust, l, w, err := trustOf(t, fourOperators+"independent 2\n")
	if err != nil {
		t.Fatal(err)
	}
	h := headSample{"log.example", 7, sampleHash("root"), ""}
	c, err := trust.Policy.Verify(h.note(l.line(h, 0), w[0].line(h, 9000), w[1].line(h, 8000), w[2].line(h, 5000), w[4].line(h, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if before, after := trust.Policy.NotBefore(c), trust.Policy.NotAfter(c); before != 5000 || after != 8000 {
		t.Errorf("not before %d, not after %d, want 5000 and 8000", before, after)
	}
}

// Each set of operators against each, for policies and operators at random.
func TestSmallestConspiracyByBruteForce(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		n := 1 + random.IntN(7)
		text, rules := "log "+logSigner("log.example").vkey+"\n", Rules{WitnessedBy: make(map[string]string)}
		var names []string
		for i := range n {
			name := fmt.Sprint("w", i)
			names = append(names, name)
			text += fmt.Sprintf("witness %s %s\n", name, witnessSigner(name).vkey)
			rules.WitnessedBy[name] = fmt.Sprint("op", random.IntN(4))
		}
		text += fmt.Sprintf("group g %d %s\nquorum g\n", 1+random.IntN(n), strings.Join(names, " "))
		trust := &Trust{Policy: mustPolicy(t, "%s", text), Rules: rules}
		got, ok := trust.SmallestConspiracy()
		if !ok {
			t.Fatal("not tried")
		}
		fewest := math.MaxInt
		for set := range 1 << 4 {
			var labels []string
			size := 0
			for i := range 4 {
				if set>>i&1 == 1 {
					size++
					for _, name := range names {
						if rules.WitnessedBy[name] == fmt.Sprint("op", i) {
							labels = append(labels, name)
						}
					}
				}
			}
			if trust.Policy.Meets(labels...) {
				fewest = min(fewest, size)
			}
		}
		var labels []string
		for _, name := range names {
			if slices.Contains(got, rules.WitnessedBy[name]) {
				labels = append(labels, name)
			}
		}
		if len(got) != fewest || !trust.Policy.Meets(labels...) {
			t.Fatalf("%v of %v, want %d:\n%s", got, rules.WitnessedBy, fewest, text)
		}
	}
}

func TestOperatorRules(t *testing.T) {
	for _, row := range []struct{ name, lines, want string }{
		{"who runs them, and no demand", fourOperators, ""},
		{"two operators", fourOperators + "independent 2\n", ""},
		{"an age", "max-age 86400\n", ""},
		{"0 operators", fourOperators + "independent 0\n", "1 or more"},
		{"more than there are", fourOperators + "independent 4\n", "no checkpoint could count"},
		{"more than a number", fourOperators + "independent 99999999999999999999\n", "independent"},
		{"twice", fourOperators + "independent 2\nindependent 1\n", "said before"},
		{"one that nobody runs", strings.Replace(fourOperators, "witness c by Bob\n", "", 1) + "independent 2\n", "nobody is named who runs the witness c"},
		{"one outside that nobody runs", strings.Replace(fourOperators, "witness outside by Dora\n", "", 1) + "independent 2\n", ""},
		{"one that the policy does not have", fourOperators + "witness e by Eve\n", "the policy has none of that name"},
		{"one run by two", fourOperators + "witness a by Eve\n", "said before"},
		{"no operator", "witness a by \n", "want its name in the policy, by, and who runs it"},
		{"no name", "witness  by Ann\n", "want its name"},
		{"no by", "witness a Ann\n", "want its name"},
		{"two names", "witness a b by Ann\n", "want its name"},
		{"age 0", "max-age 0\n", "want seconds"},
		{"age with a unit", "max-age 24h\n", "max-age"},
		{"age twice", "max-age 10\nmax-age 10\n", "said before"},
		{"age of a million years", "max-age 31536000000000\n", "want seconds, 1 to"},
	} {
		if _, _, _, err := trustOf(t, row.lines); (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
	none := "log " + logSigner("log.example").vkey + "\nwitness a " + witnessSigner("a").vkey + "\nquorum none\n"
	rules := TrustRulesFormat + "\nregistrar " + vkey(t, "registrar") + "\nregistrars 1\ngrade certificate\nwitness a by Ann\n"
	for _, demand := range []string{"independent 1\n", "max-age 10\n"} {
		if _, err := ParseTrust([]byte(none), []byte(rules+demand)); err == nil || !strings.Contains(err.Error(), "demands no witness") {
			t.Errorf("%s: %v", demand, err)
		}
	}
}

func TestFresh(t *testing.T) {
	const now = 1_800_000_000
	rules := Rules{MaxAge: 3600}
	for _, row := range []struct {
		name    string
		vouched uint64
		fresh   bool
	}{
		{"now", now, true}, {"a second inside", now - 3599, true}, {"at the bound", now - 3600, true}, {"a second over", now - 3601, false},
		{"no time", 0, false}, {"clocks a little apart", now + 300, true}, {"too far ahead", now + 301, false}, {"the largest time", math.MaxInt64, false},
	} {
		err := rules.Fresh(row.vouched, now)
		var stale *FreshnessError
		if (err == nil) != row.fresh || err != nil && !errors.As(err, &stale) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	if err := new(Rules).Fresh(0, now); err != nil {
		t.Errorf("no age is demanded: %v", err)
	}
}
