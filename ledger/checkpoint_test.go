package ledger

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"filippo.io/torchwood"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A headSample is the text that logs and witnesses sign.
type headSample struct {
	origin string
	size   uint64
	root   Hash
	more   string // extension lines
}

func (h headSample) text() string {
	return fmt.Sprintf("%s\n%d\n%s\n%s", h.origin, h.size, base64.StdEncoding.EncodeToString(h.root[:]), h.more)
}

func (h headSample) note(lines ...string) []byte {
	return []byte(h.text() + "\n" + strings.Join(lines, ""))
}

// A noteSigner is a log's or a witness's key.
type noteSigner struct {
	name, vkey string
	id         uint32
	sign       func(h headSample, time uint64) []byte
}

// line signs the head; time is ignored by type 0x01.
func (k noteSigner) line(h headSample, time uint64) string { return k.raw(k.sign(h, time)) }

// raw makes a line by the key of any signature.
func (k noteSigner) raw(sig []byte) string {
	return fmt.Sprintf("— %s %s\n", k.name, base64.StdEncoding.EncodeToString(append(binary.BigEndian.AppendUint32(nil, k.id), sig...)))
}

func encodeVKey(name string, typ byte, public []byte) (string, uint32) {
	key := append([]byte{typ}, public...)
	sum := sha256.Sum256(append([]byte(name+"\n"), key...))
	return fmt.Sprintf("%s+%x+%s", name, sum[:4], base64.StdEncoding.EncodeToString(key)), binary.BigEndian.Uint32(sum[:4])
}

// ed25519Key makes the same key for the same name in each run. It signs with
// crypto/ed25519, from the text of the specifications, and so shares no code
// with what is tested.
func ed25519Key(name string, typ byte) noteSigner {
	seed := sha256.Sum256([]byte(name))
	priv := ed25519.NewKeyFromSeed(seed[:])
	vkey, id := encodeVKey(name, typ, priv.Public().(ed25519.PublicKey))
	return noteSigner{name, vkey, id, func(h headSample, time uint64) []byte {
		if typ == 0x01 {
			return ed25519.Sign(priv, []byte(h.text()))
		}
		sig := ed25519.Sign(priv, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", time, h.text()))
		return append(binary.BigEndian.AppendUint64(nil, time), sig...)
	}}
}

func logSigner(name string) noteSigner     { return ed25519Key(name, 0x01) }
func witnessSigner(name string) noteSigner { return ed25519Key(name, 0x04) }

func mldsaKey(t testing.TB, name string) noteSigner {
	t.Helper()
	skey, vkey, err := fnote.GenerateMLDSAKey(name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := fnote.NewMLDSASigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return noteSigner{name, vkey, s.KeyHash(), func(h headSample, time uint64) []byte {
		sig, err := s.SignSubtree(time, h.origin, 0, h.size, h.root[:])
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}}
}

func mustPolicy(t testing.TB, format string, args ...any) *Policy {
	t.Helper()
	p, err := ParsePolicy(fmt.Appendf(nil, format, args...))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// errorName names the class of an error, so that a table can have it.
func errorName(err error) string {
	var quorum *QuorumError
	for _, e := range []error{ErrCheckpoint, ErrLogUnknown, ErrLogSignature, ErrCosignature, ErrInclusion, ErrConsistency, ErrProof} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &quorum):
		return "quorum"
	}
	return "another error: " + err.Error()
}

func TestVerifyCheckpoint(t *testing.T) {
	l, other, w1, w2 := logSigner("log.example"), logSigner("other.example"), witnessSigner("w1.example"), witnessSigner("w2.example")
	stranger := witnessSigner("stranger.example")
	p := mustPolicy(t, "log %s\nlog %s\nwitness one %s\nwitness two %s\ngroup both all one two\nquorum both\n", l.vkey, other.vkey, w1.vkey, w2.vkey)
	h := headSample{"log.example", 7, sampleHash("root"), ""}
	extended := h
	extended.more = "extension\n"
	foreign := h
	foreign.origin = "other.example"
	unknown := h
	unknown.origin = "unknown.example"

	byLog, byW1, byW2 := l.line(h, 0), w1.line(h, 1000), w2.line(h, 2000)
	flipped := func(k noteSigner, h headSample, at int) string {
		sig := k.sign(h, 1000)
		sig[at] ^= 1
		return k.raw(sig)
	}
	for _, row := range []struct {
		name string
		note []byte
		want string
	}{
		{"signed and cosigned", h.note(byLog, byW1, byW2), "ok"},
		{"lines in another order", h.note(byW2, byLog, byW1), "ok"},
		{"unknown key", h.note(byLog, byW1, byW2, stranger.line(h, 1)), "ok"},
		{"unknown key with rubbish", h.note(byLog, byW1, byW2, stranger.raw([]byte("x"))), "ok"},
		{"known name, unknown key ID", h.note(byLog, byW1, byW2, noteSigner{name: w1.name, id: w1.id ^ 1}.raw([]byte("x"))), "ok"},
		{"known key ID, unknown name", h.note(byLog, byW1, byW2, noteSigner{name: "x", id: w1.id}.raw([]byte("x"))), "ok"},
		{"the same line twice", h.note(byLog, byW1, byW1, byW2), "ok"},
		{"extension lines under Ed25519", extended.note(l.line(extended, 0), w1.line(extended, 1), w2.line(extended, 1)), "ok"},
		{"another log of the policy as well", h.note(byLog, other.line(h, 0), byW1, byW2), "ok"},
		{"log of the policy with its own name", foreign.note(other.line(foreign, 0), w1.line(foreign, 1), w2.line(foreign, 1)), "ok"},

		{"origin not in the policy", unknown.note(l.line(unknown, 0), w1.line(unknown, 1), w2.line(unknown, 1)), ErrLogUnknown.Error()},
		{"log has not signed", h.note(byW1, byW2), ErrLogSignature.Error()},
		{"signed by the other log alone", h.note(other.line(h, 0), byW1, byW2), ErrLogSignature.Error()},
		{"log signature over another text", h.note(l.line(extended, 0), byW1, byW2), ErrLogSignature.Error()},
		{"log signature of another size", h.note(l.raw(make([]byte, 63)), byW1, byW2), ErrLogSignature.Error()},
		{"second line by the log, corrupt", h.note(byLog, byW1, byW2, flipped(l, h, 0)), ErrLogSignature.Error()},
		{"line by another log of the policy, corrupt", h.note(byLog, byW1, byW2, flipped(other, h, 0)), ErrLogSignature.Error()},
		{"cosignature of a log key", h.note(l.raw(w1.sign(h, 1)), byW1, byW2), ErrLogSignature.Error()},

		{"cosignature with another time", h.note(byLog, byW1, flipped(w2, h, 7)), ErrCosignature.Error()},
		{"cosignature over another text", h.note(byLog, w1.line(extended, 1), byW2), ErrCosignature.Error()},
		{"cosignature without time", h.note(byLog, w1.raw(w1.sign(h, 1)[8:]), byW2), ErrCosignature.Error()},
		{"cosignature after 2^63-1", h.note(byLog, byW1, w2.line(h, 1<<63)), ErrCosignature.Error()},
		{"second line by a witness, corrupt", h.note(byLog, byW1, byW2, flipped(w1, h, 70)), ErrCosignature.Error()},
		{"second line by a witness, corrupt and first", h.note(byLog, flipped(w1, h, 70), byW1, byW2), ErrCosignature.Error()},

		{"one cosignature of two", h.note(byLog, byW2), "quorum"},
		{"one cosignature, twice", h.note(byLog, byW2, byW2), "quorum"},
		{"one witness at two times", h.note(byLog, byW2, w2.line(h, 3000)), "quorum"},
		{"none", h.note(byLog), "quorum"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, err := p.Verify(row.note)
			if got := errorName(err); got != row.want {
				t.Fatalf("%s, want %s: %v", got, row.want, err)
			}
			if err == nil && (c.Size != 7 || c.Root != h.root || !bytes.Equal(c.Raw, row.note) || len(c.Cosignatures) < 2) {
				t.Errorf("read as %+v", c)
			}
			// Without the quorum that one class is accepted, and no other.
			want := row.want
			if want == "quorum" {
				want = "ok"
			}
			c, err = p.VerifyUnwitnessed(row.note)
			if got := errorName(err); got != want {
				t.Errorf("without the quorum: %s, want %s: %v", got, want, err)
			}
			if err == nil && (c.Size != 7 || c.Root != h.root || !bytes.Equal(c.Raw, row.note)) {
				t.Errorf("without the quorum read as %+v", c)
			}
		})
	}
}

func TestCheckpointFields(t *testing.T) {
	l, w := logSigner("log.example"), witnessSigner("key.of.w.example")
	p := mustPolicy(t, "log %s\nwitness w %s https://w.example\nquorum w\n", l.vkey, w.vkey)
	h := headSample{"log.example", 1<<63 - 1, sampleHash("root"), "an extension\n"}
	c, err := p.Verify(h.note(l.line(h, 0), w.line(h, 1700000000), witnessSigner("x").line(h, 5), w.line(h, 1600000000)))
	if err != nil {
		t.Fatal(err)
	}
	if c.Origin != h.origin || c.Size != h.size || c.Root != h.root || c.LogKey != l.vkey || c.Unknown != 1 {
		t.Errorf("read as %+v", c)
	}
	want := Cosignature{Label: "w", Name: "key.of.w.example", VKey: w.vkey, Time: 1700000000, key: noteKey{w.name, w.id}}
	if len(c.Cosignatures) != 2 || c.Cosignatures[0] != want || c.Cosignatures[1].Time != 1600000000 {
		t.Errorf("cosignatures %+v, want %+v and the same witness at 1600000000", c.Cosignatures, want)
	}
}

func TestQuorumErrorUsesThePolicysNames(t *testing.T) {
	l, a, b, c := logSigner("log.example"), witnessSigner("key-a"), witnessSigner("key-b"), witnessSigner("key-c")
	p := mustPolicy(t, "log %s\nwitness A %s\nwitness B %s\nwitness C %s\ngroup g 1 A B\ngroup h all g C\nquorum h\n", l.vkey, a.vkey, b.vkey, c.vkey)
	h := headSample{"log.example", 7, sampleHash("root"), ""}
	_, err := p.Verify(h.note(l.line(h, 0), b.line(h, 1), b.line(h, 2)))
	var quorum *QuorumError
	if !errors.As(err, &quorum) || quorum.Need != "2 of (1 of (A, B), C)" || !slices.Equal(quorum.Have, []string{"B"}) {
		t.Errorf("%v", err)
	}
}

func TestCheckpointMalformed(t *testing.T) {
	l := logSigner("log.example")
	p := mustPolicy(t, "log %s\nquorum none\n", l.vkey)
	h := headSample{"log.example", 0, sha256.Sum256(nil), ""}
	line := l.line(h, 0)
	root := base64.StdEncoding.EncodeToString(h.root[:])
	good := string(h.note(line))
	if _, err := p.Verify([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, note string }{
		{"empty", ""},
		{"no signature", h.text() + "\n"},
		{"no empty line", h.text() + line},
		{"no newline at the end", strings.TrimSuffix(good, "\n")},
		{"empty line at the end", good + "\n"},
		{"text after the signatures", good + "text\n"},
		{"carriage returns", strings.ReplaceAll(good, "\n", "\r\n")},
		{"tab", strings.Replace(good, "log", "log\t", 1)},
		{"NUL", strings.Replace(good, "log", "log\x00", 1)},
		{"DEL", strings.Replace(good, "log", "log\x7f", 1)},
		{"not UTF-8", strings.Replace(good, "log", "log\xff", 1)},
		{"two lines", "log.example\n0\n\n" + line},
		{"empty origin", "\n0\n" + root + "\n\n" + line},
		{"empty line before the origin", "\n" + good},
		{"empty line among the extensions", h.text() + "a\n\nb\n\n" + line},
		{"empty extension line", h.text() + "\n\n" + line},
		{"size with leading zero", "log.example\n00\n" + root + "\n\n" + line},
		{"size with sign", "log.example\n+0\n" + root + "\n\n" + line},
		{"size 2^63", "log.example\n9223372036854775808\n" + root + "\n\n" + line},
		{"size 2^64", "log.example\n18446744073709551616\n" + root + "\n\n" + line},
		{"no size", "log.example\n\n" + root + "\n\n" + line},
		{"size in hex", "log.example\n0x1\n" + root + "\n\n" + line},
		{"root of 31 bytes", "log.example\n1\n" + base64.StdEncoding.EncodeToString(h.root[:31]) + "\n\n" + line},
		{"root of 33 bytes", "log.example\n1\n" + base64.StdEncoding.EncodeToString(append(h.root[:], 0)) + "\n\n" + line},
		{"root without padding", "log.example\n1\n" + strings.TrimRight(root, "=") + "\n\n" + line},
		{"root with free bits set", "log.example\n1\n" + strings.Replace(root, "U=", "V=", 1) + "\n\n" + line},
		{"root for URLs", "log.example\n1\n" + strings.NewReplacer("+", "-", "/", "_").Replace(root) + "\n\n" + line},
		{"size 0, another root", string(headSample{"log.example", 0, sampleHash("x"), ""}.note(line))},
		{"hyphen for the dash", strings.Replace(good, "—", "-", 1)},
		{"no space after the dash", strings.Replace(good, "— ", "—", 1)},
		{"no key name", strings.Replace(good, "— log.example", "— ", 1)},
		{"plus in a key name", strings.Replace(good, "— log.example", "— log+example", 1)},
		{"Unicode space in a key name", strings.Replace(good, "— log.example", "— log\u00a0example", 1)},
		{"two spaces", strings.Replace(good, "— log.example ", "— log.example  ", 1)},
		{"signature with free bits set", strings.TrimSuffix(good, "=\n") + "x=\n"},
		{"key ID alone", string(h.note(l.raw(nil)))},
		{"101 signatures", string(h.note(slices.Repeat([]string{line}, 101)...))},
		{"over the limit of bytes", string(headSample{"log.example", 0, h.root, strings.Repeat("x", MaxCheckpoint) + "\n"}.note(line))},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.note == good {
				t.Fatal("the row alters nothing")
			}
			if _, err := p.Verify([]byte(row.note)); !errors.Is(err, ErrCheckpoint) {
				t.Errorf("Verify: %v, want %v", err, ErrCheckpoint)
			}
			if _, err := ParseCheckpoint([]byte(row.note)); !errors.Is(err, ErrCheckpoint) {
				t.Errorf("ParseCheckpoint: %v, want %v", err, ErrCheckpoint)
			}
		})
	}
	t.Run("100 signatures", func(t *testing.T) {
		if _, err := p.Verify(h.note(slices.Repeat([]string{line}, 100)...)); err != nil {
			t.Error(err)
		}
	})
	t.Run("at the limit of bytes", func(t *testing.T) {
		h := headSample{"log.example", 0, h.root, ""}
		h.more = strings.Repeat("x", MaxCheckpoint-len(h.note(line))-1) + "\n"
		if _, err := p.Verify(h.note(l.line(h, 0))); err != nil {
			t.Error(err)
		}
	})
}

func TestVerifyConsistency(t *testing.T) {
	tree := newSampleTree(t, 9)
	at := func(size int64) *Checkpoint {
		return &Checkpoint{Origin: "log.example", Size: uint64(size), Root: tree.root(size)}
	}
	path := func(n, m int64) []Hash {
		p, err := tlog.ProveTree(n, m, tree.hashes())
		if err != nil {
			t.Fatal(err)
		}
		var list []Hash
		for _, h := range p {
			list = append(list, Hash(h))
		}
		return list
	}
	for m := int64(1); m <= 9; m++ {
		for n := int64(1); n <= m; n++ {
			// RFC 6962 has no proof where nothing was added.
			var p []Hash
			if n < m {
				p = path(m, n)
			}
			if err := VerifyConsistency(at(n), at(m), p); err != nil {
				t.Errorf("%d to %d: %v", n, m, err)
			}
			forked := at(m)
			forked.Root[0] ^= 1
			if err := VerifyConsistency(at(n), forked, p); !errors.Is(err, ErrConsistency) {
				t.Errorf("%d to a forked %d: %v", n, m, err)
			}
		}
	}
	empty := &Checkpoint{Origin: "log.example", Root: sha256.Sum256(nil)}
	if err := VerifyConsistency(empty, at(3), nil); err != nil {
		t.Errorf("from the empty tree: %v", err)
	}
	foreign := at(9)
	foreign.Origin = "other.example"
	for name, err := range map[string]error{
		"shrunk":                          VerifyConsistency(at(9), at(3), path(9, 3)),
		"no proof":                        VerifyConsistency(at(3), at(9), nil),
		"a hash too many":                 VerifyConsistency(at(3), at(9), append(path(9, 3), Hash{})),
		"a hash too few":                  VerifyConsistency(at(3), at(9), path(9, 3)[1:]),
		"proof of other sizes":            VerifyConsistency(at(4), at(9), path(9, 3)),
		"another log":                     VerifyConsistency(at(3), foreign, path(9, 3)),
		"proof though nothing was added":  VerifyConsistency(at(3), at(3), []Hash{{}}),
		"proof though nothing was in":     VerifyConsistency(empty, at(3), []Hash{{}}),
		"another tree with the same size": VerifyConsistency(at(3), &Checkpoint{Origin: "log.example", Size: 3}, nil),
	} {
		if !errors.Is(err, ErrConsistency) {
			t.Errorf("%s: %v, want %v", name, err, ErrConsistency)
		}
	}
}

// What parses has one form, and torchwood reads the same values from it.
func FuzzCheckpoint(f *testing.F) {
	l, w := logSigner("log.example"), witnessSigner("w.example")
	h := headSample{"log.example", 7, sampleHash("root"), "extension\nanother\n"}
	p := mustPolicy(f, "log %s\nwitness w %s\nquorum w\n", l.vkey, w.vkey)
	f.Add(h.note(l.line(h, 0), w.line(h, 1700000000), witnessSigner("x").line(h, 1)))
	f.Add(headSample{"log.example", 0, sha256.Sum256(nil), ""}.note(l.raw(make([]byte, 64))))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := parseCheckpointNote(b)
		if err != nil {
			if !errors.Is(err, ErrCheckpoint) {
				t.Errorf("error %v is not %v", err, ErrCheckpoint)
			}
			return
		}
		theirs, err := torchwood.ParseCheckpoint(string(n.text))
		if err != nil || theirs.Origin != n.Origin || uint64(theirs.N) != n.Size || Hash(theirs.Hash) != n.Root || theirs.String() != string(n.text) {
			t.Errorf("torchwood reads %+v, %v; we read %+v", theirs, err, n.Checkpoint)
		}
		again := append(bytes.Clone(n.text), '\n')
		for _, line := range n.lines {
			again = append(again, noteSigner{name: line.key.name, id: line.key.id}.raw(line.sig)...)
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%q re-encodes to %q", b, again)
		}
		// The text of the seed is the only one that the keys have signed.
		if c, err := p.Verify(b); err == nil && (c.Origin != h.origin || c.Size != h.size || c.Root != h.root) {
			t.Errorf("accepted %q", b)
		}
	})
}
