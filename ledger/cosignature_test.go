package ledger

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"crypto/ed25519"
	"crypto/sha256"
)

func TestCosignaturesOfOthersVerify(t *testing.T) {
	l := logSigner("log.example")
	h := headSample{"log.example", 7, sampleHash("root"), ""}
	seed := sha256.Sum256([]byte("w.example"))
	torch, err := torchwood.NewCosignatureSigner("w.example", ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		t.Fatal(err)
	}
	skey, vkey, err := note.GenerateKey(strings.NewReader(string(seed[:])), "f.example")
	if err != nil {
		t.Fatal(err)
	}
	formats, err := fnote.NewSignerForCosignatureV1(skey)
	if err != nil {
		t.Fatal(err)
	}
	if vkey, err = fnote.VKeyToCosignatureV1(vkey); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		signer note.Signer
		vkey   string
	}{
		"torchwood":                {torch, torch.Verifier().String()},
		"transparency-dev/formats": {formats, vkey},
	} {
		sig, err := row.signer.Sign([]byte(h.text()))
		if err != nil {
			t.Fatal(err)
		}
		p := mustPolicy(t, "log %s\nwitness w %s\nquorum w\n", l.vkey, row.vkey)
		c, err := p.Verify(h.note(l.line(h, 0), noteSigner{name: row.signer.Name(), id: row.signer.KeyHash()}.raw(sig)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if age := time.Since(time.Unix(int64(c.Cosignatures[0].Time), 0)); age < -time.Second || age > time.Hour {
			t.Errorf("%s: made at %d, %v ago", name, c.Cosignatures[0].Time, age)
		}
	}
}

func TestMLDSA(t *testing.T) {
	l, w, ed := mldsaKey(t, "log.example"), mldsaKey(t, "w.example"), logSigner("log.example")
	p := mustPolicy(t, "log %s\nwitness w %s\nquorum w\n", l.vkey, w.vkey)
	h := headSample{"log.example", 7, sampleHash("root"), ""}
	c, err := p.Verify(h.note(l.line(h, 5), w.line(h, 1700000000)))
	if err != nil || c.LogKey != l.vkey || c.Cosignatures[0].Time != 1700000000 {
		t.Fatalf("%+v, %v", c, err)
	}
	corrupt := w.sign(h, 1)
	corrupt[100] ^= 1
	extended := h
	extended.more = "extension\n"
	both := mustPolicy(t, "log %s\nlog %s\nwitness w %s\nquorum w\n", l.vkey, ed.vkey, w.vkey)
	for _, row := range []struct {
		name string
		p    *Policy
		note []byte
		want string
	}{
		{"time 0", p, h.note(l.line(h, 0), w.line(h, 0)), "ok"},
		{"corrupt cosignature", p, h.note(l.line(h, 0), w.raw(corrupt)), ErrCosignature.Error()},
		{"cosignature after 2^63-1", p, h.note(l.line(h, 0), w.line(h, 1<<63)), ErrCosignature.Error()},
		{"log's word as a witness's", p, h.note(l.line(h, 0), w.raw(l.sign(h, 0))), ErrCosignature.Error()},
		{"log does not sign", p, h.note(w.line(h, 1)), ErrLogSignature.Error()},
		// Nobody has signed these lines, so anyone could have written them.
		{"extension lines under ML-DSA-44 alone", p, extended.note(l.line(h, 0), w.line(h, 1)), ErrLogSignature.Error()},
		{"extension lines under Ed25519 too", both, extended.note(l.line(extended, 0), ed.line(extended, 0), w.line(extended, 1)), "ok"},
		{"either key of a log", both, h.note(ed.line(h, 0), w.line(h, 1)), "ok"},
		{"one key of a log fails", both, h.note(l.line(h, 0), ed.raw(make([]byte, 64)), w.line(h, 1)), ErrLogSignature.Error()},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, err := row.p.Verify(row.note); errorName(err) != row.want {
				t.Errorf("%v, want %s", err, row.want)
			}
		})
	}
}

// c2sp.org/signed-note: at least 16 signatures, of post-quantum size.
func TestSixteenPostQuantumCosignatures(t *testing.T) {
	l := mldsaKey(t, "log.example")
	h := headSample{"log.example", 7, sampleHash("root"), ""}
	policy, lines, labels := "log "+l.vkey+"\n", []string{l.line(h, 0)}, ""
	for i := range 16 {
		w := mldsaKey(t, fmt.Sprintf("w%d.example", i))
		policy += fmt.Sprintf("witness w%d %s\n", i, w.vkey)
		labels += fmt.Sprintf(" w%d", i)
		lines = append(lines, w.line(h, uint64(1000+i)))
	}
	p := mustPolicy(t, "%sgroup g all%s\nquorum g\n", policy, labels)
	c, err := p.Verify(h.note(lines...))
	if err != nil || len(c.Cosignatures) != 16 {
		t.Fatalf("%+v, %v", c, err)
	}
	if p.QuorumSize() != 16 || p.NotBefore(c) != 1000 || p.NotAfter(c) != 1015 {
		t.Errorf("quorum of %d, not before %d, not after %d", p.QuorumSize(), p.NotBefore(c), p.NotAfter(c))
	}
	var quorum *QuorumError
	if _, err := p.Verify(h.note(lines[:16]...)); !errors.As(err, &quorum) || len(quorum.Have) != 15 {
		t.Errorf("with 15: %v", err)
	}
}

// stamped makes what Verify would return for cosignatures by the policy's
// witnesses, in pairs of the witness's index and the time.
func stamped(p *Policy, stamps ...[2]uint64) *Checkpoint {
	c := &Checkpoint{}
	for _, s := range stamps {
		w := p.witnesses[s[0]]
		c.Cosignatures = append(c.Cosignatures, Cosignature{w.Label, w.Name, w.VKey, s[1], w.key.noteKey})
	}
	return c
}

func TestTimeBounds(t *testing.T) {
	var witnesses string
	for i := range 4 {
		witnesses += fmt.Sprintf("witness w%d %s\n", i, witnessSigner(fmt.Sprint("w", i)).vkey)
	}
	two := "group g 2 w0 w1 w2 w3\nquorum g\n"
	// w0, and one of w1 and w2; w3 is in no group.
	nested := "group g any w1 w2\ngroup h all w0 g\nquorum h\n"
	for _, row := range []struct {
		name          string
		policy        string
		stamps        [][2]uint64
		before, after uint64
	}{
		{"quorum none", "quorum none\n", [][2]uint64{{0, 10}, {1, 20}}, 0, 0},
		{"one witness", "quorum w1\n", [][2]uint64{{0, 10}, {1, 20}, {2, 30}}, 20, 20},
		{"2 of 2", two, [][2]uint64{{0, 10}, {1, 20}}, 10, 20},
		{"2 of 4", two, [][2]uint64{{0, 10}, {1, 20}, {2, 30}, {3, 40}}, 30, 20},
		{"one backdated", two, [][2]uint64{{0, 1}, {1, 20}, {2, 30}}, 20, 20},
		{"one postdated", two, [][2]uint64{{0, 10}, {1, 20}, {2, 1 << 62}}, 20, 20},
		{"at one time", two, [][2]uint64{{0, 10}, {1, 10}, {2, 10}}, 10, 10},
		{"quorum not met", two, [][2]uint64{{0, 10}, {0, 20}}, 0, 0},
		{"one witness twice", two, [][2]uint64{{0, 10}, {0, 40}, {1, 20}, {1, 30}}, 30, 20},
		{"no time", two, [][2]uint64{{0, 0}, {1, 20}, {2, 30}}, 20, 30},
		{"too few times", two, [][2]uint64{{0, 0}, {1, 20}}, 0, 0},
		{"nested", nested, [][2]uint64{{0, 20}, {1, 10}, {2, 30}}, 20, 20},
		{"nested, the one of all last", nested, [][2]uint64{{0, 40}, {1, 10}, {2, 30}}, 30, 40},
		{"nested, the one of all first", nested, [][2]uint64{{0, 5}, {1, 10}, {2, 30}}, 5, 10},
		{"nested, in no group", nested, [][2]uint64{{0, 20}, {1, 20}, {3, 1}, {3, 99}}, 20, 20},
		{"nested, without the one of all", nested, [][2]uint64{{1, 10}, {2, 30}, {3, 40}}, 0, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := mustPolicy(t, "%s%s", witnesses, row.policy)
			c := stamped(p, row.stamps...)
			if before, after := p.NotBefore(c), p.NotAfter(c); before != row.before || after != row.after {
				t.Errorf("not before %d, not after %d; want %d and %d", before, after, row.before, row.after)
			}
		})
	}
	t.Run("checkpoint of another policy", func(t *testing.T) {
		theirs := mustPolicy(t, "witness x %s\nwitness y %s\nquorum x\n", witnessSigner("x").vkey, witnessSigner("w1").vkey)
		ours := mustPolicy(t, "%squorum w1\n", witnesses)
		c := stamped(theirs, [2]uint64{0, 10}, [2]uint64{1, 20})
		if got := ours.NotBefore(c); got != 20 {
			t.Errorf("not before %d, want 20, from the one witness that both have", got)
		}
		// Another key whose name and key ID were made to be those of w1's.
		c = stamped(ours, [2]uint64{1, 20})
		c.Cosignatures[0].VKey = "another"
		if got := ours.NotBefore(c); got != 0 {
			t.Errorf("not before %d, from a key that the policy does not have", got)
		}
	})
}

// randomPolicy makes a tree of groups over n witnesses; some are in no group.
func randomPolicy(t testing.TB, r *rand.Rand, n int) *Policy {
	var b strings.Builder
	var free []string
	for i := range n {
		fmt.Fprintf(&b, "witness w%d %s\n", i, witnessSigner(fmt.Sprint("w", i)).vkey)
		free = append(free, fmt.Sprint("w", i))
	}
	last := free[0]
	for g := range 1 + r.IntN(5) {
		if len(free) == 0 {
			break
		}
		r.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
		m := 1 + r.IntN(len(free))
		last = fmt.Sprint("g", g)
		fmt.Fprintf(&b, "group %s %d %s\n", last, 1+r.IntN(m), strings.Join(free[:m], " "))
		free = append(free[m:], last)
	}
	fmt.Fprintf(&b, "quorum %s\n", last)
	return mustPolicy(t, "%s", b.String())
}

// meets is the quorum by its definition, without any of the code it is held to.
func meets(p *Policy, node int, have map[uint64]bool) bool {
	n := p.nodes[node]
	if len(n.members) == 0 {
		for i, w := range p.witnesses {
			if w.node == node {
				return have[uint64(i)]
			}
		}
	}
	count := 0
	for _, m := range n.members {
		if meets(p, m, have) {
			count++
		}
	}
	return count >= n.k
}

// The bounds are those of their definition, found by trying each time; and who
// owns fewer witnesses than a quorum moves none beyond an honest one's time.
func TestTimeBoundsByBruteForce(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	subset := func(stamps [][2]uint64, keep func(time uint64) bool) map[uint64]bool {
		have := make(map[uint64]bool)
		for _, s := range stamps {
			if keep(s[1]) {
				have[s[0]] = true
			}
		}
		return have
	}
	var met, owned int
	for range 2000 {
		n := 1 + r.IntN(7)
		p := randomPolicy(t, r, n)
		// The attacker owns witnesses, but no quorum of them.
		evil := make(map[uint64]bool)
		for i := range uint64(n) {
			evil[i] = r.IntN(2) == 0
			if evil[i] && meets(p, p.quorum, evil) {
				evil[i] = false
			}
		}
		var stamps, honest [][2]uint64
		low, high := uint64(1<<63), uint64(0)
		for i := range uint64(n) {
			for range r.IntN(3) {
				s := [2]uint64{i, 100 + r.Uint64N(20)}
				if evil[i] {
					s[1] = 1 + r.Uint64N(1000)
				} else {
					low, high = min(low, s[1]), max(high, s[1])
					honest = append(honest, s)
				}
				stamps = append(stamps, s)
			}
		}
		r.Shuffle(len(stamps), func(i, j int) { stamps[i], stamps[j] = stamps[j], stamps[i] })
		var before, after uint64
		for at := uint64(1); at <= 1001; at++ {
			if meets(p, p.quorum, subset(stamps, func(time uint64) bool { return time >= at })) {
				before = at
			}
			if after == 0 && meets(p, p.quorum, subset(stamps, func(time uint64) bool { return time <= at })) {
				after = at
			}
		}
		c := stamped(p, stamps...)
		if p.NotBefore(c) != before || p.NotAfter(c) != after {
			t.Fatalf("seed %d: %s of %v: not before %d, not after %d; want %d and %d", seed, p.describe(), stamps, p.NotBefore(c), p.NotAfter(c), before, after)
		}
		if before == 0 {
			continue
		}
		met++
		if before > high || after < low {
			t.Fatalf("seed %d: %s of %v: %d and %d are beyond the honest %d to %d", seed, p.describe(), stamps, before, after, low, high)
		}
		if alone := stamped(p, honest...); p.NotBefore(alone) > 0 {
			owned++
			if before < p.NotBefore(alone) || after > p.NotAfter(alone) {
				t.Fatalf("seed %d: %s of %v: %d and %d are worse than without the attacker", seed, p.describe(), stamps, before, after)
			}
		}
	}
	if met < 100 || owned < 100 {
		t.Errorf("seed %d: only %d policies were met, %d by honest witnesses alone", seed, met, owned)
	}
}

// QuorumSize against every subset of witnesses.
func TestQuorumSizeByBruteForce(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		n := 1 + r.IntN(7)
		p := randomPolicy(t, r, n)
		fewest := n + 1
		for set := range 1 << n {
			have, size := make(map[uint64]bool), 0
			tally := p.tally()
			for i := range n {
				if set>>i&1 == 1 {
					have[uint64(i)] = true
					tally.add(p.witnesses[i].node)
					tally.add(p.witnesses[i].node)
					size++
				}
			}
			want := meets(p, p.quorum, have)
			if tally.met != want {
				t.Fatalf("seed %d: %s with %v: %v, want %v", seed, p.describe(), have, tally.met, want)
			}
			if want {
				fewest = min(fewest, size)
			}
		}
		if got := p.QuorumSize(); got != fewest {
			t.Fatalf("seed %d: %s: quorum of %d, want %d", seed, p.describe(), got, fewest)
		}
	}
}
