package tpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/imaledger/imaledger/tpm/quote"
)

// A refusing TPM answers a command that refused picks with a response code.
type refusing struct {
	transport.TPMCloser
	code    uint32
	refused func(command []byte) bool
}

func (r *refusing) Send(command []byte) ([]byte, error) {
	if r.code == 0 || !r.refused(command) {
		return r.TPMCloser.Send(command)
	}
	return binary.BigEndian.AppendUint32([]byte{0x80, 0x01, 0, 0, 0, 10}, r.code), nil
}

// refuse puts a refusing TPM in front of a device's.
func refuse(d *Device, code uint32, refused func([]byte) bool) *refusing {
	p := d.tpm.(*patient)
	r := &refusing{TPMCloser: p.TPMCloser, code: code, refused: refused}
	p.TPMCloser = r
	d.sleep = func(time.Duration) {}
	return r
}

// createsECC reports whether a command is a TPM2_CreatePrimary of an ECC key: header,
// handle, sized authorisation, TPM2B inSensitive, TPM2B inPublic, which begins with the
// type (TPM 2.0 Part 3, section 24.1).
func createsECC(command []byte) bool {
	if tpm2.TPMCC(binary.BigEndian.Uint32(command[6:])) != tpm2.TPMCCCreatePrimary {
		return false
	}
	at := 14 + 4 + int(binary.BigEndian.Uint32(command[14:]))
	at += 2 + int(binary.BigEndian.Uint16(command[at:]))
	return tpm2.TPMAlgID(binary.BigEndian.Uint16(command[at+2:])) == tpm2.TPMAlgECC
}

// TestFallback: the codes of a TPM that has no ECC, and no others, give an RSA key,
// which the next boot derives again. After any other the key is what it was.
func TestFallback(t *testing.T) {
	s := startSwtpm(t)
	ecc, err := open(t, s).AK()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		code uint32
		want error // nil for RSA
	}{
		{"TYPE, parameter 2", 0x2ca, nil},
		{"CURVE, parameter 2", 0x2e6, nil},
		{"SCHEME, parameter 2", 0x2d2, nil},
		{"ASYMMETRIC, parameter 2", 0x2c1, nil},
		{"VALUE, parameter 2", 0x2c4, nil},
		{"VALUE, parameter 1", 0x1c4, tpm2.TPMRCValue},
		{"VALUE, parameter 4", 0x4c4, tpm2.TPMRCValue},
		{"VALUE, handle 1", 0x184, tpm2.TPMRCValue},
		{"VALUE, handle 2", 0x284, tpm2.TPMRCValue},
		{"TYPE, session 2", 0xa8a, tpm2.TPMRCType},
		{"HASH, parameter 2", 0x2c3, ErrBankOff},
		{"ATTRIBUTES, parameter 2", 0x2c2, tpm2.TPMRCAttributes},
		{"HIERARCHY, handle 1", 0x185, tpm2.TPMRCHierarchy},
		{"BAD_AUTH, session 1", 0x9a2, tpm2.TPMRCBadAuth},
		{"AUTH_FAIL, session 1", 0x98e, tpm2.TPMRCAuthFail},
		{"FAILURE", 0x101, tpm2.TPMRCFailure},
		{"DISABLED", 0x120, tpm2.TPMRCDisabled},
		{"COMMAND_CODE", 0x143, tpm2.TPMRCCommandCode},
		{"LOCKOUT", 0x921, ErrLockout},
		{"RETRY", 0x922, ErrBusy},
		{"NV_UNAVAILABLE", 0x923, tpm2.TPMRCNVUnavailable},
		{"OBJECT_MEMORY", 0x902, tpm2.TPMRCObjectMemory},
	} {
		var rsa []byte
		for range 2 {
			d := open(t, s)
			r := refuse(d, row.code, createsECC)
			got, err := d.AK()
			if !errors.Is(err, row.want) || row.want != nil && (got != nil || errors.Is(err, ErrNoECC)) {
				t.Errorf("%s: %v, want %v", row.name, err, row.want)
			}
			if row.want == nil {
				if len(got) == 0 || tpm2.TPMAlgID(binary.BigEndian.Uint16(got)) != tpm2.TPMAlgRSA || rsa != nil && !bytes.Equal(got, rsa) {
					t.Errorf("%s: AK %x, before %x", row.name, got, rsa)
				}
				rsa = got
				checkQuote(t, d, testSelection)
				// Who asks for ECC gets no other key.
				if err := d.UseAK(AKECCP256, quote.Endorsement); !errors.Is(err, ErrNoECC) {
					t.Errorf("%s: ECC alone: %v", row.name, err)
				}
			}
			r.code = 0
			if err := d.UseAK(AKECCP256, quote.Endorsement); err != nil {
				t.Fatal(err)
			}
			if got, err := d.AK(); err != nil || !bytes.Equal(got, ecc) {
				t.Errorf("%s is over: AK %x, %v; want %x", row.name, got, err, ecc)
			}
			d.Close()
			if row.want == nil {
				if err := s.Power(Reboot); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// TestEKStays: an EK is another one only where its certificate is not there, and not
// where the TPM does not answer now.
func TestEKStays(t *testing.T) {
	d := open(t, startSwtpm(t))
	want, err := d.EK()
	if err != nil {
		t.Fatal(err)
	}
	reads := func(command []byte) bool {
		return tpm2.TPMCC(binary.BigEndian.Uint32(command[6:])) == tpm2.TPMCCNVReadPublic && binary.BigEndian.Uint32(command[10:]) == uint32(nvRSACertificate)
	}
	r := refuse(d, 0x923, reads)
	if got, err := d.EK(); !errors.Is(err, tpm2.TPMRCNVUnavailable) {
		t.Errorf("EK %x, %v", got, err)
	}
	if _, err := d.EKCertificate(); !errors.Is(err, tpm2.TPMRCNVUnavailable) || errors.Is(err, quote.ErrNoCertificate) {
		t.Errorf("certificate: %v", err)
	}
	r.code = 0x18b // HANDLE, handle 1
	if got, err := d.EK(); err != nil || !bytes.Equal(got, want) {
		t.Errorf("EK %x, %v; want %x", got, err, want)
	}
}
