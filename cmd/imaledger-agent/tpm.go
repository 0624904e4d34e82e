package main

import (
	"crypto/rsa"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/tpm"
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
)

// A device is the host's TPM, opened when it is first needed. After an error it
// is opened again: a suspend empties a TPM of keys, and the next round derives
// them anew.
type device struct {
	path     string
	ak       string
	enrolled func() []byte // TPMT_PUBLIC of the host's AK, nil before there is one; nil where nobody knows
	open     *tpm.Device
}

// Kinds of attestation key, as the configuration has them.
const (
	akAuto = "auto"
	akECC  = "ecc-p256"
	akRSA  = "rsa-2048"
)

func (o *options) device() (*device, error) {
	switch o.ak {
	case akAuto, akECC, akRSA:
		return &device{path: o.tpm, ak: o.ak}, nil
	}
	return nil, cli.Usagef("ak %q: it is %s, %s or %s", o.ak, akAuto, akECC, akRSA)
}

// kind is that of the key to derive. Only at the first enrolment is it for the TPM to
// say. From then on the host keeps it: a TPM that refuses one day what it did before
// must not enrol the host with another key.
func (d *device) kind() string {
	if d.ak != akAuto || d.enrolled == nil {
		return d.ak
	}
	switch public := d.enrolled(); {
	case public == nil:
		return akAuto
	case isRSA(public):
		return akRSA
	}
	return akECC
}

// isRSA reports whether a TPMT_PUBLIC is an RSA key's.
func isRSA(public []byte) bool {
	ak, err := quote.ParseAK(public)
	if err != nil {
		return false
	}
	_, ok := ak.Public.(*rsa.PublicKey)
	return ok
}

func (d *device) close() error {
	if d.open == nil {
		return nil
	}
	err := d.open.Close()
	d.open = nil
	return err
}

// with calls f with the TPM, and closes it where that fails.
func (d *device) with(f func(*tpm.Device) error) error {
	if d.open == nil {
		t, err := tpm.Open(d.path)
		if err != nil {
			return err
		}
		d.open = t
		switch d.kind() {
		case akECC:
			err = t.UseAK(tpm.AKECCP256, quote.Endorsement)
		case akRSA:
			err = t.UseAK(tpm.AKRSASSA, quote.Endorsement)
		}
		if err != nil {
			d.close() // the error that is told is the one before
			return err
		}
	}
	err := f(d.open)
	if err != nil {
		d.close() // likewise
	}
	return err
}

func (d *device) AK() (public []byte, err error) {
	err = d.with(func(t *tpm.Device) error { public, err = t.AK(); return err })
	return public, err
}

func (d *device) Banks() (banks []ima.Bank, err error) {
	err = d.with(func(t *tpm.Device) error { banks, err = t.Banks(); return err })
	return banks, err
}

func (d *device) Quote(nonce []byte, s ima.Selection) (attest, signature []byte, err error) {
	err = d.with(func(t *tpm.Device) error { attest, signature, err = t.Quote(nonce, s); return err })
	return attest, signature, err
}

func (d *device) ReadPCRs(s ima.Selection) (values ima.Values, err error) {
	err = d.with(func(t *tpm.Device) error { values, err = t.ReadPCRs(s); return err })
	return values, err
}

func (d *device) EK() (public []byte, err error) {
	err = d.with(func(t *tpm.Device) error { public, err = t.EK(); return err })
	return public, err
}

func (d *device) EKCertificate() (cert []byte, err error) {
	err = d.with(func(t *tpm.Device) error { cert, err = t.EKCertificate(); return err })
	return cert, err
}

func (d *device) ActivateCredential(id, encrypted []byte) (secret []byte, err error) {
	err = d.with(func(t *tpm.Device) error { secret, err = t.ActivateCredential(id, encrypted); return err })
	return secret, err
}
