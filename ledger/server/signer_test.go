package server

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

func TestParseSigner(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := note.NewEd25519VerifierKey("log.example", public)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := cryptoutils.MarshalPrivateKeyToPEM(private)
	if err != nil {
		t.Fatal(err)
	}
	der, err := cryptoutils.MarshalPrivateKeyToEncryptedDER(private, func(bool) ([]byte, error) { return []byte("secret"), nil })
	if err != nil {
		t.Fatal(err)
	}
	encrypted := cryptoutils.PEMEncode(cryptoutils.EncryptedSigstorePrivateKeyPEMType, der)
	password := func(p string) func() ([]byte, error) { return func() ([]byte, error) { return []byte(p), nil } }

	for name, s := range map[string]func() (note.Signer, error){
		"plain":     func() (note.Signer, error) { return ParseSigner("log.example", plain, nil) },
		"encrypted": func() (note.Signer, error) { return ParseSigner("log.example", encrypted, password("secret")) },
	} {
		s, err := s()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		signed, err := note.Sign(&note.Note{Text: "text\n"}, s)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := note.Open(signed, note.VerifierList(v)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}

	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecPEM, err := cryptoutils.MarshalPrivateKeyToPEM(ec)
	if err != nil {
		t.Fatal(err)
	}
	skey, notePublic, err := note.GenerateKey(rand.Reader, "log.example")
	if err != nil {
		t.Fatal(err)
	}
	pqKey, pqVKey, err := fnote.GenerateMLDSAKey("log.example")
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{skey: notePublic, pqKey: pqVKey} {
		if s, err := ParseSigner("", []byte(key+"\n"), nil); err != nil || s.Name() != "log.example" || s.VerifierKey() != want {
			t.Fatalf("note encoding: %v", err)
		}
	}
	// The key ID is the fourth field.
	otherID := strings.Replace(pqKey, strings.Split(pqKey, "+")[3], "00000000", 1)
	for name, test := range map[string]struct {
		name, key string
		password  func() ([]byte, error)
		want      string
	}{
		"wrong password": {"log.example", string(encrypted), password("other"), "private key of log.example"},
		"no password":    {"log.example", string(encrypted), nil, "private key of log.example"},
		"no name":        {"", string(plain), nil, "no name"},
		"bad name":       {"log example", string(plain), nil, "malformed"},
		"ECDSA":          {"log.example", string(ecPEM), nil, "want Ed25519"},
		"other name":     {"another.example", skey, nil, "want another.example's"},
		"damaged":        {"", skey[:len(skey)-4], nil, "note encoding"},
		"other key ID":   {"", otherID, nil, "its key ID is"},
		"witness's type": {"", strings.Join(append(strings.SplitN(skey, "+", 5)[:4], base64.StdEncoding.EncodeToString(append([]byte{4}, make([]byte, 32)...))), "+"), nil, "key type 0x04"},
		"no fields":      {"", "PRIVATE+KEY+x", nil, "malformed"},
		"nothing":        {"log.example", "", nil, "PEM"},
	} {
		_, err := ParseSigner(test.name, []byte(test.key), test.password)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "PRIVATE+KEY") {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
}

// faulty signs wrongly, or not.
type faulty struct {
	signature.Signer
	err error
}

func (f faulty) SignMessage(io.Reader, ...signature.SignOption) ([]byte, error) {
	return make([]byte, ed25519.SignatureSize), f.err
}

func TestFaultySignerSignsNothing(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good, err := signature.LoadSigner(private, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []faulty{{good, nil}, {good, errors.New("KMS is away")}} {
		s, err := NewNoteSigner("log.example", f)
		if err != nil {
			t.Fatal(err)
		}
		if sig, err := s.Sign([]byte("text\n")); err == nil {
			t.Errorf("signed: %x", sig)
		}
	}
}

func TestParsePinned(t *testing.T) {
	name := "000b" + strings.Repeat("ab", 32)
	m, err := ParsePinned([]byte("# hosts\n\nweb-1.example " + name + "\n"))
	if err != nil || len(m) != 1 {
		t.Fatalf("%v, %v", m, err)
	}
	for _, bad := range []string{"web\n", "web  " + name + "\n", "Web " + name + "\n", "web " + name[1:] + "\n", "a " + name + "\nb " + name + "\n", "web " + name + " \n"} {
		if m, err := ParsePinned([]byte(bad)); err == nil {
			t.Errorf("%q: %v", bad, m)
		}
	}
}
