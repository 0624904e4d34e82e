package tpm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
)

// Limits of patience with a TPM that asks to be tried again.
const (
	maxRetries = 20
	firstPause = 10 * time.Millisecond // doubled each time, to at most maxPause
	maxPause   = time.Second
)

// What a TPM may say, and what is to be done.
var (
	ErrNoTPM   = errors.New("no TPM: enable it in the firmware's setup, or load its driver (tpm_tis, tpm_crb)")
	ErrLockout = errors.New("the TPM is locked out after too many wrong authorisations; wait for it to recover, or run tpm2_dictionarylockout --clear-lockout")
	ErrBankOff = errors.New("a PCR bank that was asked for is off; look with tpm2_getcap pcrs, turn it on in the firmware's setup")
	ErrBusy    = errors.New("the TPM stayed busy; is another program using it all the time?")
	ErrNoECC   = errors.New("the TPM has no ECC key of this kind; an agent with ak rsa-2048 enrols the host with another key")
)

// A Device is a TPM. It is not safe for concurrent use.
type Device struct {
	tpm   transport.TPMCloser
	sleep func(time.Duration)
	ak    *tpm2.NamedHandle
	akPub []byte
}

// Open opens a TPM: /dev/tpmrm0, or the Unix socket of swtpm. The error of a file
// that is not there wraps ErrNoTPM.
func Open(path string) (*Device, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", path, ErrNoTPM)
	}
	if err != nil {
		return nil, err
	}
	open := linuxtpm.Open
	if info.Mode()&fs.ModeSocket != 0 {
		open = linuxudstpm.Open
	}
	t, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return newDevice(t), nil
}

func newDevice(t transport.TPMCloser) *Device {
	d := &Device{sleep: time.Sleep}
	d.tpm = &patient{TPMCloser: t, d: d}
	return d
}

// Close gives the AK's handle back and closes the TPM.
func (d *Device) Close() error {
	var flushed error
	if d.ak != nil {
		_, flushed = tpm2.FlushContext{FlushHandle: d.ak.Handle}.Execute(d.tpm)
		d.ak = nil
	}
	return errors.Join(flushed, d.tpm.Close())
}

// patient sends a command again while the TPM answers that it is busy.
type patient struct {
	transport.TPMCloser
	d *Device
}

func (p *patient) Send(command []byte) ([]byte, error) {
	pause := firstPause
	for try := 0; ; try++ {
		response, err := p.TPMCloser.Send(command)
		if err != nil || len(response) < 10 || try == maxRetries {
			return response, err
		}
		switch code := tpm2.TPMRC(uint32(response[6])<<24 | uint32(response[7])<<16 | uint32(response[8])<<8 | uint32(response[9])); code {
		case tpm2.TPMRCRetry, tpm2.TPMRCTesting, tpm2.TPMRCYielded:
			p.d.sleep(pause)
			pause = min(2*pause, maxPause)
		default:
			return response, nil
		}
	}
}

// advise adds to an error what to do about it.
func advise(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, tpm2.TPMRCLockout):
		return fmt.Errorf("%s: %w: %w", doing, ErrLockout, err)
	case errors.Is(err, tpm2.TPMRCHash):
		return fmt.Errorf("%s: %w: %w", doing, ErrBankOff, err)
	case errors.Is(err, tpm2.TPMRCRetry), errors.Is(err, tpm2.TPMRCTesting), errors.Is(err, tpm2.TPMRCYielded):
		return fmt.Errorf("%s: %w: %d tries: %w", doing, ErrBusy, maxRetries, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// AK returns the attestation key's TPMT_PUBLIC, deriving the key if that has
// not been done since Open: ECC P-256, or RSA 2048 where the TPM has no P-256.
func (d *Device) AK() ([]byte, error) {
	if d.ak != nil {
		return d.akPub, nil
	}
	err := d.UseAK(AKECCP256, quote.Endorsement)
	if errors.Is(err, ErrNoECC) {
		err = d.UseAK(AKRSASSA, quote.Endorsement)
	}
	if err != nil {
		return nil, err
	}
	return d.akPub, nil
}

// inPublic is the place of the template among TPM2_CreatePrimary's parameters.
const inPublic = 2

// lacks reports whether a TPM that was asked for a primary key says that it has no
// such algorithm, scheme or curve. These codes, of that one parameter, are what
// reading it gives (TPM 2.0 Part 2: TPMI_ALG_PUBLIC, TPMI_ALG_ASYM,
// TPMI_ALG_ECC_SCHEME, TPMI_ECC_CURVE; TPM_RC_VALUE of TPMs that do not tell them
// apart). The template is a constant, so the TPM always says the same. All else may
// pass, and must not give the host another key: a lockout, an authorisation, a
// hierarchy that is off, memory, a failure.
func lacks(err error) bool {
	var f tpm2.TPMFmt1Error
	if !errors.As(err, &f) {
		return false
	}
	if of, n := f.Parameter(); !of || n != inPublic {
		return false
	}
	for _, code := range []tpm2.TPMRC{tpm2.TPMRCType, tpm2.TPMRCAsymmetric, tpm2.TPMRCScheme, tpm2.TPMRCCurve, tpm2.TPMRCValue} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}

// UseAK derives an AK of the given kind and hierarchy and quotes with it from
// now on. Verifiers accept the endorsement hierarchy alone.
func (d *Device) UseAK(kind AKKind, hierarchy quote.Hierarchy) error {
	if d.ak != nil {
		if _, err := (tpm2.FlushContext{FlushHandle: d.ak.Handle}).Execute(d.tpm); err != nil {
			return advise("flush AK", err)
		}
		d.ak = nil
	}
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMHandle(hierarchy),
		InPublic:      tpm2.New2B(kind.template()),
	}.Execute(d.tpm)
	if err != nil && (kind == AKECCP256 || kind == AKECCP384) && lacks(err) {
		return fmt.Errorf("derive AK: %w: %w", ErrNoECC, err)
	}
	if err != nil {
		return advise("derive AK", err)
	}
	public, err := rsp.OutPublic.Contents()
	if err != nil {
		return fmt.Errorf("derive AK: %w", err)
	}
	d.ak = &tpm2.NamedHandle{Handle: rsp.ObjectHandle, Name: rsp.Name}
	d.akPub = tpm2.Marshal(public)
	return nil
}

// Quote has the AK sign the registers of a selection with a nonce. It returns a
// TPMS_ATTEST and a TPMT_SIGNATURE. That the TPM quoted what was asked for, and
// not less, is checked.
func (d *Device) Quote(nonce []byte, selection ima.Selection) (attest, signature []byte, err error) {
	if _, err := d.AK(); err != nil {
		return nil, nil, err
	}
	rsp, err := tpm2.Quote{
		SignHandle:     tpm2.AuthHandle{Handle: d.ak.Handle, Name: d.ak.Name, Auth: tpm2.PasswordAuth(nil)},
		QualifyingData: tpm2.TPM2BData{Buffer: nonce},
		InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
		PCRSelect:      pcrSelection(selection),
	}.Execute(d.tpm)
	if err != nil {
		return nil, nil, advise("quote", err)
	}
	attest, signature = rsp.Quoted.Bytes(), tpm2.Marshal(rsp.Signature)
	q, err := quote.Parse(attest)
	if err != nil {
		return nil, nil, fmt.Errorf("quote: %w", err)
	}
	if !sameSelection(q.Selection, selection) {
		return nil, nil, fmt.Errorf("quote: the TPM quoted %v, asked for %v: a PCR bank is off", q.Selection, selection)
	}
	return attest, signature, nil
}

func sameSelection(got []quote.SelectedBank, want ima.Selection) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		if ima.Bank(got[i].Bank) != want[i].Bank || fmt.Sprint(got[i].PCRs) != fmt.Sprint(want[i].PCRs) {
			return false
		}
	}
	return true
}

func pcrSelection(selection ima.Selection) tpm2.TPMLPCRSelection {
	var list tpm2.TPMLPCRSelection
	for _, b := range selection {
		mask := make([]byte, 3)
		for _, pcr := range b.PCRs {
			mask[pcr/8] |= 1 << (pcr % 8)
		}
		list.PCRSelections = append(list.PCRSelections, tpm2.TPMSPCRSelection{Hash: tpm2.TPMAlgID(b.Bank), PCRSelect: mask})
	}
	return list
}
