package quote

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// activate does TPM2_ActivateCredential with what MakeCredential gave.
func activate(t *testing.T, ek, ak *loaded, idObject, encryptedSecret []byte) ([]byte, error) {
	t.Helper()
	id, err := tpm2.Unmarshal[tpm2.TPM2BIDObject](idObject)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := tpm2.Unmarshal[tpm2.TPM2BEncryptedSecret](encryptedSecret)
	if err != nil {
		t.Fatal(err)
	}
	// The policy of the TCG's EK templates.
	policy := func(tpm transport.TPM, session tpm2.TPMISHPolicy, _ tpm2.TPM2BNonce) error {
		_, err := tpm2.PolicySecret{
			AuthHandle:    tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
			PolicySession: session,
		}.Execute(tpm)
		return err
	}
	r, err := tpm2.ActivateCredential{
		ActivateHandle: tpm2.AuthHandle{Handle: ak.handle, Name: ak.name, Auth: tpm2.PasswordAuth(nil)},
		KeyHandle:      tpm2.AuthHandle{Handle: ek.handle, Name: ek.name, Auth: tpm2.Policy(tpm2.TPMAlgSHA256, 16, policy)},
		CredentialBlob: *id,
		Secret:         *seed,
	}.Execute(ek.tpm)
	if err != nil {
		return nil, err
	}
	return r.CertInfo.Buffer, nil
}

// TestCredential: what MakeCredential wraps, the TPM with this EK and this AK
// opens, and no other.
func TestCredential(t *testing.T) {
	tpm := newTPM(t)
	for name, template := range map[string]tpm2.TPMTPublic{"RSA": tpm2.RSAEKTemplate, "ECC": tpm2.ECCEKTemplate} {
		t.Run(name, func(t *testing.T) {
			inTPM := tpm.create(t, Endorsement, tpm2.Marshal(template))
			defer inTPM.flush()
			ak := tpm.create(t, Endorsement, eccTemplate(algSHA256, algSHA256, curveP256))
			defer ak.flush()
			ek, err := ParseEK(inTPM.area)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(ek.Name, inTPM.name.Buffer) {
				t.Errorf("EK name %x, the TPM says %x", ek.Name, inTPM.name.Buffer)
			}
			secret := make([]byte, 32)
			rand.Read(secret)
			// OneByteReader: randomness that comes in pieces is enough.
			id, seed, err := MakeCredential(iotest.OneByteReader(rand.Reader), ek, ak.name.Buffer, secret)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := activate(t, inTPM, ak, id, seed); err != nil || !bytes.Equal(got, secret) {
				t.Errorf("activated to %x, %v, want %x", got, err, secret)
			}
			altered := bytes.Clone(id)
			altered[len(altered)-1] ^= 1
			if _, err := activate(t, inTPM, ak, altered, seed); !errors.Is(err, tpm2.TPMRCIntegrity) {
				t.Errorf("credential altered: %v", err)
			}

			other := bytes.Clone(ak.name.Buffer)
			other[33] ^= 1
			id, seed, err = MakeCredential(rand.Reader, ek, other, secret)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := activate(t, inTPM, ak, id, seed); !errors.Is(err, tpm2.TPMRCIntegrity) {
				t.Errorf("made for another AK: %v", err)
			}

			otherEK, err := ParseEK(readFile(t, recordings+"big-7.3/identity/ek.tpmt_public"))
			if err != nil {
				t.Fatal(err)
			}
			id, seed, err = MakeCredential(rand.Reader, otherEK, ak.name.Buffer, secret)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := activate(t, inTPM, ak, id, seed); err == nil {
				t.Errorf("made for another EK: activated to %x", got)
			}
		})
	}
}

func TestCredentialRefused(t *testing.T) {
	ek, err := ParseEK(readFile(t, recordings+"big-7.3/identity/ek.tpmt_public"))
	if err != nil {
		t.Fatal(err)
	}
	name := mustAK(t, recordedQuotes(t)[0].ak).Name
	for what, f := range map[string]func() error{
		"no secret": func() error { return errorOf(MakeCredential(rand.Reader, ek, name, nil)) },
		"33 bytes":  func() error { return errorOf(MakeCredential(rand.Reader, ek, name, make([]byte, 33))) },
		"no name":   func() error { return errorOf(MakeCredential(rand.Reader, ek, nil, make([]byte, 32))) },
		"a handle":  func() error { return errorOf(MakeCredential(rand.Reader, ek, name[:4], make([]byte, 32))) },
		"name cut":  func() error { return errorOf(MakeCredential(rand.Reader, ek, name[:33], make([]byte, 32))) },
		"no randomness": func() error {
			return errorOf(MakeCredential(io.LimitReader(rand.Reader, 9), ek, name, make([]byte, 32)))
		},
	} {
		if f() == nil {
			t.Errorf("%s: a credential is made", what)
		}
	}
}

func errorOf(_, _ []byte, err error) error { return err }
