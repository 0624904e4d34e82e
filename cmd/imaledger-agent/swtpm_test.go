package main

import (
	"path/filepath"
	"testing"

	"github.com/imaledger/imaledger/tpm"
)

// onSwtpm is a TPM in software that does what a fakeKernel needs.
type onSwtpm struct {
	*tpm.Device
	t testing.TB
	s *tpm.Swtpm
}

func newSwtpm(t testing.TB) *onSwtpm {
	t.Helper()
	s, err := tpm.StartSwtpm(filepath.Join(t.TempDir(), "tpm"))
	if err != nil {
		t.Fatal(err)
	}
	o := &onSwtpm{t: t, s: s}
	o.open()
	t.Cleanup(func() {
		o.Close() // it ends anyway
		s.Stop()
	})
	return o
}

func (o *onSwtpm) open() {
	var err error
	if o.Device, err = tpm.Open(o.s.Socket()); err != nil {
		o.t.Fatal(err)
	}
}

// again does what ends all that is loaded in the TPM.
func (o *onSwtpm) again(f func() error) {
	o.t.Helper()
	if err := o.Close(); err != nil {
		o.t.Fatal(err)
	}
	if err := f(); err != nil {
		o.t.Fatal(err)
	}
	o.open()
}

func (o *onSwtpm) power(change tpm.PowerChange) {
	o.again(func() error { return o.s.Power(change) })
}

// release lets another program use the TPM: swtpm serves one at a time.
func (o *onSwtpm) release() {
	o.t.Helper()
	if err := o.Close(); err != nil {
		o.t.Fatal(err)
	}
}

func (o *onSwtpm) Reset()   { o.power(tpm.Reboot) }
func (o *onSwtpm) Restart() { o.power(tpm.Hibernate) }
func (o *onSwtpm) Resume()  { o.power(tpm.Suspend) }
func (o *onSwtpm) Clear()   { o.again(o.s.Clear) }
