package witness

import (
	"errors"
	"fmt"
)

// errRolledBack is a witness that has forgotten what it signed.
var errRolledBack = errors.New("this witness's key has cosigned what its state does not know")

// rolledBack looks for a cosignature of the witness's own on a checkpoint that
// somebody sends: one of a larger tree than the state has, or of another tree of
// the same size, says that the state was rolled back, or that the key signs
// elsewhere. The witness then stops for good. The caller holds the log's lock, so
// that what is being signed now is in the state.
//
// Nobody else can make it stop: it takes a cosignature that verifies.
func (w *Witness) rolledBack(log *logState, c *checkpoint) error {
	if c.size < log.latest.size || c.size == log.latest.size && c.root == log.latest.root {
		return nil
	}
	for _, k := range w.keys {
		at, found, err := k.cosigned(c)
		if err != nil || !found {
			continue // of nobody; add-checkpoint ignores it, sign-subtree refuses it
		}
		err = fmt.Errorf("%w: a cosignature of %s+%08x of time %d on size %d of the log %s, of which the state has size %d: "+
			"the state was rolled back, or the key signs with another; take a new key", errRolledBack, k.name, k.keyID, at, c.size, log.origin, log.latest.size)
		w.state.fail(err)
		w.logger.Error("stopped for good", "error", err)
		if again := w.state.stop(err.Error()); again != nil {
			w.logger.Error("cannot write down that this witness must not start again", "error", again)
		}
		return err
	}
	return nil
}
