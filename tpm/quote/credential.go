package quote

import (
	"fmt"
	"io"

	"github.com/google/go-tpm/tpm2"
)

// MakeCredential does what TPM2_MakeCredential does, without a TPM: it wraps a
// secret so that only a TPM which holds both the EK and an object of the given
// name can open it, with TPM2_ActivateCredential (TPM 2.0 Part 1, section 24).
// It returns a TPM2B_ID_OBJECT and a TPM2B_ENCRYPTED_SECRET.
//
// The secret has at most the size of the digest of the EK's nameAlg; one of 32
// bytes fits every EK. crypto/rsa and crypto/ecdh may take from the system's
// randomness what they need beside rand.
func MakeCredential(rand io.Reader, ek *EK, akName, secret []byte) (idObject, encryptedSecret []byte, err error) {
	if max := hashOf(ek.nameAlg).Size(); len(secret) == 0 || len(secret) > max {
		return nil, nil, fmt.Errorf("make credential: secret of %d bytes, want 1 to %d", len(secret), max)
	}
	if !isName(akName) {
		return nil, nil, fmt.Errorf("make credential: %x is not an object's name: want algorithm and digest", akName)
	}
	// go-tpm's decoder is lax, but ParseEK has been over these bytes.
	area, err := tpm2.Unmarshal[tpm2.TPMTPublic](ek.Raw)
	if err != nil {
		return nil, nil, fmt.Errorf("make credential: %w", err)
	}
	to, err := tpm2.ImportEncapsulationKey(area)
	if err != nil {
		return nil, nil, fmt.Errorf("make credential: %w", err)
	}
	id, seed, err := tpm2.CreateCredential(fullReader{rand}, to, akName, secret)
	if err != nil {
		return nil, nil, fmt.Errorf("make credential: %w", err)
	}
	return tpm2.Marshal(tpm2.TPM2BIDObject{Buffer: id}), tpm2.Marshal(tpm2.TPM2BEncryptedSecret{Buffer: seed}), nil
}

// A fullReader fills the buffer or fails. go-tpm reads once, and takes a short
// read for the end of randomness.
type fullReader struct{ r io.Reader }

func (f fullReader) Read(b []byte) (int, error) { return io.ReadFull(f.r, b) }
