package witness

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	f_note "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// A cosignature is verified by two implementations that share no code with this one.
func TestOthersVerifyTheCosignature(t *testing.T) {
	log := newTestLog(t, testOrigin)
	c := twoKeys(t, log)
	w := start(t, c)
	post, err := f_note.NewMLDSAVerifier(c.Keys[1].VKey())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := torchwood.NewCosignatureVerifier(c.Keys[0].VKey())
	if err != nil {
		t.Fatal(err)
	}
	alsoTheirs, err := f_note.NewVerifierForCosignatureV1(c.Keys[0].VKey())
	if err != nil {
		t.Fatal(err)
	}
	logKey, err := note.NewVerifier(log.vkey)
	if err != nil {
		t.Fatal(err)
	}
	old := uint64(0)
	for _, size := range []uint64{0, 7, 7, 12} {
		checkpoint := sign(t, log.text(log.tree, size, "extension\n"), log.signer)
		request := fmt.Sprintf("old %d\n%s\n%s", old, proofLines(t, log.tree, old, size), checkpoint)
		cosigned := checkpoint + want(t, w, 200, request)
		old = size
		for _, verifier := range []note.Verifier{theirs, alsoTheirs} {
			n, err := note.Open([]byte(cosigned), note.VerifierList(logKey, verifier))
			if err != nil || len(n.Sigs) != 2 {
				t.Fatalf("size %d: %v", size, err)
			}
			if got, err := torchwood.CosignatureTimestamp(n.Sigs[1]); err != nil || got != testTime.Unix() {
				t.Errorf("size %d: timestamp %d, %v", size, got, err)
			}
		}
		if n, err := note.Open([]byte(cosigned), note.VerifierList(logKey, post)); err != nil || len(n.Sigs) != 2 {
			t.Errorf("size %d: ML-DSA-44: %v", size, err)
		} else if at, err := f_note.CoSigV1Timestamp(n.Sigs[1]); err != nil || !at.Equal(testTime) {
			t.Errorf("size %d: ML-DSA-44: timestamp %v, %v", size, at, err)
		}
		policy := torchwood.ThresholdPolicy(3, torchwood.OriginPolicy(testOrigin), torchwood.SingleVerifierPolicy(logKey), torchwood.SingleVerifierPolicy(theirs))
		if _, _, err := torchwood.VerifyCheckpoint([]byte(cosigned), policy); err != nil {
			t.Errorf("torchwood on size %d: %v", size, err)
		}
	}
}

// The same key in another implementation makes the same signature.
func TestKeyIsReadByOthers(t *testing.T) {
	key := testKey(t, "witness.example/w1")
	theirs, err := f_note.NewSignerForCosignatureV1(key.Secret())
	if err != nil {
		t.Fatal(err)
	}
	torch, err := torchwood.NewCosignatureSigner(key.Name(), key.signer)
	if err != nil {
		t.Fatal(err)
	}
	if theirs.KeyHash() != key.keyID || torch.Verifier().String() != key.VKey() {
		t.Errorf("key ID %08x here, %08x and %q elsewhere", key.keyID, theirs.KeyHash(), torch.Verifier())
	}
	text := "log.example/a\n1\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n"
	signature, err := theirs.Sign([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	c, err := parseCheckpoint(text + "\n" + lastLine(sign(t, text, theirs)))
	if err != nil {
		t.Fatal(err)
	}
	if at, found, err := key.cosigned(c); err != nil || !found || time.Since(time.Unix(int64(at), 0)) > time.Minute {
		t.Errorf("their cosignature %x: time %d, %v", signature, at, err)
	}
}

func TestParseKey(t *testing.T) {
	key := testKey(t, "witness.example/w1")
	again, err := ParseKey(key.Secret() + "\n")
	if err != nil || again.Secret() != key.Secret() || again.VKey() != key.VKey() {
		t.Fatalf("%v", err)
	}
	post, err := GenerateMLDSAKey(rand.Reader, "witness.example/pq")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ParseKey(post.Secret()); err != nil || again.VKey() != post.VKey() {
		t.Errorf("ML-DSA-44: %v", err)
	}
	ordinary, _, err := note.GenerateKey(rand.Reader, "witness.example/w1")
	if err != nil {
		t.Fatal(err)
	}
	secret := key.Secret()
	encoded := strings.SplitN(secret, "+", 5)[4] // base64 may contain a plus
	for name, bad := range map[string]string{
		"empty":                 "",
		"a vkey":                key.VKey(),
		"an ordinary note key":  ordinary,
		"ML-DSA-44, renamed":    strings.Replace(post.Secret(), "/pq", "/pr", 1),
		"renamed":               strings.Replace(secret, "/w1", "/w2", 1),
		"no name":               strings.Replace(secret, key.Name(), "", 1),
		"cut short":             secret[:len(secret)-4],
		"not base64":            strings.TrimSuffix(secret, "=") + "!",
		"two keys":              secret + "\n" + secret,
		"upper-case key ID":     strings.Replace(secret, fmt.Sprintf("%08x", key.keyID), "ABCDEF01", 1),
		"only the PRIVATE part": "PRIVATE+KEY+",
	} {
		_, err := ParseKey(bad)
		if err == nil {
			t.Errorf("%s: parsed", name)
		} else if strings.Contains(err.Error(), encoded[:10]) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
	if s := fmt.Sprintf("%v %+v %s", key, key, key); strings.Contains(s, encoded) || strings.Contains(s, "PRIVATE") {
		t.Errorf("formatting a key shows it: %s", s)
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"", "a b", "a+b", "a\u00a0b", "a\nb", "a\x00b", "a\x1fb", "a\xff"} {
		if _, err := GenerateKey(rand.Reader, name); err == nil {
			t.Errorf("name %q accepted", name)
		}
	}
}

// A signer that is held elsewhere is believed only as far as what it makes
// verifies.
func TestSignerHeldElsewhere(t *testing.T) {
	seed := make([]byte, ed25519.SeedSize)
	private := ed25519.NewKeyFromSeed(seed)
	log := newTestLog(t, testOrigin)
	for _, test := range []struct {
		name   string
		signer crypto.Signer
		status int
	}{
		{"that signs", private, 200},
		{"that signs something else", faultySigner{private}, 503},
	} {
		key, err := NewKey("witness.example/agent", test.signer)
		if err != nil {
			t.Fatal(err)
		}
		if key.Secret() != "" {
			t.Error("a secret of a key that is held elsewhere")
		}
		c := testConfig(t, log)
		c.Keys = []*Key{key}
		want(t, start(t, c), test.status, log.body(t, 0, 7))
	}
}

// faultySigner signs not what it is given.
type faultySigner struct{ ed25519.PrivateKey }

func (s faultySigner) Sign(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.PrivateKey.Sign(rand, append(message, '.'), opts)
}

func TestKeysOfOneWitness(t *testing.T) {
	log := newTestLog(t, testOrigin)
	c := testConfig(t, log)
	renamed, err := NewKey("witness.example/w2", c.Keys[0].signer)
	if err != nil {
		t.Fatal(err)
	}
	for name, keys := range map[string][]*Key{
		"one key under two names": {c.Keys[0], renamed},
		"one key twice":           {c.Keys[0], c.Keys[0]},
		"none":                    nil,
	} {
		c.Keys = keys
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	long := twoKeys(t, newTestLog(t, strings.Repeat("o", maxSignedOrigin+1)))
	if _, err := New(long); err == nil || !strings.Contains(err.Error(), "room for an origin") {
		t.Errorf("an origin that ML-DSA-44 has no room for: %v", err)
	}
	// It may not be the witness's own key that the log signs with.
	own := twoKeys(t)
	l, err := ParseLog(own.Keys[1].VKey())
	if err != nil {
		t.Fatal(err)
	}
	own.Logs = []Log{l}
	if _, err := New(own); err == nil || !strings.Contains(err.Error(), "the witness's own") {
		t.Errorf("a log with the witness's key: %v", err)
	}
}
