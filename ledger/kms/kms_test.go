package kms

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/fake"
)

// A key of sigstore's fake KMS signs messages, as crypto.Signer too.
func TestOpen(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := Open(context.WithValue(t.Context(), fake.KmsCtxKey{}, private), "fakekms://key")
	if err != nil {
		t.Fatal(err)
	}
	sig, err := k.Sign(nil, []byte("message"), nil)
	if err != nil || !ed25519.Verify(public, []byte("message"), sig) || !public.Equal(k.Public()) {
		t.Errorf("%x, %v", sig, err)
	}
	if _, err := Open(t.Context(), "hashivault://key"); !errors.Is(err, ErrNone) {
		t.Errorf("a cloud that is not linked: %v", err)
	}
}

// Who needs a key waits for its KMS for a time, and no longer.
func TestSilent(t *testing.T) {
	let := make(chan struct{})
	defer close(let)
	k := &Key{silent{let: let}, ed25519.PublicKey(nil), 20 * time.Millisecond}
	if _, err := k.Sign(nil, []byte("text\n"), nil); err == nil || !strings.Contains(err.Error(), "no answer in 20ms") {
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

func TestIs(t *testing.T) {
	for key, want := range map[string]bool{
		"hashivault://key": true, "awskms:///alias/key": true, "x://y=z": true,
		"key": false, "./a://b": false, "log.example=hashivault://key": false, "://key": false, "hashivault://": false, "/var/key": false,
	} {
		if Is(key) != want {
			t.Errorf("%s: %v", key, !want)
		}
	}
}
