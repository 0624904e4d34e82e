package main

import (
	"testing"

	"github.com/imaledger/imaledger/tpm/securityfs"
)

var flavours = []securityfs.Flavour{securityfs.ReadOnly, securityfs.Counted, securityfs.Staging}

// TestRounds: several segments, reboots and a kexec that carries the list, on
// each kind of kernel. What is receipted leaves the kernel.
func TestRounds(t *testing.T) {
	for _, flavour := range flavours {
		t.Run(flavour.String(), func(t *testing.T) {
			w := newWorld(t, flavour)
			k := w.kernel
			k.measure(5)
			w.round()
			if n := w.whole(); n != 6 {
				t.Errorf("%d records sealed, want 6", n)
			}
			for range 3 {
				k.measure(4)
				w.round()
				w.exported()
			}
			if n := w.whole(); n != 18 {
				t.Errorf("%d records sealed, want 18", n)
			}
			if left := len(k.list) + len(k.staged); flavour == securityfs.ReadOnly && left != 18 || flavour != securityfs.ReadOnly && left != 0 {
				t.Errorf("%d records are left in the kernel", left)
			}
			w.round() // nothing is new
			k.measure(3)
			k.kexec(true)
			k.measure(2)
			w.round()
			w.exported()
			if n := w.whole(); n != 24 {
				t.Errorf("%d records sealed, want 24", n)
			}
			k.measure(2) // these are never sealed
			k.reboot()
			k.measure(1)
			w.round()
			w.exported()
			k.measure(1)
			w.round()
			if n := w.whole(); n != 27 {
				t.Errorf("%d records sealed, want 27", n)
			}
		})
	}
}

// TestRegisters: records of a register that was not quoted before, and violations.
func TestRegisters(t *testing.T) {
	for _, flavour := range flavours {
		t.Run(flavour.String(), func(t *testing.T) {
			w := newWorld(t, flavour)
			k := w.kernel
			k.measure(3)
			w.round()
			for range 3 {
				k.measure(2)
				k.violate()
				k.add(11, "other", make([]byte, 32))
				k.add(11, "another", make([]byte, 32))
				w.round()
				if n := w.whole(); n != len(k.history[0]) {
					t.Errorf("%d records sealed, want %d", n, len(k.history[0]))
				}
			}
		})
	}
}
