package main

import (
	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/tpm"
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
)

// A device is the host's TPM, opened when it is first needed. After an error it
// is opened again: a suspend empties a TPM of keys, and the next round derives
// them anew.
type device struct {
	path string
	ak   string
	open *tpm.Device
}

func (o *options) device() (*device, error) {
	switch o.ak {
	case "auto", "ecc-p256", "rsa-2048":
		return &device{path: o.tpm, ak: o.ak}, nil
	}
	return nil, cli.Usagef("ak %q: it is auto, ecc-p256 or rsa-2048", o.ak)
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
		switch d.ak {
		case "ecc-p256":
			err = t.UseAK(tpm.AKECCP256, quote.Endorsement)
		case "rsa-2048":
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
