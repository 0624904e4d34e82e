package ledger

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

var updateC2SP = flag.Bool("update-c2sp", false, "make testdata/c2sp again, with new ML-DSA-44 keys")

// c2spVectors is testdata/c2sp/expected.json; its README says how to use it.
type c2spVectors struct {
	Policies []c2spPolicy `json:"policies"`
	Proofs   []c2spProof  `json:"proofs"`
}

type c2spPolicy struct {
	File   string `json:"file"`
	OK     bool   `json:"ok"`
	Line   int    `json:"line,omitempty"`   // at which it is refused
	Quorum int    `json:"quorum,omitempty"` // fewest witnesses that meet it
}

type c2spProof struct {
	File      string `json:"file"`
	Policy    string `json:"policy"`
	Leaf      string `json:"leaf"`
	Code      Code   `json:"code,omitempty"` // of the finding; empty where it verifies
	Unknown   int    `json:"unknown,omitempty"`
	NotBefore uint64 `json:"notBefore,omitempty"`
	NotAfter  uint64 `json:"notAfter,omitempty"`
}

const c2spDir = "testdata/c2sp"

func TestC2SPVectors(t *testing.T) {
	if *updateC2SP {
		makeC2SPVectors(t)
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(c2spDir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var v c2spVectors
	if err := json.Unmarshal(read("expected.json"), &v); err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{"README.md": true, "expected.json": true, ".gitattributes": true}
	for _, want := range v.Policies {
		listed[want.File] = true
		got := c2spPolicy{File: want.File, OK: true}
		p, err := ParsePolicy(read(want.File))
		var format *FormatError
		if errors.As(err, &format) {
			got.OK, got.Line = false, format.Line
		} else if err == nil {
			got.Quorum = p.QuorumSize()
		}
		if got != want {
			t.Errorf("%+v, want %+v: %v", got, want, err)
		}
	}
	for _, want := range v.Proofs {
		listed[want.File] = true
		if got, err := verdict(t, read(want.Policy), read(want.File), want); got != want {
			t.Errorf("%+v, want %+v: %v", got, want, err)
		}
	}
	err := fs.WalkDir(os.DirFS(c2spDir), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !listed[name] {
			t.Errorf("%s has no verdict in expected.json", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// verdict verifies a proof and fills in what came of it.
func verdict(t *testing.T, policy, proof []byte, v c2spProof) (c2spProof, error) {
	t.Helper()
	v = c2spProof{File: v.File, Policy: v.Policy, Leaf: v.Leaf}
	p := mustPolicy(t, "%s", policy)
	leaf, err := ParseHash(v.Leaf)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ParseProof(proof)
	if err == nil {
		var c *Checkpoint
		if c, err = parsed.Verify(p, leaf); err == nil {
			v.Unknown, v.NotBefore, v.NotAfter = c.Unknown, p.NotBefore(c), p.NotAfter(c)
			return v, nil
		}
	}
	v.Code = map[string]Code{
		ErrProof.Error(): ProofMalformed, ErrCheckpoint.Error(): CheckpointMalformed, ErrLogUnknown.Error(): CheckpointUnknown,
		ErrLogSignature.Error(): CheckpointSignature, ErrCosignature.Error(): CosignatureInvalid, ErrInclusion.Error(): ProofInclusion, "quorum": QuorumNotMet,
	}[errorName(err)]
	return v, err
}

// makeC2SPVectors writes the vectors with the verdicts that are meant, not with
// those that the code gives.
func makeC2SPVectors(t *testing.T) {
	var v c2spVectors
	write := func(name string, b []byte) {
		if err := os.MkdirAll(filepath.Join(c2spDir, path.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(c2spDir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dashed := func(s string) string { return strings.NewReplacer(" ", "-", ",", "").Replace(s) }
	for _, row := range disputedPolicies(t) {
		p := c2spPolicy{File: "policy/" + dashed(row.name), OK: row.want == ""}
		if p.OK && !strings.Contains(row.policy, "quorum none") {
			p.Quorum = 1
		}
		if row.want != "" {
			if _, err := fmt.Sscanf(row.want, "line %d", &p.Line); err != nil {
				t.Fatalf("%q names no line", row.want)
			}
		}
		write(p.File, []byte(row.policy))
		v.Policies = append(v.Policies, p)
	}

	s := newProofSample(t, 7)
	pqLog, pqWitness := mldsaKey(t, "log.example"), mldsaKey(t, "pq.example")
	const twoOfThree, pq = "policy/two-of-three", "policy/post-quantum"
	write(twoOfThree, []byte(s.policyText))
	write(pq, fmt.Appendf(nil, "log %s\nwitness pq %s\nquorum pq\n", pqLog.vkey, pqWitness.vkey))
	v.Policies = append(v.Policies, c2spPolicy{File: twoOfThree, OK: true, Quorum: 2}, c2spPolicy{File: pq, OK: true, Quorum: 1})

	h := headSample{"log.example", 7, s.root(7), ""}
	extended, foreign := h, h
	extended.more, foreign.origin = "extension\n", "other.example"
	byLog, w1, w2, w3 := s.log.line(h, 0), s.w1.line(h, 1000), s.w2.line(h, 2000), s.w3.line(h, 3000)
	proof := func(checkpoint []byte) *Proof { return &Proof{Index: 4, Hashes: s.path(7, 4), Checkpoint: checkpoint} }
	good := proof(h.note(byLog, w1, w2, w3))
	add := func(name, policy string, code Code, b []byte, bounds ...uint64) {
		p := c2spProof{File: "proof/" + dashed(name) + ".tlog-proof", Policy: policy, Leaf: fmt.Sprintf("%x", LeafHash(sampleRecord(4))), Code: code}
		if len(bounds) > 0 {
			p.NotBefore, p.NotAfter, p.Unknown = bounds[0], bounds[1], int(bounds[2])
		}
		write(p.File, b)
		v.Proofs = append(v.Proofs, p)
	}
	add("good", twoOfThree, "", good.Marshal(), 2000, 2000, 0)
	add("two witnesses", twoOfThree, "", proof(h.note(byLog, w3, w1)).Marshal(), 1000, 3000, 0)
	add("one witness at two times", twoOfThree, "", proof(h.note(byLog, w3, w1, s.w1.line(h, 5000))).Marshal(), 3000, 3000, 0)
	add("line by an unknown key", twoOfThree, "", proof(h.note(byLog, w1, w2, noteSigner{name: "x.example"}.raw([]byte("x")))).Marshal(), 1000, 2000, 1)
	add("extension lines", twoOfThree, "", proof(extended.note(s.log.line(extended, 0), s.w1.line(extended, 10), s.w2.line(extended, 20))).Marshal(), 10, 20, 0)
	add("time 0", twoOfThree, "", proof(h.note(byLog, w1, w2, s.w3.line(h, 0))).Marshal(), 1000, 2000, 0)
	extra := *good
	extra.Extra = []byte("vouched for by nobody")
	add("extra", twoOfThree, "", extra.Marshal(), 2000, 2000, 0)
	add("post-quantum", pq, "", proof(h.note(pqLog.line(h, 1), pqWitness.line(h, 1000))).Marshal(), 1000, 1000, 0)

	text := string(good.Marshal())
	replace := func(old, new string) []byte { return []byte(strings.Replace(text, old, new, 1)) }
	add("carriage returns", twoOfThree, ProofMalformed, []byte(strings.ReplaceAll(text, "\n", "\r\n")))
	add("index with a leading zero", twoOfThree, ProofMalformed, replace("index 4", "index 04"))
	add("cut after the index", twoOfThree, ProofMalformed, []byte(text[:strings.Index(text, "index 4\n")+8]))
	add("extra empty", twoOfThree, ProofMalformed, replace("index 4", "extra \nindex 4"))
	add("extra with free bits set", twoOfThree, ProofMalformed, replace("index 4", "extra ZXh=\nindex 4"))
	add("size with a leading zero", twoOfThree, CheckpointMalformed, replace("\n7\n", "\n07\n"))
	add("empty line at the end", twoOfThree, CheckpointMalformed, []byte(text+"\n"))
	add("no signature", twoOfThree, CheckpointMalformed, proof(h.note()).Marshal())
	add("another origin", twoOfThree, CheckpointUnknown, proof(foreign.note(s.log.line(foreign, 0), w1, w2)).Marshal())
	add("no log signature", twoOfThree, CheckpointSignature, proof(h.note(w1, w2, w3)).Marshal())
	add("second log line corrupt", twoOfThree, CheckpointSignature, proof(h.note(byLog, w1, w2, s.log.raw(make([]byte, 64)))).Marshal())
	add("extension lines that ML-DSA-44 does not cover", pq, CheckpointSignature, proof(extended.note(pqLog.line(h, 1), pqWitness.line(h, 1000))).Marshal())
	add("corrupt cosignature beside a quorum", twoOfThree, CosignatureInvalid, proof(h.note(byLog, w1, w2, s.w3.raw(make([]byte, 72)))).Marshal())
	add("second cosignature corrupt", twoOfThree, CosignatureInvalid, proof(h.note(byLog, w1, w2, s.w2.raw(make([]byte, 72)))).Marshal())
	add("cosignature of year 292277026596", twoOfThree, CosignatureInvalid, proof(h.note(byLog, w1, w2, s.w3.line(h, 1<<63))).Marshal())
	add("one witness twice", twoOfThree, QuorumNotMet, proof(h.note(byLog, w1, s.w1.line(h, 2000))).Marshal())
	other := *good
	other.Index = 5
	add("another index", twoOfThree, ProofInclusion, other.Marshal())
	other = *good
	other.Index = 7
	add("index of the size", twoOfThree, ProofInclusion, other.Marshal())
	other = *good
	other.Hashes = other.Hashes[1:]
	add("a hash too few", twoOfThree, ProofInclusion, other.Marshal())

	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	write("expected.json", append(b, '\n'))
}
