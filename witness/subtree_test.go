package witness

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	mrand "math/rand/v2"
	"strings"
	"testing"

	f_note "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/merkle/testonly"
)

// The tree of leaves start to before end, and the proof that it is in the tree,
// by the recursive definitions of draft-ietf-plants-merkle-tree-certs-03, section
// 4.4.1: code that shares nothing with the iteration under test.
type subtreeProver struct{ leaves [][]byte }

func (p *subtreeProver) root(start, end uint64) []byte {
	if end-start == 1 {
		return p.leaves[start]
	}
	k := split(end - start)
	return rfc6962.DefaultHasher.HashChildren(p.root(start, start+k), p.root(start+k, end))
}

// split gives the largest power of two below n.
func split(n uint64) uint64 {
	k := uint64(1)
	for k*2 < n {
		k *= 2
	}
	return k
}

// proof proves leaves start to before end in the tree of those from low to
// before high; known says that the verifier has the root asked for.
func (p *subtreeProver) proof(start, end, low, high uint64, known bool) [][]byte {
	if start == low && end == high {
		if known {
			return nil
		}
		return [][]byte{p.root(low, high)}
	}
	k := low + split(high-low)
	switch {
	case end <= k:
		return append(p.proof(start, end, low, k, known), p.root(k, high))
	case start >= k:
		return append(p.proof(start, end, k, high, known), p.root(low, k))
	}
	return append(p.proof(k, end, k, high, false), p.root(low, k))
}

func newSubtreeProver(n int) *subtreeProver {
	p := new(subtreeProver)
	for i := range n {
		p.leaves = append(p.leaves, rfc6962.DefaultHasher.HashLeaf([]byte{byte(i)}))
	}
	return p
}

// Every subtree of every tree of up to 70 leaves verifies with its proof, and
// with nothing else; where it begins at 0 the proof is RFC 6962's.
func TestVerifySubtree(t *testing.T) {
	const most = 70
	p := newSubtreeProver(most)
	tree := testonly.New(rfc6962.DefaultHasher)
	for i := range most {
		tree.AppendData([]byte{byte(i)})
	}
	seed := mrand.Uint64()
	t.Logf("seed %d", seed)
	random := mrand.New(mrand.NewPCG(seed, 0))
	checked := 0
	for size := uint64(1); size <= most; size++ {
		root := hash(p.root(0, size))
		for start := range size {
			for end := start + 1; end <= size; end++ {
				if !validSubtree(start, end) {
					continue
				}
				checked++
				subtree, proof := hash(p.root(start, end)), p.proof(start, end, 0, size, true)
				if err := verifySubtree(start, end, size, proof, subtree, root); err != nil {
					t.Fatalf("[%d, %d) of %d: %v", start, end, size, err)
				}
				if start == 0 && end < size {
					theirs, err := tree.ConsistencyProof(end, size)
					if err != nil || fmt.Sprintf("%x", theirs) != fmt.Sprintf("%x", proof) {
						t.Fatalf("[0, %d) of %d: RFC 6962 has another proof: %v", end, size, err)
					}
				}
				wrong := func(what string, proof [][]byte, subtree, root hash) {
					if verifySubtree(start, end, size, proof, subtree, root) == nil {
						t.Fatalf("[%d, %d) of %d verifies with %s", start, end, size, what)
					}
				}
				other := hash(rfc6962.DefaultHasher.HashLeaf([]byte("other")))
				wrong("another subtree", proof, other, root)
				wrong("another root", proof, subtree, other)
				wrong("a hash too many", append(proof[:len(proof):len(proof)], other[:]), subtree, root)
				if len(proof) > 0 {
					wrong("a hash too few", proof[1:], subtree, root)
					i := random.IntN(len(proof))
					altered := append(append(append([][]byte{}, proof[:i]...), other[:]), proof[i+1:]...)
					wrong("a hash altered", altered, subtree, root)
				}
				if end+1 <= size && validSubtree(start, end+1) && verifySubtree(start, end+1, size, proof, subtree, root) == nil {
					t.Fatalf("[%d, %d) of %d verifies as one leaf more", start, end, size)
				}
			}
		}
	}
	if checked < 5000 {
		t.Errorf("%d subtrees", checked)
	}
}

func TestValidSubtree(t *testing.T) {
	for _, test := range []struct {
		start, end uint64
		want       bool
	}{
		{0, 1, true}, {0, 7, true}, {8, 13, true}, {8, 16, true}, {4, 6, true}, {5, 6, true},
		{0, 1<<64 - 1, true}, {1 << 63, 1<<64 - 1, true},
		{0, 0, false}, {8, 8, false}, {9, 8, false}, {4, 9, false}, {2, 5, false}, {1, 3, false}, {1, 1<<64 - 1, false}, {1 << 62, 1<<64 - 1, false},
	} {
		if got := validSubtree(test.start, test.end); got != test.want {
			t.Errorf("[%d, %d): %v", test.start, test.end, got)
		}
	}
}

// The example of the specification parses; its hashes are of no tree.
func TestSubtreeExample(t *testing.T) {
	r, err := parseSubtreeRequest([]byte(`subtree 8 13
mbsQCg+dEIMGlpqeGgk94JutQwKKS2Lo5IuDhKmDjiU=
CD82D2LDm0phY0+xKbHyZfq3Hw21lVkuV7Zis5EFg0k=
h/ghL5nyaXTIBAklqDnisM+SFdbA3izoGZ5oRYMZzc0=
8qtnAAU9sTKQx/zt3E4v8Jt2a9IMQUf0QUawvePF9y0=
KuO5BNOmginG34Lm5G3e2GuiWliGo3K0ebzGpvI0fEg=

example.com/behind-the-sofa
14
/CcKVZM9n65aH7jLaIZuUB4/MSlEFQ4+ldwUC21rDHM=

`))
	if err != nil {
		t.Fatal(err)
	}
	if r.start != 8 || r.end != 13 || len(r.proof) != 4 || r.checkpoint.size != 14 {
		t.Errorf("%+v", r)
	}
}

// subtreeBody asks for a subtree of the log, with a checkpoint that is given.
func subtreeBody(p *subtreeProver, start, end, size uint64, checkpoint string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "subtree %d %d\n%s\n", start, end, base64.StdEncoding.EncodeToString(p.root(start, end)))
	for _, h := range p.proof(start, end, 0, size, true) {
		b.WriteString(base64.StdEncoding.EncodeToString(h) + "\n")
	}
	return b.String() + "\n" + checkpoint
}

// twoKeys is a witness with a key of each type.
func twoKeys(t testing.TB, logs ...*testLog) Config {
	t.Helper()
	c := testConfig(t, logs...)
	post, err := GenerateMLDSAKey(rand.Reader, "witness.example/pq")
	if err != nil {
		t.Fatal(err)
	}
	c.Keys = append(c.Keys, post)
	return c
}

func TestSignSubtree(t *testing.T) {
	log, unknown := newTestLog(t, testOrigin), newTestLog(t, "log.example/unknown")
	c := twoKeys(t, log)
	w := start(t, c)
	cosignatures := want(t, w, 200, log.body(t, 0, 14))
	ed25519, mldsa := cosignatures[:strings.Index(cosignatures, "\n")+1], lastLine(cosignatures)
	text := log.text(log.tree, 14)
	p := newSubtreeProver(14)
	good := subtreeBody(p, 8, 13, 14, text+"\n"+mldsa)
	other := twoKeys(t, log)
	foreign := want(t, start(t, other), 200, log.body(t, 0, 14))

	for _, test := range []struct {
		name   string
		status int
		body   string
	}{
		{"by the key that signed", 200, good},
		{"all signatures that were made", 200, subtreeBody(p, 8, 13, 14, text+"\n"+cosignatures)},
		{"by the other key", 200, subtreeBody(p, 8, 13, 14, text+"\n"+ed25519)},
		{"the log's signature besides", 200, subtreeBody(p, 8, 13, 14, sign(t, text, log.signer)+mldsa)},
		{"the whole tree", 200, subtreeBody(p, 0, 14, 14, text+"\n"+mldsa)},
		{"one leaf", 200, subtreeBody(p, 5, 6, 14, text+"\n"+mldsa)},

		{"empty", 400, ""},
		{"no hash", 400, "subtree 8 13\n\n" + text + "\n" + mldsa},
		{"an old line", 400, strings.Replace(good, "subtree 8 13", "old 8", 1)},
		{"two spaces", 400, strings.Replace(good, "subtree 8 13", "subtree 8  13", 1)},
		{"leading zero in start", 400, strings.Replace(good, "subtree 8 13", "subtree 08 13", 1)},
		{"leading zero in end", 400, strings.Replace(good, "subtree 8 13", "subtree 8 013", 1)},
		{"a plus", 400, strings.Replace(good, "subtree 8 13", "subtree +8 13", 1)},
		{"three numbers", 400, strings.Replace(good, "subtree 8 13", "subtree 8 13 14", 1)},
		{"end 0", 400, strings.Replace(good, "subtree 8 13", "subtree 0 0", 1)},
		{"no subtree", 400, strings.Replace(good, "subtree 8 13", "subtree 4 13", 1)},
		{"end above the checkpoint's size", 400, strings.Replace(good, "subtree 8 13", "subtree 8 15", 1)},
		{"a short hash", 400, strings.Replace(good, "\n", "\nAAAA\n", 1)},
		{"64 proof lines", 400, strings.Replace(good, "\n\n", "\n"+strings.Repeat(base64.StdEncoding.EncodeToString(make([]byte, 32))+"\n", 64)+"\n", 1)},
		{"carriage returns", 400, strings.ReplaceAll(good, "\n", "\r\n")},

		{"unknown origin", 404, subtreeBody(p, 8, 13, 14, sign(t, unknown.text(unknown.tree, 14), unknown.signer))},
		{"no signature", 403, subtreeBody(p, 8, 13, 14, text+"\n")},
		{"only the log's", 403, subtreeBody(p, 8, 13, 14, sign(t, text, log.signer))},
		{"another witness's", 403, subtreeBody(p, 8, 13, 14, text+"\n"+foreign)},
		{"altered", 403, subtreeBody(p, 8, 13, 14, corrupt(t, text+"\n"+mldsa))},
		{"one altered besides", 403, subtreeBody(p, 8, 13, 14, text+"\n"+mldsa+lastLine(corrupt(t, text+"\n"+ed25519)))},
		{"of another size", 403, subtreeBody(p, 8, 13, 14, log.text(log.tree, 15)+"\n"+mldsa)},

		{"another subtree's hash", 422, strings.Replace(good, base64.StdEncoding.EncodeToString(p.root(8, 13)), base64.StdEncoding.EncodeToString(p.root(8, 12)), 1)},
		{"no proof", 422, strings.Join(strings.SplitAfter(good, "\n")[:2], "") + good[strings.Index(good, "\n\n")+1:]},
	} {
		t.Run(test.name, func(t *testing.T) {
			response := postTo(w, "/sign-subtree", test.body)
			if response.Code != test.status {
				t.Fatalf("got %d %q, want %d", response.Code, response.Body, test.status)
			}
			if test.status == 200 && strings.Count(response.Body.String(), "— witness.example/pq ") != 1 || test.status != 200 && strings.Contains(response.Body.String(), "—") {
				t.Errorf("%q", response.Body)
			}
		})
	}

	// Another implementation verifies it, with the time that must be zero.
	theirs, err := f_note.NewMLDSAVerifier(c.Keys[1].VKey())
	if err != nil {
		t.Fatal(err)
	}
	line := postTo(w, "/sign-subtree", good).Body.String()
	signature, err := parseSignature(strings.TrimSuffix(line, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if !theirs.VerifySubtree(0, testOrigin, 8, 13, p.root(8, 13), signature.signature) {
		t.Error("transparency-dev/formats does not verify the subtree")
	}
	if string(signature.signature[:8]) != strings.Repeat("\x00", 8) {
		t.Errorf("timestamp %x", signature.signature[:8])
	}
}

func TestSignSubtreeNeedsAKeyThatCan(t *testing.T) {
	log := newTestLog(t, testOrigin)
	w := start(t, testConfig(t, log))
	cosigned := log.text(log.tree, 14) + "\n" + want(t, w, 200, log.body(t, 0, 14))
	if response := postTo(w, "/sign-subtree", subtreeBody(newSubtreeProver(14), 8, 13, 14, cosigned)); response.Code != 404 {
		t.Errorf("got %d", response.Code)
	}
}

func FuzzSubtreeRequest(f *testing.F) {
	log := newTestLog(f, testOrigin)
	w := start(f, twoKeys(f, log))
	p := newSubtreeProver(14)
	cosigned := log.text(log.tree, 14) + "\n" + want(f, w, 200, log.body(f, 0, 14))
	for _, s := range [][2]uint64{{8, 13}, {0, 14}, {5, 6}} {
		f.Add([]byte(subtreeBody(p, s[0], s[1], 14, cosigned)))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		w.signSubtree(body) // whatever it says, it must not panic, nor go on for ever
	})
}
