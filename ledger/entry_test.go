package ledger

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

// sampleHash makes a hash that tells in a failure where it came from.
func sampleHash(what string) Hash { return sha256.Sum256([]byte(what)) }

func sampleName(what string) Name {
	h := sampleHash(what)
	return Name("\x00\x0b" + string(h[:]))
}

func samplePCR(bank Bank, index int, fill byte) PCR {
	return PCR{bank, index, bytes.Repeat([]byte{fill}, bank.Size())}
}

func sampleSegment() *Segment {
	return &Segment{
		Head: Head{
			Log: "log.example/one", Host: "web1.example", AK: sampleName("ak"), Sequence: 3, Previous: sampleHash("previous"),
			Anchor: Anchor{17, sampleHash("root"), sampleHash("anchor")},
		},
		Body: Body{
			Join: Join{Kind: JoinContinues}, First: 120, Count: 2, List: List{"sha1", "le"},
			Styles:  []BankStyle{{"sha1", "digest"}, {"sha256", "digest"}},
			Payload: Addendum{210, sampleHash("payload")}, Records: sampleHash("records"),
			Base:   []PCR{samplePCR("sha1", 10, 1), samplePCR("sha256", 10, 2)},
			End:    []PCR{samplePCR("sha1", 10, 3), samplePCR("sha256", 10, 4)},
			Others: []PCR{samplePCR("sha256", 0, 5), samplePCR("sha256", 1, 6)},
		},
		Attest: []byte("attest"), Signature: []byte("signature"),
	}
}

func sampleSigner(t testing.TB, name string) (note.Signer, note.Verifier) {
	t.Helper()
	// The seed makes the same key in each run, so that a failure can be repeated.
	seed := sha256.Sum256([]byte(name))
	skey, vkey, err := note.GenerateKey(bytes.NewReader(seed[:]), name)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return signer, verifier
}

// sampleLogKey is the verifier key of a log.
func sampleLogKey(name string) string {
	seed := sha256.Sum256([]byte(name))
	_, vkey, err := note.GenerateKey(bytes.NewReader(seed[:]), name)
	if err != nil {
		panic(err) // the name is right
	}
	return vkey
}

func sampleStatements() []Statement {
	const log, host = "log.example/one", "web1.example"
	return []Statement{
		&Enrolment{Log: log, Host: host, EK: sampleName("ek"), AK: sampleName("ak"), AKPublic: []byte("public"), Grade: GradeCertificate, Evidence: Addendum{9, sampleHash("evidence")}},
		&Enrolment{Log: log, Host: host, Sequence: 4, Previous: sampleHash("previous"), AK: sampleName("ak"), AKPublic: []byte("public"), Grade: GradeSoftware, Evidence: Addendum{9, sampleHash("evidence")}},
		&Retention{Log: log, Policy: 1, Days: 90, Appraisal: true, Statement: "ninety days", Time: 1700000000},
		&Retention{Log: log, Policy: 2, Statement: "for ever", Time: 1700000000},
		&Erasure{Log: log, Retention: sampleHash("retention"), Erased: []Erased{{Hash{1}, sampleHash("p1")}, {Hash{2}, sampleHash("p2")}}, Reason: "policy 1", Time: 1700000001},
		&Hold{Log: log, From: 1, To: 2, Reason: "court order", Time: 3},
		&Hold{Log: log, Host: host, From: 2, To: 2, Reason: "court order", Time: 3},
		&Release{Log: log, Hold: sampleHash("hold"), Reason: "lifted", Time: 4},
		&Appraisal{Log: log, Host: host, Segment: sampleHash("segment"), Passed: true, Policy: sampleHash("policy"), Report: Addendum{8, sampleHash("report")}, Time: 5},
		&Appraisal{Log: log, Host: host, Segment: sampleHash("segment"), Policy: sampleHash("policy"), Report: Addendum{8, sampleHash("report")}, Time: 5},
		&Acknowledgement{Log: log, Host: host, Entry: sampleHash("entry"), Finding: Gap, Statement: "disk replaced", Time: 6},
		&Freeze{Log: log, Successor: sampleLogKey("log.example/two"), URL: "https://two.example/", Reason: "a new key", Time: 7},
		&Succession{Log: log, Predecessor: "log.example/zero", Freeze: sampleHash("freeze"), Size: 17, Root: sampleHash("root"), Reason: "a new key", Time: 8},
	}
}

func sampleEntries(t testing.TB) []Entry {
	gap := sampleSegment()
	gap.Join = Join{JoinGap, "trimmed"}
	empty := sampleSegment()
	empty.Count, empty.Others = 0, nil
	list := []Entry{sampleSegment(), gap, empty}
	one, _ := sampleSigner(t, "one.example")
	two, _ := sampleSigner(t, "two.example")
	for _, s := range sampleStatements() {
		if err := Sign(s, one, two); err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

func TestEntriesReadBack(t *testing.T) {
	for _, e := range sampleEntries(t) {
		raw := e.Marshal()
		got, err := ParseEntry(raw)
		if err != nil {
			t.Errorf("%s: %v", e.Format(), err)
			continue
		}
		if !bytes.Equal(got.Marshal(), raw) {
			t.Errorf("%s: read back as\n%q, was\n%q", e.Format(), got.Marshal(), raw)
		}
		if addenda, err := AddendaOf(raw); err != nil || fmt.Sprint(addenda) != fmt.Sprint(e.Addenda()) {
			t.Errorf("%s: any reader of tlog-addenda sees %x, %v; want %x", e.Format(), addenda, err, e.Addenda())
		}
	}
}

// TestEntriesHaveOneEncoding alters every byte of every kind of entry in
// several ways: what still parses is another entry, and re-encodes to itself.
func TestEntriesHaveOneEncoding(t *testing.T) {
	for _, e := range sampleEntries(t) {
		raw := e.Marshal()
		refused := 0
		for i := range raw {
			for _, to := range []byte{raw[i] ^ 1, raw[i] ^ 0x20, raw[i] ^ 0x80, ' ', '\n', '\r', '0', 0} {
				if to == raw[i] {
					continue
				}
				altered := bytes.Clone(raw)
				altered[i] = to
				got, err := ParseEntry(altered)
				if err != nil {
					refused++
				} else if !bytes.Equal(got.Marshal(), altered) {
					t.Fatalf("%s: byte %d set to %#x parses and re-encodes to something else", e.Format(), i, to)
				}
			}
		}
		if refused < len(raw) {
			t.Errorf("%s: only %d alterations of %d bytes were refused", e.Format(), refused, len(raw))
		}
		for i := range raw {
			if _, err := ParseEntry(raw[:i]); err == nil {
				t.Errorf("%s: truncated to %d of %d bytes, it parses", e.Format(), i, len(raw))
			}
		}
		if _, err := ParseEntry(append(bytes.Clone(raw), 0)); err == nil {
			t.Errorf("%s: with a byte more, it parses", e.Format())
		}
		// A byte more in the text, with a trailer that fits.
		digests, err := AddendaOf(raw)
		if err != nil {
			t.Fatal(err)
		}
		text := raw[:len(raw)-trailerSize(len(digests))]
		for i := range len(text) + 1 {
			for _, c := range []byte{'0', 'a', ' ', '\n'} {
				longer := appendTrailer(slices.Concat(text[:i], []byte{c}, text[i:]), digests...)
				if got, err := ParseEntry(longer); err == nil && !bytes.Equal(got.Marshal(), longer) {
					t.Fatalf("%s: with %q before byte %d it parses and re-encodes to something else", e.Format(), c, i)
				}
			}
		}
	}
}

// TestSegmentRefused has a row for each rule of the segment's grammar.
func TestSegmentRefused(t *testing.T) {
	for _, row := range []struct {
		name, old, new, want string
	}{
		{"version", "segment/v1", "segment/v2", "unknown entry format"},
		{"carriage return", "host web1.example\n", "host web1.example\r\n", "0x0d"},
		{"two spaces", "sequence 3", "sequence  3", "decimal"},
		{"leading zero", "sequence 3", "sequence 03", "decimal"},
		{"sign", "count 2", "count +2", "decimal"},
		{"over 2^63-1", "first 120", "first 9223372036854775808", "decimal"},
		{"sequence 0", "sequence 3", "sequence 0", "enrolment"},
		{"upper-case hex", "previous ", "previous A", "hex"},
		{"host upper case", "host web1", "host Web1", "host name"},
		{"host with two dots", "host web1.", "host web1..", "host name"},
		{"order of keys", "first 120\ncount 2\n", "count 2\nfirst 120\n", "first"},
		{"unknown key", "first 120\n", "extra 1\nfirst 120\n", "first"},
		{"join", "join continues", "join again", "join"},
		{"gap without reason", "join continues", "join gap", "join"},
		{"unknown bank", "list sha1 le", "list md5 le", "list"},
		{"byte order", "list sha1 le", "list sha1 me", "list"},
		{"style", "style sha256 digest", "style sha256 other", "style"},
		{"style of sha1", "style sha1 digest", "style sha1 padded", "style"},
		{"style left out", "style sha1 digest\n", "", "style"},
		{"style too many", "style sha1 digest\n", "style sha1 digest\nstyle sha384 digest\n", "style"},
		{"registers out of order", "other sha256:0 ", "other sha256:2 ", "order"},
		{"register twice", "other sha256:0 ", "other sha256:1 ", "order"},
		{"register in end and other", "other sha256:0 ", "other sha256:10 ", "order"},
		{"register 24", "other sha256:1 ", "other sha256:24 ", "last is 23"},
		{"end without base", "end sha1:10 ", "end sha1:11 ", "end"},
		{"payload too large", "payload 210", "payload 1073741825", "at most"},
		{"empty quote", "quote YXR0ZXN0", "quote ", "quote"},
		{"quote not canonical", "quote YXR0ZXN0", "quote YXR0ZXN=", "base64"},
	} {
		s := sampleSegment()
		text := string(s.text())
		if strings.Count(text, row.old) == 0 {
			t.Fatalf("%s: %q is not in the sample", row.name, row.old)
		}
		altered := appendTrailer([]byte(strings.Replace(text, row.old, row.new, 1)), s.Payload.Digest, s.Anchor.Note)
		_, err := ParseEntry(altered)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: error %v, want one that names %q", row.name, err, row.want)
		}
	}
}

func TestLeafLimits(t *testing.T) {
	s := sampleSegment()
	s.Signature = make([]byte, MaxSignature)
	if _, err := ParseEntry(s.Marshal()); err != nil {
		t.Errorf("a signature of %d bytes: %v", MaxSignature, err)
	}
	s.Signature = make([]byte, MaxSignature+1)
	if _, err := ParseEntry(s.Marshal()); err == nil {
		t.Errorf("a signature of %d bytes is accepted", MaxSignature+1)
	}
	if _, err := ParseSegment(make([]byte, MaxLeaf+1)); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a leaf over the limit: %v", err)
	}
	e := &Erasure{Log: "log.example", Retention: Hash{9}, Reason: "r", Time: 1}
	for i := range MaxErased + 1 {
		e.Erased = append(e.Erased, Erased{Leaf: Hash{byte(i >> 8), byte(i)}})
	}
	signer, _ := sampleSigner(t, "one.example")
	if err := Sign(e, signer); err == nil {
		t.Errorf("an erasure of %d payloads is accepted", MaxErased+1)
	}
	e.Signatures, e.Erased = nil, e.Erased[:MaxErased]
	if err := Sign(e, signer); err != nil {
		t.Errorf("an erasure of %d payloads: %v", MaxErased, err)
	}
}

func TestSignedBy(t *testing.T) {
	one, oneKey := sampleSigner(t, "one.example")
	_, twoKey := sampleSigner(t, "two.example")
	s := sampleStatements()[0]
	if err := Sign(s, one); err != nil {
		t.Fatal(err)
	}
	if by, err := SignedBy(s, oneKey, twoKey); err != nil || len(by) != 1 || by[0] != "one.example" {
		t.Errorf("signed by %v, %v", by, err)
	}
	if by, err := SignedBy(s, twoKey); err != nil || by != nil {
		t.Errorf("signed by %v, %v; want nobody known", by, err)
	}
	s.(*Enrolment).Host = "web2.example"
	if by, err := SignedBy(s, oneKey, twoKey); err == nil {
		t.Errorf("altered after signing, and signed by %v", by)
	}
	var malformed *FormatError
	if _, err := ParseEntry(marshalStatement(&Hold{Log: "log.example", Reason: "x"})); !errors.As(err, &malformed) {
		t.Errorf("a statement without a signature: %v", err)
	}
}

func TestEnrolmentEvidence(t *testing.T) {
	for _, e := range []*EnrolmentEvidence{
		{},
		{EKPublic: []byte("ek"), Certificates: [][]byte{[]byte("a"), []byte("b")}, Activations: []Activation{{[]byte("c"), []byte("s"), Hash{1}}}},
		{EKPublic: []byte("ek"), Activations: []Activation{{[]byte("c"), []byte("s"), Hash{1}}}},
	} {
		raw := e.Marshal()
		got, err := ParseEnrolmentEvidence(raw)
		if err != nil || !bytes.Equal(got.Marshal(), raw) {
			t.Errorf("%q: %v", raw, err)
		}
		for i := range raw {
			if _, err := ParseEnrolmentEvidence(raw[:i]); err == nil {
				t.Errorf("%q parses", raw[:i])
			}
		}
	}
}

func FuzzParseEntry(f *testing.F) {
	for _, e := range sampleEntries(f) {
		f.Add(e.Marshal())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := ParseEntry(raw)
		if err == nil && !bytes.Equal(e.Marshal(), raw) {
			t.Fatalf("parses, and re-encodes to %q", e.Marshal())
		}
	})
}

func FuzzEnrolmentEvidence(f *testing.F) {
	f.Add((&EnrolmentEvidence{}).Marshal())
	f.Add((&EnrolmentEvidence{EKPublic: []byte("ek"), Certificates: [][]byte{{1}}, Activations: []Activation{{[]byte("c"), []byte("s"), Hash{}}, {[]byte("d"), []byte("t"), Hash{1}}}}).Marshal())
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := ParseEnrolmentEvidence(raw)
		if err == nil && !bytes.Equal(e.Marshal(), raw) {
			t.Fatalf("parses, and re-encodes to %q", e.Marshal())
		}
	})
}

func TestRecordTree(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	tree := NewRecordTree()
	var leaves []Hash
	var records [][]byte
	for n := uint64(0); n < 70; n++ {
		root := tree.Root()
		for i := range n {
			path, err := RecordPath(leaves, i)
			if err != nil {
				t.Fatal(err)
			}
			if err := VerifyRecord(records[i], i, n, path, root); err != nil {
				t.Fatal(err)
			}
			other := rng.Uint64N(n)
			if other != i && VerifyRecord(records[i], other, n, path, root) == nil {
				t.Fatalf("record %d of %d verifies as record %d", i, n, other)
			}
		}
		record := fmt.Appendf(nil, "record %d %d", n, rng.Uint64())
		records, leaves = append(records, record), append(leaves, LeafHash(record))
		tree.Add(record)
	}
	tree.Reset()
	if root := tree.Root(); root != sha256.Sum256(nil) {
		t.Errorf("the root of no records is %x", root)
	}
}

func TestRecordProofReadsBack(t *testing.T) {
	short := &RecordProof{Leaf: Hash{1}, Index: 3, Record: []byte("r"), Path: []Hash{{1}, {2}}}
	lone := &RecordProof{Leaf: Hash{1}, Record: []byte("r")}
	sealed := &RecordProof{Leaf: Hash{1}, Index: 1, Record: []byte("r"), Banks: []Bank{"sha1", "sha256"}, Sealed: bytes.Repeat([]byte{10, '\n'}, 53)}
	for _, p := range []*RecordProof{short, lone, sealed} {
		raw := p.Marshal()
		got, err := ParseRecordProof(raw)
		if err != nil || !bytes.Equal(got.Marshal(), raw) {
			t.Errorf("%q: %v", raw, err)
		}
	}
	if _, err := ParseRecordProof(sealed.Marshal()[:200]); err == nil {
		t.Error("a sealed proof cut short parses")
	}
}

func FuzzRecordProof(f *testing.F) {
	f.Add((&RecordProof{Leaf: Hash{1}, Index: 3, Record: []byte("r"), Path: []Hash{{1}, {2}}}).Marshal())
	f.Add((&RecordProof{Record: []byte("r"), Banks: []Bank{"sha1", "sha256"}, Sealed: make([]byte, 106)}).Marshal())
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := ParseRecordProof(raw)
		if err == nil && !bytes.Equal(p.Marshal(), raw) {
			t.Fatalf("parses, and re-encodes to %q", p.Marshal())
		}
	})
}
