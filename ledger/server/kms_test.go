package server

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/fake"
	"golang.org/x/mod/sumdb/note"
)

// TestOpenKMS opens keys of sigstore's fake KMS.
func TestOpenKMS(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	has := func(key crypto.PrivateKey) context.Context {
		return context.WithValue(t.Context(), fake.KmsCtxKey{}, key)
	}

	s, err := OpenKMS(has(private), "log.example", "fakekms://key")
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(s.VerifierKey())
	if err != nil {
		t.Fatal(err)
	}
	signed, err := note.Sign(&note.Note{Text: "text\n"}, s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note.Open(signed, note.VerifierList(v)); err != nil {
		t.Fatal(err)
	}

	var kind *KeyTypeError
	if _, err := OpenKMS(has(p256), "log.example", "fakekms://key"); !errors.As(err, &kind) || !strings.Contains(err.Error(), "type ECDSA, want Ed25519") {
		t.Errorf("an ECDSA key: %v", err)
	}
	if _, err := OpenKMS(has(private), "", "fakekms://key"); err == nil || !strings.Contains(err.Error(), "NAME=fakekms://key") {
		t.Errorf("no name: %v", err)
	}
	if _, err := OpenKMS(has(private), "log example", "fakekms://key"); err == nil {
		t.Error("a name that no note can have")
	}
	// Clouds are for the programs that link them.
	for _, uri := range []string{"awskms:///alias/key", "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k", "azurekms://vault.example/key", "hashivault://key"} {
		if _, err := OpenKMS(t.Context(), "log.example", uri); !errors.Is(err, ErrNoKMS) {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

// TestKMSThatIsSilent: a log waits for its KMS for a time, and no longer.
func TestKMSThatIsSilent(t *testing.T) {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	let := make(chan struct{})
	defer close(let)
	s, err := NewNoteSigner("log.example", &kmsSigner{silent{let: let}, public, 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sign([]byte("text\n")); err == nil || !strings.Contains(err.Error(), "no answer in 20ms") {
		t.Error(err)
	}
}

// silent answers nothing until it is let.
type silent struct {
	signature.Signer
	let chan struct{}
}

func (s silent) SignMessage(io.Reader, ...signature.SignOption) ([]byte, error) {
	<-s.let
	return nil, errors.New("too late")
}

func TestIsKMS(t *testing.T) {
	for key, want := range map[string]bool{
		"hashivault://key": true, "awskms:///alias/key": true, "x://y=z": true,
		"key": false, "./a://b": false, "log.example=hashivault://key": false, "://key": false, "hashivault://": false, "/var/key": false,
	} {
		if IsKMS(key) != want {
			t.Errorf("%s: %v", key, !want)
		}
	}
}
