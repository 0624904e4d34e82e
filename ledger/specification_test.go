package ledger

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math"
	"strings"
	"testing"
)

// A clause is a sentence of a specification with a demand or a liberty in it.
type clause struct {
	sentence string                                    // as it stands in the text
	choice   string                                    // what was chosen, where the sentence leaves it open
	test     func(t *testing.T, s *specificationStand) // nil where the choice says why there is none
}

// A specificationStand is a log of seven entries, and three witnesses of which two
// are demanded.
type specificationStand struct {
	*proofSample
	proof []byte // of entry 3, with the checkpoint of size 7
}

func (s *specificationStand) want(t *testing.T, class string, proof []byte) {
	t.Helper()
	p, err := ParseProof(proof)
	if err == nil {
		_, err = p.Verify(s.policy, LeafHash(sampleRecord(3)))
	}
	if got := errorName(err); got != class {
		t.Errorf("%s, want %s: %v", got, class, err)
	}
}

// edited replaces what must be in the proof.
func (s *specificationStand) edited(t *testing.T, old, new string) []byte {
	t.Helper()
	if !bytes.Contains(s.proof, []byte(old)) {
		t.Fatalf("%q is not in the proof", old)
	}
	return bytes.Replace(s.proof, []byte(old), []byte(new), 1)
}

func testClauses(t *testing.T, clauses []clause) {
	t.Helper()
	for i, c := range clauses {
		t.Run(fmt.Sprintf("%02d %.60s", i+1, c.sentence), func(t *testing.T) {
			if c.choice == "" && c.test == nil {
				t.Error("neither a test nor what was chosen")
			}
			if c.test != nil {
				s := &specificationStand{proofSample: newProofSample(t, 7)}
				s.proof = (&Proof{Index: 3, Hashes: s.path(7, 3), Checkpoint: s.checkpoint(7)}).Marshal()
				s.want(t, "ok", s.proof)
				c.test(t, s)
			}
		})
	}
}

// Each sentence of c2sp.org/tlog-proof with a demand in it, in the order of its
// text (commit 5ba5ee8), the steps of its verification among them.
func TestProofSpecification(t *testing.T) {
	bad := ErrProof.Error()
	testClauses(t, []clause{
		{"Proofs SHOULD be stored with file extension `.tlog-proof`.", "the ledger serves proofs and names no files; examples and the help use the extension", nil},
		{"The first line MUST be the string `c2sp.org/tlog-proof@v1`.", "", func(t *testing.T, s *specificationStand) {
			for _, first := range []string{"c2sp.org/tlog-proof@v2", "C2SP.org/tlog-proof@v1", " c2sp.org/tlog-proof@v1", "c2sp.org/tlog-proof@v1 ", "c2sp.org/tlog-proof@v1\r", ""} {
				s.want(t, bad, s.edited(t, "c2sp.org/tlog-proof@v1", first))
			}
		}},
		{"The second line MAY start with the string `extra` followed by a space (U+0020) and base64-encoded opaque extra data.", "read, kept and said to be there; never believed", func(t *testing.T, s *specificationStand) {
			s.want(t, "ok", s.edited(t, "index", "extra AAEC\nindex"))
			for _, extra := range []string{"extra AAE\nindex", "extra  AAEC\nindex", "extra\nindex", "extra \nindex", "extra AAEC\nextra AAEC\nindex", "Extra AAEC\nindex", "extra AAEB\r\nindex"} {
				s.want(t, bad, s.edited(t, "index", extra))
			}
			s.want(t, bad, s.edited(t, "index 3\n", "index 3\nextra AAEC\n"))
		}},
		{"Appications MUST NOT implicitly trust the extra data, as it is not authenticated.", "", func(t *testing.T, s *specificationStand) {
			// Whatever it says, the verdict is the same.
			for _, extra := range [][]byte{[]byte("index 4"), s.proof, bytes.Repeat([]byte{0}, 4096)} {
				p, err := ParseProof(s.proof)
				if err != nil {
					t.Fatal(err)
				}
				p.Extra = extra
				s.want(t, "ok", p.Marshal())
				if _, err := p.Verify(s.policy, LeafHash(extra)); errorName(err) != ErrInclusion.Error() {
					t.Errorf("the extra data is taken for the entry: %v", err)
				}
			}
		}},
		{"The next line MUST start with the string `index` followed by a space (U+0020) and the zero-based index of the entry in the log, represented as an ASCII decimal with no leading zeroes (unless the index is `0`).", "", func(t *testing.T, s *specificationStand) {
			for _, index := range []string{"index 03", "index +3", "index -3", "index  3", "index 3 ", "index 0x3", "Index 3", "index", "index ", "index 18446744073709551616", "index 00"} {
				s.want(t, bad, s.edited(t, "index 3", index))
			}
			s.want(t, ErrInclusion.Error(), s.edited(t, "index 3", "index 2"))
			s.want(t, ErrInclusion.Error(), s.edited(t, "index 3", "index 7"))
		}},
		{"The next zero or more non-empty lines are the base64-encoded Merkle inclusion proof for the entry at the specified index in the checkpointed tree, one SHA-256 hash per line, starting from the leaf's sibling hash up to the root's child hash.", "at most 64 lines", func(t *testing.T, s *specificationStand) {
			hash := base64.StdEncoding.EncodeToString(make([]byte, 32))
			for _, line := range []string{"AAAA", hash + " ", hash[:42] + "B=", strings.Repeat("-", 43) + "=", hash + hash} {
				s.want(t, bad, s.edited(t, "index 3\n", "index 3\n"+line+"\n"))
			}
			s.want(t, ErrInclusion.Error(), s.edited(t, "index 3\n", "index 3\n"+hash+"\n"))
			lines := bytes.SplitAfter(s.proof, []byte("\n"))
			lines[2], lines[3] = lines[3], lines[2]
			s.want(t, ErrInclusion.Error(), bytes.Join(lines, nil))
		}},
		{"After the inclusion proof lines and an empty line, the checkpoint issued by the log is included verbatim, according to [tlog-checkpoint][].", "", func(t *testing.T, s *specificationStand) {
			s.want(t, bad, s.proof[:bytes.Index(s.proof, []byte("\n\n"))+1])
			s.want(t, ErrCheckpoint.Error(), s.edited(t, "\n\n", "\n\n\n"))
			s.want(t, ErrCheckpoint.Error(), s.edited(t, "\n7\n", "\n07\n"))
			s.want(t, ErrCheckpoint.Error(), append(bytes.Clone(s.proof), '\n'))
			s.want(t, ErrCheckpoint.Error(), bytes.TrimSuffix(s.proof, []byte("\n")))
		}},
		{"2. Check that the checkpoint origin line is acceptable, and that the checkpoint is signed by a log public key configured for that origin line.", "", func(t *testing.T, s *specificationStand) {
			h := headSample{"log.example", 7, s.root(7), ""}
			cosigned := s.w1.line(h, 1000) + s.w3.line(h, 3000)
			proof := func(checkpoint []byte) []byte {
				return (&Proof{Index: 3, Hashes: s.path(7, 3), Checkpoint: checkpoint}).Marshal()
			}
			s.want(t, ErrLogSignature.Error(), proof(h.note(cosigned)))
			s.want(t, ErrLogSignature.Error(), proof(h.note(s.log.raw(make([]byte, 64)), cosigned)))
			other := headSample{"other.example", 7, s.root(7), ""}
			s.want(t, ErrLogUnknown.Error(), proof(other.note(s.log.line(other, 0), s.w1.line(other, 1000), s.w3.line(other, 3000))))
		}},
		{"3. Verify all cosignatures for witnesses known to the verifier.", "all, not as many as are needed: one that does not verify spoils the proof", func(t *testing.T, s *specificationStand) {
			h := headSample{"log.example", 7, s.root(7), ""}
			proof := func(lines ...string) []byte {
				return (&Proof{Index: 3, Hashes: s.path(7, 3), Checkpoint: h.note(lines...)}).Marshal()
			}
			s.want(t, "quorum", proof(s.log.line(h, 0), s.w1.line(h, 1000)))
			s.want(t, "quorum", proof(s.log.line(h, 0), s.w1.line(h, 1000), s.w1.line(h, 2000)))
			s.want(t, ErrCosignature.Error(), proof(s.log.line(h, 0), s.w1.line(h, 1000), s.w3.line(h, 3000), s.w2.raw(make([]byte, 72))))
		}},
		{"4. Check that the inclusion proof is valid, to bind the leaf hash computed in step 1 to the the root hash of the signed checkpoint.", "", func(t *testing.T, s *specificationStand) {
			p, err := ParseProof(s.proof)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Verify(s.policy, LeafHash(sampleRecord(4))); errorName(err) != ErrInclusion.Error() {
				t.Errorf("another entry: %v", err)
			}
		}},
		{"However, after a cosignature has been verified, the timestamp value is ignored by the above verification procedure.", "", func(t *testing.T, s *specificationStand) {
			h := headSample{"log.example", 7, s.root(7), ""}
			for _, at := range []uint64{0, 1, math.MaxInt64} {
				s.want(t, "ok", (&Proof{Index: 3, Hashes: s.path(7, 3), Checkpoint: h.note(s.log.line(h, 0), s.w1.line(h, at), s.w2.line(h, at))}).Marshal())
			}
		}},
		{"Application policy may apply additional constraints on the timestamps.", "the trust folder's max-age; TestFresh", nil},
	})
}

// Each sentence of c2sp.org/tlog-policy with a demand or a liberty in it, in the
// order of its text (commit 5ba5ee8). It has no key words in capitals but one.
func TestPolicySpecification(t *testing.T) {
	l, l2, a, b, c := logSigner("log.example"), logSigner("log2.example"), witnessSigner("a.example"), witnessSigner("b.example"), witnessSigner("c.example")
	renamed, _ := encodeVKey("other.example", 0x04, publicOf(t, a.vkey))
	renamedLog, _ := encodeVKey("other.example", 0x01, publicOf(t, l.vkey))
	head := "log " + l.vkey + "\nwitness a " + a.vkey + "\nwitness b " + b.vkey + "\nwitness c " + c.vkey + "\n"
	policies := func(rows ...[2]string) func(*testing.T, *specificationStand) {
		return func(t *testing.T, _ *specificationStand) {
			for _, r := range rows {
				checkPolicy(t, r[0], r[1])
			}
		}
	}
	// counts checks which sets of witnesses, each a letter, meet a policy.
	counts := func(t *testing.T, policy string, meets ...string) {
		t.Helper()
		p := mustPolicy(t, "%s", policy)
		h := headSample{"log.example", 7, sampleHash("root"), ""}
		for set := range 8 {
			name := ""
			lines := []string{l.line(h, 0)}
			for i, w := range []noteSigner{a, b, c} {
				if set>>i&1 == 1 {
					name += "abc"[i : i+1]
					lines = append(lines, w.line(h, 1000))
				}
			}
			want := "quorum"
			for _, m := range meets {
				if m == name {
					want = "ok"
				}
			}
			if _, err := p.Verify(h.note(lines...)); errorName(err) != want {
				t.Errorf("cosigned by %q: %v, want %s", name, err, want)
			}
		}
	}
	testClauses(t, []clause{
		{"An application where the appropriate log(s) are known from other context may accept a policy with an empty set of logs.", "read, and no checkpoint counts by it: every command knows its log from the policy", func(t *testing.T, _ *specificationStand) {
			p := mustPolicy(t, "witness a %s\nquorum a\n", a.vkey)
			h := headSample{"log.example", 7, sampleHash("root"), ""}
			if _, err := p.Verify(h.note(l.line(h, 0), a.line(h, 1))); errorName(err) != ErrLogUnknown.Error() {
				t.Error(err)
			}
		}},
		{"A policy without witness cosigning can be defined using a `quorum none` line, and in this case, the set of witnesses may be empty.", "", func(t *testing.T, _ *specificationStand) {
			counts(t, "log "+l.vkey+"\nquorum none\n", "", "a", "b", "ab", "c", "ac", "bc", "abc")
			counts(t, head+"quorum none\n", "", "a", "b", "ab", "c", "ac", "bc", "abc")
		}},
		{"The policy says that a checkpoint is considered valid if it is signed by any one of the listed logs, and it is cosigned by witnesses according to the defined quorum rule.", "", func(t *testing.T, _ *specificationStand) {
			p := mustPolicy(t, "log %s\nlog %s\nwitness a %s\nquorum a\n", l.vkey, l2.vkey, a.vkey)
			for _, key := range []noteSigner{l, l2} {
				h := headSample{key.name, 7, sampleHash("root"), ""}
				if _, err := p.Verify(h.note(key.line(h, 0), a.line(h, 1))); err != nil {
					t.Error(err)
				}
				if _, err := p.Verify(h.note(key.line(h, 0))); errorName(err) != "quorum" {
					t.Error(err)
				}
			}
		}},
		{"Each log or witness may also have an associated URL; this is required for operations interacting with the log or witness, but no URLs are required if the policy is used only for offline verification.", "optional; a ledger warns of witnesses that it cannot ask", policies([2]string{head + "quorum a\n"}, [2]string{"log " + l.vkey + " https://l\nwitness a " + a.vkey + " https://a\nquorum a\n"})},
		{"Witnesses and groups share a single namespace.", "", policies([2]string{head + "group a any b\nquorum a\n", "defined on a line before"})},
		{"The special name `none` is predefined; it can be used when defining the quorum, but it is invalid as a group member.", "", policies([2]string{head + "group g any none\nquorum g\n", "none cannot be a member"}, [2]string{"witness none " + a.vkey + "\nquorum none\n", "none cannot be defined"})},
		{"The policy file is line based, where each line is terminated by ASCII newline, and the items on each line are separated by \"whitespace\", which in this specification means sequences of ASCII space and tab characters *only*.", "", policies([2]string{"quorum none", "without a newline"}, [2]string{"quorum \t none\n"}, [2]string{"quorum\u00a0none\n", "unknown keyword"}, [2]string{"quorum\u2003none\n", "unknown keyword"})},
		{"Leading and trailing whitespace is allowed.", "", policies([2]string{" \tquorum none\t \n"})},
		{"Empty lines (whitespace only) and comment lines (lines starting with \"#\", possibly preceded by whitespace) are allowed and ignored.", "", policies([2]string{"\n \t\n# quorum a\n\t #\nquorum none\n"}, [2]string{"quorum none # x\n", "want quorum <name>"})},
		{"Lines defining witnesses and logs can appear in any order; the order does not imply any preference or priority.", "", func(t *testing.T, _ *specificationStand) {
			counts(t, "witness b "+b.vkey+"\nlog "+l.vkey+"\nwitness a "+a.vkey+"\ngroup g all b a\nquorum g\n", "ab", "abc")
		}},
		{"A line defining a group can only reference names of groups and witnesses defined on preceding lines.", "", policies([2]string{head + "group g any h\ngroup h any a\nquorum g\n", "not defined on a line before"})},
		{"Similarly, the quorum line must specify a witness or group defined earlier.", "", policies([2]string{"quorum a\nwitness a " + a.vkey + "\n", "not defined on a line before"})},
		{"Log and witness keys must use a signature type approprate respective function, see [tlog-checkpoint][] and [tlog-cosignature][].", "logs 0x01 and 0x06, witnesses 0x04 and 0x06", policies(
			[2]string{"log " + a.vkey + "\nquorum none\n", "type 0x04 is for witnesses"},
			[2]string{"witness a " + l.vkey + "\nquorum a\n", "type 0x01 states no time"},
			[2]string{"log " + mldsaKey(t, "pq.example").vkey + "\nwitness a " + mldsaKey(t, "pq2.example").vkey + "\nquorum a\n", ""})},
		{"Two vkeys are considered *duplicate* if they wrap the same underlying public key, even if they differ by key name and key id.", "also a log's and a witness's: one party would count as both", policies([2]string{head + "witness d " + renamed + "\nquorum a\n", "is the same key as"})},
		{"When the policy is used for verifying a proof, all of the listed logs are accepted.", "", func(t *testing.T, s *specificationStand) {
			s.policy = mustPolicy(t, "log %s\n%s", l2.vkey, s.policyText)
			s.want(t, "ok", s.proof)
		}},
		{"This name MUST correspond to the log's origin line, representing the identity of the log.", "", func(t *testing.T, _ *specificationStand) {
			p := mustPolicy(t, "log %s\nlog %s\nquorum none\n", l.vkey, l2.vkey)
			// A log's signature under another log's origin says nothing.
			h := headSample{"log2.example", 7, sampleHash("root"), ""}
			if _, err := p.Verify(h.note(l.line(h, 0))); errorName(err) != ErrLogSignature.Error() {
				t.Error(err)
			}
		}},
		{"Duplicate logs, i.e., multiple log lines with the same public key, are not allowed.", "", policies([2]string{"log " + l.vkey + "\nlog " + l.vkey + "\nquorum none\n", "is the same key as"}, [2]string{"log " + l.vkey + "\nlog " + renamedLog + "\nquorum none\n", "is the same key as"})},
		{"The meaning of the URL is application specific, but if a URL is provided, it is recommended that it is the witness' \"submission prefix\" URL, as defined by the [tlog-witness][] protocol.", "it is the submission prefix; the ledger posts to add-checkpoint below it", nil},
		{"Duplicate witnesses, i.e., multiple witness lines with the same public key, are not allowed.", "", policies([2]string{head + "witness d " + b.vkey + "\nquorum a\n", "is the same key as"})},
		{"In the simplest case, the name refers to a witness, and it means that a cosignature from that witness is required for a checkpoint to be considered valid.", "", func(t *testing.T, _ *specificationStand) {
			counts(t, head+"quorum b\n", "b", "ab", "bc", "abc")
		}},
		{"In either case, the name must be properly defined on a line preceding the quorum definition.", "", policies([2]string{head + "quorum g\ngroup g any a\n", "not defined on a line before"})},
		{"A policy file must include exactly one quorum line.", "", policies([2]string{head, "no quorum line"}, [2]string{head + "quorum a\nquorum a\n", "a second quorum line"}, [2]string{"quorum none\nquorum none\n", "a second quorum line"})},
		{"Each of these defines a group, where the group is considered to witness a checkpoint if and only if at least k of its n members have witnessed that checkpoint, each group member being either a witness or another group.", "", func(t *testing.T, _ *specificationStand) {
			counts(t, head+"group g all a b c\nquorum g\n", "abc")
			counts(t, head+"group g any a b c\nquorum g\n", "a", "b", "ab", "c", "ac", "bc", "abc")
			counts(t, head+"group g 2 a b c\nquorum g\n", "ab", "ac", "bc", "abc")
			counts(t, head+"group g any a b\ngroup h all g c\nquorum h\n", "ac", "bc", "abc")
			counts(t, head+"group g all a b\ngroup h 1 g c\nquorum h\n", "ab", "c", "ac", "bc", "abc")
		}},
		{"At least one member must be listed (i.e., n >= 1).", "", policies([2]string{head + "group g any\nquorum g\n", "want group"}, [2]string{head + "group g all\nquorum g\n", "want group"})},
		{"If k is given numerically, it must be written in decimal, and it is required that 1 <= k <= n.", "", policies([2]string{head + "group g 0 a\nquorum g\n", "threshold"}, [2]string{head + "group g 3 a b\nquorum g\n", "threshold"}, [2]string{head + "group g 0x1 a\nquorum g\n", "threshold"}, [2]string{head + "group g 02 a b\nquorum g\n", "threshold"}, [2]string{head + "group g -1 a\nquorum g\n", "threshold"})},
		{"Each defined name can be listed as a group member at most once.", "", policies([2]string{head + "group g 2 a a\nquorum g\n", "is a member of a group already"}, [2]string{head + "group g any a\ngroup h all a b\nquorum h\n", "is a member of a group already"})},
		{"The only allowed control characters are tab and newline, which means that the allowed octet values are 0x09 (tab), 0x0A (newline), 0x20-0x7E, and 0x80-0xFF.", "", func(t *testing.T, _ *specificationStand) {
			for c := range 256 {
				allowed := c == 0x09 || c == 0x0a || c >= 0x20 && c <= 0x7e || c >= 0x80
				_, err := ParsePolicy([]byte("# " + string([]byte{byte(c)}) + "\nquorum none\n"))
				if c != 0x0a && allowed != (err == nil) {
					t.Errorf("0x%02x: %v", c, err)
				}
			}
		}},
		{"Non-ASCII octets may appear in names, URLs and comments.", "any of them, UTF-8 or not", policies([2]string{"# \xff\nwitness \xff\xfe " + a.vkey + " \x80\nquorum \xff\xfe\n"})},
		{"Using UTF-8 for any non-ASCII text is strongly recommended, but with respect to the policy file syntax and semantics, all octets with the high bit set are opaque.", "opaque", policies([2]string{"witness \xc2\xa0 " + a.vkey + "\nquorum \xc2\xa0\n"}, [2]string{"witness \xe2\x80\xa8 " + a.vkey + "\nquorum \xe2\x80\xa8\n"})},
		{"In particular, names must be handled as opaque octet strings, e.g., the name 0x4B (ASCII \"K\") is different from the name 0xE2 0x84 0xAA (a Kelvin sign encoded using UTF-8).", "", policies([2]string{"witness K " + a.vkey + "\nwitness \xe2\x84\xaa " + b.vkey + "\ngroup g 2 K \xe2\x84\xaa\nquorum g\n"}, [2]string{"witness K " + a.vkey + "\nquorum \xe2\x84\xaa\n", "not defined"})},
		{"An implementation of transparency log policy may impose limits on policy complexity.", "256 logs, 256 witnesses, 256 groups, 1 MiB; TestPolicyLimits", nil},
		{"It is strongly recommended that an implementation supports at least up to 32 logs, 32 witnesses, and 32 groups.", "", func(t *testing.T, _ *specificationStand) {
			var text strings.Builder
			for i := range 32 {
				fmt.Fprintf(&text, "log %s\nwitness w%d %s\ngroup g%d any w%d\n", logSigner(fmt.Sprint("log", i)).vkey, i, witnessSigner(fmt.Sprint("w", i)).vkey, i, i)
			}
			if p := mustPolicy(t, "%squorum g31\n", text.String()); len(p.Logs()) != 32 || len(p.Witnesses()) != 32 {
				t.Errorf("%d logs, %d witnesses", len(p.Logs()), len(p.Witnesses()))
			}
		}},
	})
}

// What c2sp.org/tlog-cosignature demands of those who verify; the rest of its
// sentences bind witnesses and are tested with them.
func TestCosignatureVerifierSpecification(t *testing.T) {
	proofOf := func(s *specificationStand, lines ...string) []byte {
		h := headSample{"log.example", 7, s.root(7), ""}
		return (&Proof{Index: 3, Hashes: s.path(7, 3), Checkpoint: h.note(append([]string{s.log.line(h, 0), s.w1.line(h, 1000)}, lines...)...)}).Marshal()
	}
	testClauses(t, []clause{
		{"Clients are configured with tuples of (cosigner name, public key, supported cosignature version) and based on that they can compute the expected name and key ID, and ignore any signature lines that don't match the name and key ID.", "", func(t *testing.T, s *specificationStand) {
			h := headSample{"log.example", 7, s.root(7), ""}
			other := s.w3
			other.name = "w4.example"
			s.want(t, "quorum", proofOf(s, other.line(h, 3000)))
			s.want(t, "ok", proofOf(s, other.raw([]byte("no signature")), s.w3.line(h, 3000)))
		}},
		{"The key ID for Ed25519 cosignatures MUST be computed as", "", func(t *testing.T, s *specificationStand) {
			// A key of another version with the same bytes is another key.
			asLog, _ := encodeVKey("w3.example", 0x01, publicOf(t, s.w3.vkey))
			checkPolicy(t, "witness w "+asLog+"\nquorum w\n", "type 0x01 states no time")
		}},
		{"It MUST NOT exceed 2^63 - 1, and verifiers MAY reject cosignatures with timestamps in the future.", "a time above 2^63-1 does not verify; one in the future does, and moves no bound that a quorum does not state; max-age refuses a quorum's", func(t *testing.T, s *specificationStand) {
			h := headSample{"log.example", 7, s.root(7), ""}
			s.want(t, ErrCosignature.Error(), proofOf(s, s.w3.line(h, math.MaxInt64+1)))
			s.want(t, "ok", proofOf(s, s.w3.line(h, math.MaxInt64)))
		}},
		{"Extension lines MAY be included in the checkpoint by the log, and if present MUST be included in the cosigned message.", "where the log's signature covers them", func(t *testing.T, s *specificationStand) {
			plain, extended := headSample{"log.example", 7, s.root(7), ""}, headSample{"log.example", 7, s.root(7), "extension\n"}
			proof := func(checkpoint []byte) []byte {
				return (&Proof{Index: 3, Hashes: s.path(7, 3), Checkpoint: checkpoint}).Marshal()
			}
			s.want(t, "ok", proof(extended.note(s.log.line(extended, 0), s.w1.line(extended, 1), s.w2.line(extended, 1))))
			s.want(t, ErrCosignature.Error(), proof(extended.note(s.log.line(extended, 0), s.w1.line(extended, 1), s.w2.line(plain, 1))))
		}},
		{"The signed message MUST be a `cosigned_message` structure.", "", func(t *testing.T, s *specificationStand) {
			pq := mldsaKey(t, "pq.example")
			s.policy = mustPolicy(t, "log %s\nwitness pq %s\nquorum pq\n", s.log.vkey, pq.vkey)
			h := headSample{"log.example", 7, s.root(7), ""}
			s.want(t, "ok", proofOf(s, pq.line(h, 1000)))
			for _, other := range []headSample{{"log2.example", 7, h.root, ""}, {"log.example", 6, h.root, ""}, {"log.example", 7, s.root(6), ""}} {
				s.want(t, ErrCosignature.Error(), proofOf(s, pq.line(other, 1000)))
			}
		}},
		{"These two values MAY be zero if the cosigner doesn't make any statement as to the tree being the largest observed at time of signing.", "such a cosignature counts, and bounds no time; TestTimeBounds", func(t *testing.T, s *specificationStand) {
			pq := mldsaKey(t, "pq.example")
			s.policy = mustPolicy(t, "log %s\nwitness pq %s\nquorum pq\n", s.log.vkey, pq.vkey)
			h := headSample{"log.example", 7, s.root(7), ""}
			proof := proofOf(s, pq.line(h, 0))
			s.want(t, "ok", proof)
			p, err := ParseProof(proof)
			if err != nil {
				t.Fatal(err)
			}
			c, err := p.Verify(s.policy, LeafHash(sampleRecord(3)))
			if err != nil || s.policy.NotAfter(c) != 0 || s.policy.NotBefore(c) != 0 {
				t.Errorf("%v: a time is believed", err)
			}
		}},
		{"A given tuple MUST imply a single set of statements.", "", func(t *testing.T, s *specificationStand) {
			checkPolicy(t, s.policyText+"witness again "+s.w1.vkey+"\n", "is the same key as")
		}},
	})
}
