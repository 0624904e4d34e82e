package ledger

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"strings"
	"testing"
)

// What the smallest sets are, by trying all: every choice of who cheats, and every
// way in which the honest rest can be led to one of two histories.
func TestSmallestCheats(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var signers []string
	for i := range 7 {
		signers = append(signers, witnessSigner(fmt.Sprintf("w%d.example", i)).vkey)
	}
	for range 300 {
		n := 1 + random.IntN(len(signers))
		var b strings.Builder
		var free []string
		for i := range n {
			fmt.Fprintf(&b, "witness w%d %s\n", i, signers[i])
			free = append(free, fmt.Sprintf("w%d", i))
		}
		for g := 0; len(free) > 1 || g == 0; g++ {
			random.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
			take := 1 + random.IntN(len(free))
			fmt.Fprintf(&b, "group g%d %d %s\n", g, 1+random.IntN(take), strings.Join(free[:take], " "))
			free = append(free[take:], fmt.Sprintf("g%d", g))
			if random.IntN(4) == 0 {
				break
			}
		}
		fmt.Fprintf(&b, "quorum %s\n", free[len(free)-1])
		p := mustPolicy(t, "%s", b.String())
		meets := func(set uint) bool {
			tally := p.tally()
			for i, w := range p.witnesses {
				if set>>i&1 == 1 {
					tally.add(w.node)
				}
			}
			return tally.met
		}
		quorum, split := n+1, n+1
		for cheats := uint(0); cheats < 1<<n; cheats++ {
			if meets(cheats) {
				quorum = min(quorum, bits.OnesCount(cheats))
			}
			honest := (uint(1)<<n - 1) &^ cheats
			for one := honest; ; one = (one - 1) & honest {
				if meets(cheats|one) && meets(cheats|honest&^one) {
					split = min(split, bits.OnesCount(cheats))
					break
				}
				if one == 0 {
					break
				}
			}
		}
		if got := p.SmallestQuorum(); len(got) != quorum || p.QuorumSize() != quorum {
			t.Fatalf("%s\nquorum %s, want %d", b.String(), Labels(got), quorum)
		}
		if got := p.SmallestSplit(); len(got) != split {
			t.Fatalf("%s\nsplit %s, want %d", b.String(), Labels(got), split)
		}
	}
}

func TestPolicyWords(t *testing.T) {
	l, l2, ml := logSigner("log.example"), logSigner("log2.example"), mldsaKey(t, "pq.example")
	x, y, z := witnessSigner("x.example"), witnessSigner("y.example"), witnessSigner("z.example")
	for _, test := range []struct{ policy, words, unused string }{
		{"log " + l.vkey + "\nquorum none\n", "A checkpoint counts if it is signed by the log\n  log.example (Ed25519)\nand by nobody else: no witness is asked.", ""},
		{
			"log " + l.vkey + "\nlog " + l2.vkey + "\nwitness x " + x.vkey + "\nwitness y " + y.vkey + "\nwitness z " + z.vkey + "\nwitness q " + ml.vkey +
				"\ngroup a any x y\ngroup b all a q\nquorum b\n",
			"A checkpoint counts if it is signed by any one of these 2 logs\n  log.example (Ed25519)\n  log2.example (Ed25519)\nand cosigned by\n" +
				"  all 2 of b:\n    any one of the 2 of a:\n      the witness x, whose key is x.example's (Ed25519)\n      the witness y, whose key is y.example's (Ed25519)\n" +
				"    the witness q, whose key is pq.example's (ML-DSA-44)", "z",
		},
		{"quorum none\n", "The policy names no log, so that no checkpoint counts by it alone. Where the log is known otherwise, a checkpoint counts if it is signed by that\nand by nobody else: no witness is asked.", ""},
	} {
		p := mustPolicy(t, "%s", test.policy)
		if got := strings.Join(p.Words(), "\n"); got != test.words {
			t.Errorf("%s\nsays\n%s\nwant\n%s", test.policy, got, test.words)
		}
		if got := Labels(p.Unused()); got != test.unused {
			t.Errorf("unused %q, want %q", got, test.unused)
		}
	}
}
