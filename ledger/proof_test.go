package ledger

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	fproof "github.com/transparency-dev/formats/proof"
	"golang.org/x/mod/sumdb/tlog"
)

// A sampleTree is made by x/mod's tlog, so that not the library that verifies
// has made what it verifies.
type sampleTree struct {
	t      testing.TB
	stored []tlog.Hash
}

func sampleRecord(i int64) []byte { return fmt.Appendf(nil, "record %d", i) }

func newSampleTree(t testing.TB, size int64) *sampleTree {
	s := &sampleTree{t: t}
	for i := range size {
		h, err := tlog.StoredHashes(i, sampleRecord(i), s.hashes())
		if err != nil {
			t.Fatal(err)
		}
		s.stored = append(s.stored, h...)
	}
	return s
}

func (s *sampleTree) hashes() tlog.HashReaderFunc {
	return func(indexes []int64) ([]tlog.Hash, error) {
		var list []tlog.Hash
		for _, i := range indexes {
			list = append(list, s.stored[i])
		}
		return list, nil
	}
}

func (s *sampleTree) root(size int64) Hash {
	h, err := tlog.TreeHash(size, s.hashes())
	if err != nil {
		s.t.Fatal(err)
	}
	return Hash(h)
}

func (s *sampleTree) record(size, i int64) tlog.RecordProof {
	p, err := tlog.ProveRecord(size, i, s.hashes())
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (s *sampleTree) path(size, i int64) []Hash {
	var list []Hash
	for _, h := range s.record(size, i) {
		list = append(list, Hash(h))
	}
	return list
}

// A proofSample is a tree, and what its proofs are checked with.
type proofSample struct {
	*sampleTree
	log, w1, w2, w3 noteSigner
	policyText      string
	policy          *Policy
}

func newProofSample(t testing.TB, size int64) *proofSample {
	s := &proofSample{sampleTree: newSampleTree(t, size), log: logSigner("log.example"),
		w1: witnessSigner("w1.example"), w2: witnessSigner("w2.example"), w3: witnessSigner("w3.example")}
	s.policyText = fmt.Sprintf("log %s\nwitness w1 %s\nwitness w2 %s\nwitness w3 %s\ngroup g 2 w1 w2 w3\nquorum g\n", s.log.vkey, s.w1.vkey, s.w2.vkey, s.w3.vkey)
	s.policy = mustPolicy(t, "%s", s.policyText)
	return s
}

func (s *proofSample) checkpoint(size int64) []byte {
	h := headSample{"log.example", uint64(size), s.root(size), ""}
	return h.note(s.log.line(h, 0), s.w1.line(h, 1000), s.w3.line(h, 3000))
}

func TestProofInclusion(t *testing.T) {
	const size = 9
	s := newProofSample(t, size)
	torch, err := torchwood.ParsePolicy([]byte(s.policyText))
	if err != nil {
		t.Fatal(err)
	}
	for n := int64(1); n <= size; n++ {
		checkpoint := s.checkpoint(n)
		for i := range n {
			leaf := LeafHash(sampleRecord(i))
			p := &Proof{Index: uint64(i), Hashes: s.path(n, i), Checkpoint: checkpoint}
			b := p.Marshal()

			// Theirs verifies ours, byte for byte what they write themselves.
			if err := torchwood.VerifyProof(torch, tlog.Hash(leaf), b); err != nil {
				t.Fatalf("%d of %d: torchwood refuses our proof: %v", i, n, err)
			}
			if theirs := torchwood.FormatProof(i, s.record(n, i), checkpoint); !bytes.Equal(b, theirs) {
				t.Fatalf("%d of %d: torchwood writes\n%s, we write\n%s", i, n, theirs, b)
			}
			got, err := ParseProof(b)
			if err != nil {
				t.Fatal(err)
			}
			c, err := got.Verify(s.policy, leaf)
			if err != nil || c.Size != uint64(n) || s.policy.NotAfter(c) != 3000 || s.policy.NotBefore(c) != 1000 {
				t.Fatalf("%d of %d: %+v, %v", i, n, c, err)
			}
			for name, alter := range map[string]func(p *Proof) Hash{
				"another leaf":    func(p *Proof) Hash { return LeafHash([]byte("another")) },
				"the root's leaf": func(p *Proof) Hash { return s.root(n) },
				"another index":   func(p *Proof) Hash { p.Index++; return leaf },
				"index of size":   func(p *Proof) Hash { p.Index = uint64(n); return leaf },
				"index of 2^63-1": func(p *Proof) Hash { p.Index = 1<<63 - 1; return leaf },
				"a hash too many": func(p *Proof) Hash { p.Hashes = append(slices.Clone(p.Hashes), Hash{}); return leaf },
			} {
				altered := *got
				leaf := alter(&altered)
				if n == 1 && name == "the root's leaf" {
					continue // in a tree of one they are the same
				}
				if _, err := altered.Verify(s.policy, leaf); !errors.Is(err, ErrInclusion) {
					t.Errorf("%d of %d, %s: %v", i, n, name, err)
				}
			}
		}
	}
}

func TestProofsOfOthersVerify(t *testing.T) {
	s := newProofSample(t, 5)
	leaf := LeafHash(sampleRecord(3))
	checkpoint, extra := s.checkpoint(5), []byte("a word from nobody")
	hashes := s.path(5, 3)
	for name, b := range map[string][]byte{
		"torchwood":                           torchwood.FormatProof(3, s.record(5, 3), checkpoint),
		"torchwood, with extra":               torchwood.FormatProofWithExtraData(3, extra, s.record(5, 3), checkpoint),
		"transparency-dev/formats":            fproof.TLogProof{Index: 3, Hashes: hashes, Checkpoint: checkpoint}.Marshal(),
		"transparency-dev/formats with extra": fproof.TLogProof{Index: 3, Hashes: hashes, Checkpoint: checkpoint, ExtraData: extra}.Marshal(),
	} {
		p, err := ParseProof(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := p.Verify(s.policy, leaf); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(p.Marshal(), b) {
			t.Errorf("%s: re-encodes to\n%s", name, p.Marshal())
		}
		if strings.Contains(name, "extra") != bytes.Equal(p.Extra, extra) {
			t.Errorf("%s: extra %q", name, p.Extra)
		}
		var theirs fproof.TLogProof
		if err := theirs.Unmarshal(p.Marshal()); err != nil || theirs.Index != 3 || !slices.Equal(theirs.Hashes, hashes) || !bytes.Equal(theirs.Checkpoint, checkpoint) || !bytes.Equal(theirs.ExtraData, p.Extra) {
			t.Errorf("%s: formats reads %+v, %v", name, theirs, err)
		}
	}
}

// A proof whose log and witnesses all sign with ML-DSA-44.
func TestProofPostQuantum(t *testing.T) {
	tree := newSampleTree(t, 5)
	l, a, b := mldsaKey(t, "log.example"), mldsaKey(t, "a.example"), mldsaKey(t, "b.example")
	p := mustPolicy(t, "log %s\nwitness a %s\nwitness b %s\ngroup g all a b\nquorum g\n", l.vkey, a.vkey, b.vkey)
	h := headSample{"log.example", 5, tree.root(5), ""}
	proof, err := ParseProof((&Proof{Index: 2, Hashes: tree.path(5, 2), Checkpoint: h.note(l.line(h, 1), a.line(h, 10), b.line(h, 20))}).Marshal())
	if err != nil {
		t.Fatal(err)
	}
	c, err := proof.Verify(p, LeafHash(sampleRecord(2)))
	if err != nil || p.NotBefore(c) != 10 || p.NotAfter(c) != 20 {
		t.Errorf("%+v, %v", c, err)
	}
}

// What lax readers of proofs let pass or refuse for the wrong reason, with the
// verdict of c2sp.org/tlog-proof.
func TestProofWhereReadersDisagree(t *testing.T) {
	s := newProofSample(t, 5)
	p := &Proof{Index: 3, Hashes: s.path(5, 3), Checkpoint: s.checkpoint(5)}
	good := string(p.Marshal())
	long := *p
	long.Extra = bytes.Repeat([]byte("x"), 60_000) // a line of 80,000 bytes
	for _, row := range []struct{ name, proof, want string }{
		{"extra of a line over 64 KiB", string(long.Marshal()), "ok"},
		{"carriage returns", strings.ReplaceAll(good, "\n", "\r\n"), ErrProof.Error()},
		{"index with a leading zero", strings.Replace(good, "index 3", "index 03", 1), ErrProof.Error()},
		{"cut after the index line", good[:strings.Index(good, "index 3\n")+8], ErrProof.Error()},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, err := ParseProof([]byte(row.proof))
			if err == nil {
				_, err = p.Verify(s.policy, LeafHash(sampleRecord(3)))
			}
			if got := errorName(err); got != row.want {
				t.Errorf("%s, want %s: %v", got, row.want, err)
			}
		})
	}
}

func TestProofMalformed(t *testing.T) {
	s := newProofSample(t, 5)
	p := &Proof{Extra: []byte("ex"), Index: 3, Hashes: s.path(5, 3), Checkpoint: s.checkpoint(5)}
	good := string(p.Marshal())
	hash := base64.StdEncoding.EncodeToString(p.Hashes[0][:])
	hashes := strings.Join(strings.SplitAfter(good, "\n")[3:3+len(p.Hashes)], "")
	if _, err := ParseProof([]byte(good)); err != nil || !strings.HasPrefix(hashes, hash) {
		t.Fatal(err)
	}
	free := func(s string) string { // sets a bit that base64 does not use
		at := strings.Index(s, "=") - 1
		digits := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
		return s[:at] + string(digits[strings.IndexByte(digits, s[at])^1]) + s[at+1:]
	}
	replace := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for _, row := range []struct {
		name, proof string
		want        error
	}{
		{"empty", "", ErrProof},
		{"another version", replace("@v1", "@v2"), ErrProof},
		{"no first line", replace(ProofFormat+"\n", ""), ErrProof},
		{"a byte order mark", "\ufeff" + good, ErrProof},
		{"a newline before", "\n" + good, ErrProof},
		{"first line alone", ProofFormat + "\n", ErrProof},
		{"first line and an empty one", ProofFormat + "\n\n", ErrProof},
		{"no index", replace("index 3\n", ""), ErrProof},
		{"index twice", replace("index 3\n", "index 3\nindex 3\n"), ErrProof},
		{"index before extra", replace("extra ZXg=\nindex 3\n", "index 3\nextra ZXg=\n"), ErrProof},
		{"extra twice", replace("extra ZXg=\n", "extra ZXg=\nextra ZXg=\n"), ErrProof},
		{"extra empty", replace("extra ZXg=\n", "extra \n"), ErrProof},
		{"extra without a space", replace("extra ZXg=\n", "extra\n"), ErrProof},
		{"extra with two spaces", replace("extra ZXg=", "extra  ZXg="), ErrProof},
		{"extra with free bits set", replace("ZXg=", "ZXh="), ErrProof},
		{"extra without padding", replace("ZXg=", "ZXg"), ErrProof},
		{"extra over the limit", replace("ZXg=", base64.StdEncoding.EncodeToString(make([]byte, maxProofExtra+1))), ErrProof},
		{"index with a sign", replace("index 3", "index +3"), ErrProof},
		{"index below 0", replace("index 3", "index -3"), ErrProof},
		{"index in hex", replace("index 3", "index 0x3"), ErrProof},
		{"index of 2^63", replace("index 3", "index 9223372036854775808"), ErrProof},
		{"index with a space", replace("index 3", "index 3 "), ErrProof},
		{"no index after the word", replace("index 3", "index "), ErrProof},
		{"hash of 31 bytes", replace(hash, base64.StdEncoding.EncodeToString(p.Hashes[0][:31])), ErrProof},
		{"hash of 33 bytes", replace(hash, base64.StdEncoding.EncodeToString(append(p.Hashes[0][:], 0))), ErrProof},
		{"hash with free bits set", replace(hash, free(hash)), ErrProof},
		{"hash in hex", replace(hash, fmt.Sprintf("%x", p.Hashes[0])), ErrProof},
		{"carriage return in a hash", replace(hash, hash[:8]+"\r"+hash[8:]), ErrProof},
		{"space after a hash", replace(hash, hash+" "), ErrProof},
		{"64 hashes", replace(hashes, strings.Repeat(hash+"\n", 64)), ErrProof},
		{"no empty line", replace("\n\n", "\n"), ErrProof},
		{"two empty lines", replace("\n\n", "\n\n\n"), ErrCheckpoint},
		{"no checkpoint", good[:strings.Index(good, "\n\n")+2], ErrCheckpoint},
		{"text after the checkpoint", good + "text\n", ErrCheckpoint},
		{"over the limit of bytes", good + strings.Repeat("x", MaxProof), ErrProof},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.proof == good {
				t.Fatal("the row alters nothing")
			}
			if _, err := ParseProof([]byte(row.proof)); !errors.Is(err, row.want) {
				t.Errorf("%v, want %v", err, row.want)
			}
		})
	}
	for name, at := range map[string]string{
		"63 hashes":          replace(hashes, strings.Repeat(hash+"\n", 63)),
		"extra at the limit": replace("ZXg=", base64.StdEncoding.EncodeToString(make([]byte, maxProofExtra))),
		"no hashes":          replace(hashes, ""),
	} {
		if p, err := ParseProof([]byte(at)); err != nil || string(p.Marshal()) != at {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProofRefusedByPolicy(t *testing.T) {
	s := newProofSample(t, 5)
	leaf := LeafHash(sampleRecord(3))
	h := headSample{"log.example", 5, s.root(5), ""}
	for _, row := range []struct {
		name       string
		checkpoint []byte
		want       string
	}{
		{"one witness of 2 of 3", h.note(s.log.line(h, 0), s.w1.line(h, 1)), "quorum"},
		{"no log signature", h.note(s.w1.line(h, 1), s.w2.line(h, 1)), ErrLogSignature.Error()},
		{"a forged cosignature beside a quorum", h.note(s.log.line(h, 0), s.w1.line(h, 1), s.w2.line(h, 1), s.w3.raw(make([]byte, 72))), ErrCosignature.Error()},
	} {
		p := &Proof{Index: 3, Hashes: s.path(5, 3), Checkpoint: row.checkpoint}
		if _, err := p.Verify(s.policy, leaf); errorName(err) != row.want {
			t.Errorf("%s: %v, want %s", row.name, err, row.want)
		}
	}
}

// alterable says what becomes of a proof whose byte is altered, where that can
// be anything but refusal.
type alterable int

const (
	fixed       alterable = iota
	extraByte             // opaque, and vouched for by nobody
	witnessByte           // name or key ID of a witness: the line is nobody's then
	unknownByte           // a line that is nobody's already
)

// Every byte of a small proof takes every other value: it is refused, or it is
// a proof of the same leaf in the same tree, and what has changed is what
// nobody vouches for.
func TestProofEveryByte(t *testing.T) {
	t.Parallel()
	s := newProofSample(t, 3)
	leaf := LeafHash(sampleRecord(1))
	h := headSample{"log.example", 3, s.root(3), ""}
	byW1, byW2, byNobody := s.w1.line(h, 1000), s.w2.line(h, 2000), noteSigner{name: "x.example", id: 7}.raw([]byte("nobody's"))
	p := &Proof{Extra: []byte("extra"), Index: 1, Hashes: s.path(3, 1), Checkpoint: h.note(s.log.line(h, 0), byW1, byW2, byNobody)}
	// Any one of them, so that the other one may be lost.
	policy := mustPolicy(t, "log %s\nwitness w1 %s\nwitness w2 %s\ngroup g any w1 w2\nquorum g\n", s.log.vkey, s.w1.vkey, s.w2.vkey)
	good := p.Marshal()

	kind := make([]alterable, len(good))
	mark := func(part string, k alterable) {
		at := bytes.Index(good, []byte(part))
		for i := range part {
			kind[at+i] = k
		}
	}
	mark("ZXh0cmE=", extraByte)
	// After "— name " the first 5 digits and the upper 2 bits of the sixth are
	// the key ID.
	idEnd := func(line string, name string) string { return line[:len("— ")+len(name)+1+6] }
	mark(strings.TrimPrefix(idEnd(byW1, s.w1.name), "— "), witnessByte)
	mark(strings.TrimPrefix(idEnd(byW2, s.w2.name), "— "), witnessByte)
	mark(strings.TrimSuffix(strings.TrimPrefix(byNobody, "— "), "\n"), unknownByte)

	accepted := make(map[alterable]int)
	b := slices.Clone(good)
	for i := range b {
		for v := range 256 {
			if b[i] = byte(v); b[i] == good[i] {
				continue
			}
			got, err := ParseProof(b)
			if err != nil {
				continue
			}
			c, err := got.Verify(policy, leaf)
			if err != nil {
				continue
			}
			accepted[kind[i]]++
			var want string
			switch kind[i] {
			case extraByte:
				want = "2 cosignatures, 1 unknown, another extra"
			case witnessByte:
				want = "1 cosignatures, 2 unknown, same extra"
			case unknownByte:
				want = "2 cosignatures, 1 unknown, same extra"
			default:
				want = "refusal"
			}
			have := fmt.Sprintf("%d cosignatures, %d unknown, same extra", len(c.Cosignatures), c.Unknown)
			if !bytes.Equal(got.Extra, p.Extra) {
				have = strings.Replace(have, "same", "another", 1)
			}
			if have != want || c.Size != 3 || c.Root != h.root || c.Origin != h.origin || c.LogKey != s.log.vkey || got.Index != 1 || !slices.Equal(got.Hashes, p.Hashes) {
				t.Errorf("byte %d (%q) as %q: %s, want %s", i, good[i], byte(v), have, want)
			}
		}
		b[i] = good[i]
	}
	if accepted[fixed] > 0 || accepted[extraByte] == 0 || accepted[witnessByte] == 0 || accepted[unknownByte] == 0 {
		t.Errorf("accepted alterations by kind: %v", accepted)
	}

	// Cut off anywhere, it is refused, but for whole lines at the end.
	for n := range good {
		p, err := ParseProof(good[:n])
		if err == nil {
			_, err = p.Verify(policy, leaf)
		}
		whole := n == len(good)-len(byNobody) || n == len(good)-len(byNobody)-len(byW2)
		if whole != (err == nil) {
			t.Errorf("cut to %d bytes of %d: %v", n, len(good), err)
		}
	}
}

// What parses re-encodes to the same bytes, and is what the others read.
func FuzzProof(f *testing.F) {
	s := newProofSample(f, 5)
	p := Proof{Index: 3, Hashes: s.path(5, 3), Checkpoint: s.checkpoint(5)}
	f.Add(p.Marshal())
	p.Extra = []byte("extra")
	f.Add(p.Marshal())
	f.Add((&Proof{Checkpoint: s.checkpoint(1)}).Marshal())
	leaf := LeafHash(sampleRecord(3))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseProof(b)
		if err != nil {
			if !errors.Is(err, ErrProof) && !errors.Is(err, ErrCheckpoint) {
				t.Errorf("error %v is of no class", err)
			}
			return
		}
		if !bytes.Equal(p.Marshal(), b) {
			t.Errorf("%q re-encodes to %q", b, p.Marshal())
		}
		// formats reads lines of up to 64 KiB.
		var theirs fproof.TLogProof
		if err := theirs.Unmarshal(b); len(b) < 1<<16 && (err != nil || theirs.Index != p.Index || !slices.Equal(theirs.Hashes, p.Hashes) || !bytes.Equal(theirs.Checkpoint, p.Checkpoint)) {
			t.Errorf("formats reads %+v, %v", theirs, err)
		}
		if c, err := p.Verify(s.policy, leaf); err == nil && (p.Index != 3 || c.Size != 5) {
			t.Errorf("accepted %q", b)
		}
	})
}

// A receiptSample is a receipt from a log of 2^20 entries, cosigned by 2 of 3
// witnesses, in which the siblings are random: of a tree nobody has to build.
type receiptSample struct {
	policy *Policy
	proof  []byte
	leaf   Hash
	checks []func() bool // the bare signature checks
	torch  torchwood.Policy
}

// torchwood verifies it by torchwood.
func (s *receiptSample) torchwood() error {
	return torchwood.VerifyProof(s.torch, tlog.Hash(s.leaf), s.proof)
}

func newReceiptSample(t testing.TB) *receiptSample {
	s := newProofSample(t, 1)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	sample := &receiptSample{policy: s.policy, leaf: LeafHash([]byte("entry"))}
	var err error
	if sample.torch, err = torchwood.ParsePolicy([]byte(s.policyText)); err != nil {
		t.Fatal(err)
	}
	p := &Proof{Index: r.Uint64N(1 << 20)}
	root := sample.leaf
	for level := range 20 {
		var sibling Hash
		for i := 0; i < len(sibling); i += 8 {
			binary.LittleEndian.PutUint64(sibling[i:], r.Uint64())
		}
		p.Hashes = append(p.Hashes, sibling)
		left, right := root, sibling
		if p.Index>>level&1 == 1 {
			left, right = sibling, root
		}
		root = sha256.Sum256(slices.Concat([]byte{1}, left[:], right[:]))
	}
	h := headSample{"log.example", 1 << 20, root, ""}
	p.Checkpoint = h.note(s.log.line(h, 0), s.w1.line(h, 1000), s.w2.line(h, 2000))
	sample.proof = p.Marshal()

	check := func(k noteSigner, msg string, sig []byte) {
		public := publicOf(t, k.vkey)
		sample.checks = append(sample.checks, func() bool { return ed25519.Verify(public, []byte(msg), sig) })
	}
	check(s.log, h.text(), s.log.sign(h, 0))
	check(s.w1, "cosignature/v1\ntime 1000\n"+h.text(), s.w1.sign(h, 1000)[8:])
	check(s.w2, "cosignature/v1\ntime 2000\n"+h.text(), s.w2.sign(h, 2000)[8:])
	return sample
}

func (s *receiptSample) verify() error {
	p, err := ParseProof(s.proof)
	if err == nil {
		_, err = p.Verify(s.policy, s.leaf)
	}
	return err
}

func (s *receiptSample) signatures() error {
	for _, check := range s.checks {
		if !check() {
			return errors.New("a signature of the sample does not verify")
		}
	}
	return nil
}

// A receipt is verified in at most twice the time of its signature checks.
func TestReceiptCost(t *testing.T) {
	s := newReceiptSample(t)
	// Turn by turn, so that what else the machine does slows down both.
	timed := func(f func() error) time.Duration {
		start := time.Now()
		for range 10 {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}
		return time.Since(start)
	}
	whole, signatures := time.Hour, time.Hour
	for range 20 {
		whole, signatures = min(whole, timed(s.verify)), min(signatures, timed(s.signatures))
	}
	ratio := float64(whole) / float64(signatures)
	t.Logf("%v a receipt, %v its signature checks: ratio %.2f", whole/10, signatures/10, ratio)
	if ratio > 2 {
		t.Errorf("verifying costs %.2f times the signature checks, at most 2", ratio)
	}
}

func BenchmarkReceipt(b *testing.B) {
	s := newReceiptSample(b)
	for name, f := range map[string]func() error{"verify": s.verify, "signatures": s.signatures, "torchwood": s.torchwood} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
