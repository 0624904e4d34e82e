package server

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/signature/kms/fake"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger/kms"
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
		if _, err := OpenKMS(t.Context(), "log.example", uri); !errors.Is(err, kms.ErrNone) {
			t.Errorf("%s: %v", uri, err)
		}
	}
}
