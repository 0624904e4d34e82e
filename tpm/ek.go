package tpm

import (
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/imaledger/imaledger/tpm/quote"
)

// NV indexes of EK certificates (TCG EK Credential Profile, section 2.2.1.4).
const (
	nvRSACertificate = tpm2.TPMHandle(0x01c00002)
	nvECCCertificate = tpm2.TPMHandle(0x01c0000a)
)

// maxNVRead is what any TPM gives in one TPM2_NV_Read, in bytes.
const maxNVRead = 512

// EK returns the endorsement key's TPMT_PUBLIC: RSA 2048, or ECC P-256 where the
// TPM has a certificate for that one only.
func (d *Device) EK() ([]byte, error) {
	return d.withEK(func(_ tpm2.NamedHandle, public []byte) error { return nil })
}

// certificateIndex returns the NV index of the EK's certificate, 0 for none. That an
// index is not there is told from an error that passes, which must not give the host
// another EK.
func (d *Device) certificateIndex() (tpm2.TPMHandle, error) {
	for _, index := range []tpm2.TPMHandle{nvRSACertificate, nvECCCertificate} {
		_, err := tpm2.NVReadPublic{NVIndex: index}.Execute(d.tpm)
		switch {
		case err == nil:
			return index, nil
		case !errors.Is(err, tpm2.TPMRCHandle):
			return 0, advise("look for the EK certificate", err)
		}
	}
	return 0, nil
}

// withEK derives the EK, hands it on, and gives its handle back.
func (d *Device) withEK(f func(ek tpm2.NamedHandle, public []byte) error) (public []byte, err error) {
	index, err := d.certificateIndex()
	if err != nil {
		return nil, err
	}
	template := tpm2.RSAEKTemplate
	if index == nvECCCertificate {
		template = tpm2.ECCEKTemplate
	}
	rsp, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHEndorsement, InPublic: tpm2.New2B(template)}.Execute(d.tpm)
	if err != nil {
		return nil, advise("derive EK", err)
	}
	defer func() {
		_, flushed := tpm2.FlushContext{FlushHandle: rsp.ObjectHandle}.Execute(d.tpm)
		err = errors.Join(err, advise("flush EK", flushed))
	}()
	area, err := rsp.OutPublic.Contents()
	if err != nil {
		return nil, fmt.Errorf("derive EK: %w", err)
	}
	public = tpm2.Marshal(area)
	return public, f(tpm2.NamedHandle{Handle: rsp.ObjectHandle, Name: rsp.Name}, public)
}

// EKCertificate returns the EK's certificate in DER, or quote.ErrNoCertificate.
func (d *Device) EKCertificate() ([]byte, error) {
	index, err := d.certificateIndex()
	if err != nil {
		return nil, err
	}
	if index == 0 {
		return nil, quote.ErrNoCertificate
	}
	der, err := d.nvRead(index)
	if err != nil {
		return nil, advise("read EK certificate", err)
	}
	if der, err = quote.TrimCertificate(der); err != nil {
		return nil, fmt.Errorf("%w: what is at NV index %#x is none: %w", quote.ErrNoCertificate, index, err)
	}
	return der, nil
}

// nvRead reads all of an NV index.
func (d *Device) nvRead(index tpm2.TPMHandle) ([]byte, error) {
	public, err := tpm2.NVReadPublic{NVIndex: index}.Execute(d.tpm)
	if err != nil {
		return nil, err
	}
	area, err := public.NVPublic.Contents()
	if err != nil {
		return nil, err
	}
	var b []byte
	for size := int(area.DataSize); len(b) < size; {
		rsp, err := tpm2.NVRead{
			AuthHandle: tpm2.AuthHandle{Handle: index, Name: public.NVName, Auth: tpm2.PasswordAuth(nil)},
			NVIndex:    tpm2.NamedHandle{Handle: index, Name: public.NVName},
			Size:       uint16(min(size-len(b), maxNVRead)), Offset: uint16(len(b)),
		}.Execute(d.tpm)
		if err != nil {
			return nil, err
		}
		b = append(b, rsp.Data.Buffer...)
	}
	return b, nil
}

// ActivateCredential opens a credential that was made for this TPM's EK and the
// AK: it proves to the one who made it that both live here (TPM 2.0 Part 1,
// section 24). It takes a TPM2B_ID_OBJECT and a TPM2B_ENCRYPTED_SECRET.
func (d *Device) ActivateCredential(idObject, encryptedSecret []byte) (secret []byte, err error) {
	if _, err := d.AK(); err != nil {
		return nil, err
	}
	id, err := tpm2.Unmarshal[tpm2.TPM2BIDObject](idObject)
	if err != nil {
		return nil, fmt.Errorf("activate credential: TPM2B_ID_OBJECT: %w", err)
	}
	enc, err := tpm2.Unmarshal[tpm2.TPM2BEncryptedSecret](encryptedSecret)
	if err != nil {
		return nil, fmt.Errorf("activate credential: TPM2B_ENCRYPTED_SECRET: %w", err)
	}
	_, err = d.withEK(func(ek tpm2.NamedHandle, _ []byte) error {
		// An EK of the TCG's templates is used under PolicySecret of the
		// endorsement hierarchy (EK Credential Profile, appendix B).
		session, closeSession, err := tpm2.PolicySession(d.tpm, tpm2.TPMAlgSHA256, 16)
		if err != nil {
			return advise("activate credential", err)
		}
		defer closeSession()
		_, err = tpm2.PolicySecret{
			AuthHandle:    tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
			PolicySession: session.Handle(), NonceTPM: session.NonceTPM(),
		}.Execute(d.tpm)
		if err != nil {
			return advise("activate credential: the endorsement hierarchy's authorisation", err)
		}
		rsp, err := tpm2.ActivateCredential{
			ActivateHandle: tpm2.AuthHandle{Handle: d.ak.Handle, Name: d.ak.Name, Auth: tpm2.PasswordAuth(nil)},
			KeyHandle:      tpm2.AuthHandle{Handle: ek.Handle, Name: ek.Name, Auth: session},
			CredentialBlob: *id, Secret: *enc,
		}.Execute(d.tpm)
		if err != nil {
			return advise("activate credential", err)
		}
		secret = rsp.CertInfo.Buffer
		return nil
	})
	return secret, err
}
