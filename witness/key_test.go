package witness

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
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
	c := testConfig(t, log)
	w := start(t, c)
	theirs, err := torchwood.NewCosignatureVerifier(c.Key.VKey())
	if err != nil {
		t.Fatal(err)
	}
	alsoTheirs, err := f_note.NewVerifierForCosignatureV1(c.Key.VKey())
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
	torch, err := torchwood.NewCosignatureSigner(key.Name(), key.private)
	if err != nil {
		t.Fatal(err)
	}
	if theirs.KeyHash() != key.id() || torch.Verifier().String() != key.VKey() {
		t.Errorf("key ID %08x here, %08x and %q elsewhere", key.id(), theirs.KeyHash(), torch.Verifier())
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
	if at, err := key.cosigned(c); err != nil || time.Since(time.Unix(int64(at), 0)) > time.Minute {
		t.Errorf("their cosignature %x: time %d, %v", signature, at, err)
	}
}

func TestParseKey(t *testing.T) {
	key := testKey(t, "witness.example/w1")
	again, err := ParseKey(key.Secret() + "\n")
	if err != nil || again.Secret() != key.Secret() || again.VKey() != key.VKey() {
		t.Fatalf("%v", err)
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
		"renamed":               strings.Replace(secret, "/w1", "/w2", 1),
		"no name":               strings.Replace(secret, key.Name(), "", 1),
		"cut short":             secret[:len(secret)-4],
		"not base64":            strings.TrimSuffix(secret, "=") + "!",
		"two keys":              secret + "\n" + secret,
		"upper-case key ID":     strings.Replace(secret, fmt.Sprintf("%08x", key.id()), "ABCDEF01", 1),
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
