package main

import (
	"errors"
	"math/rand/v2"
	"testing"
)

// steps are all places where the power can be cut.
var steps = []string{"activated", "enrolled", "staged", "quoted", "read", "written", "appended", "spooled", "uploaded", "submitted", "receipted", "deleted"}

// TestPowerCut cuts the power after each step, in the first round, in a later
// one, and once more in the round after it. Nothing is lost and nothing is there
// twice; the next round goes on.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		t.Run(flavour.String(), func(t *testing.T) {
			t.Parallel()
			cuts := 0
			for _, step := range steps {
				w := newWorld(t, flavour)
				k := w.kernel
				k.measure(3)
				for range 3 {
					for _, again := range []string{step, step} {
						switch err := w.once(again); {
						case errors.Is(err, errPower):
							cuts++
						case err != nil:
							t.Fatalf("cut after %s: %v", step, err)
						}
						k.measure(2)
					}
					w.round()
					w.exported()
					k.measure(1)
				}
				w.round()
				if n := w.whole(); n != len(k.history[0]) {
					t.Errorf("cut after %s: %d records sealed, the kernel listed %d", step, n, len(k.history[0]))
				}
			}
			if cuts < 20 {
				t.Errorf("the power was cut %d times only: are there still steps of these names?", cuts)
			}
		})
	}
}

// TestPowerCutAnywhere cuts the power at random steps, with reboots and kexecs
// among the rounds.
func TestPowerCutAnywhere(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, flavour := range flavours {
		t.Run(flavour.String(), func(t *testing.T) { t.Parallel(); cutAnywhere(newWorld(t, flavour), seed) })
	}
}

func cutAnywhere(w *world, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 0))
	k := w.kernel
	for range 60 {
		k.measure(random.IntN(4))
		step := steps[random.IntN(len(steps))]
		if err := w.once(step); err != nil && !errors.Is(err, errPower) {
			w.t.Fatalf("cut after %s: %v", step, err)
		}
		switch random.IntN(12) {
		case 0:
			k.reboot()
		case 1:
			w.round() // what is sealed before a kexec is not lost in it
			k.kexec(true)
		}
	}
	w.round()
	w.exported()
	w.whole()
}
