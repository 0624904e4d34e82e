package agent

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/imaledger/imaledger/tpm/ima"
)

// errMoved is a kernel's list that is not where it was left: somebody else
// deleted records, or it is another kernel's.
var errMoved = errors.New("the kernel's list does not go on where it was left")

// stage sets apart what the kernel lists, so that the quote that follows covers
// all of it, and all of it can be deleted with the quote's receipt.
func (a *Agent) stage() error {
	if a.Delete != DeleteStaged {
		return nil
	}
	err := a.Kernel.Stage()
	switch {
	case err == nil:
		a.Step("staged")
	case errors.Is(err, a.Errors.Staged), errors.Is(err, a.Errors.Nothing), errors.Is(err, a.Errors.Suspended):
		// It waits for its receipt, or there is nothing new, or there will be no
		// deletion any more.
		err = nil
	}
	return err
}

// readKernel appends what the kernel lists and the list does not have. It
// returns errMoved where the two do not fit.
func (a *Agent) readKernel() error {
	if err := a.readStaged(); err != nil {
		return err
	}
	at := a.spool.state
	known := at.Bytes - at.Kernel - at.Staged
	knownRecords := at.Records - at.KernelRecord - at.StagedRecords
	count, err := a.Kernel.Count()
	if err != nil {
		return err
	}
	if known < 0 || count < knownRecords {
		return fmt.Errorf("%w: it has %d records, %d of them were known", errMoved, count, knownRecords)
	}
	if count == knownRecords {
		return nil
	}
	if a.Shrinks {
		err = a.Kernel.Read(0, func(r io.Reader) error { return a.appendBehind(r, at.Kernel+at.Staged, known) })
	} else {
		err = a.Kernel.Read(known, a.list.append)
	}
	var syntax *ima.SyntaxError
	if errors.As(err, &syntax) {
		// Read from the middle of a record, if somebody deleted those before.
		return fmt.Errorf("%w: %w", errMoved, err)
	}
	return err
}

// appendBehind appends what comes after the part of a kernel's list that is known,
// if that is there: another program may have deleted from it.
func (a *Agent) appendBehind(r io.Reader, from, known int64) error {
	b := bufio.NewReader(r)
	n, _, err := a.list.match(b, from, known)
	if err == nil && n < known {
		err = fmt.Errorf("%w: records that were known are not where they were", errMoved)
	}
	if err != nil {
		return err
	}
	return a.list.append(b)
}

// readStaged takes in what is staged. The state knows of it, unless the power was
// cut in between or somebody else staged.
func (a *Agent) readStaged() error {
	if a.Delete != DeleteStaged {
		return nil
	}
	return a.Kernel.ReadStaged(func(r io.Reader) error {
		at := a.spool.state
		known := at.Staged
		if known == 0 {
			known = at.Bytes - at.Kernel // staged or not: all of it was in the list when it was staged
		}
		b := bufio.NewReader(r)
		_, empty := b.Peek(1)
		if empty != nil && !errors.Is(empty, io.EOF) {
			return empty
		}
		if empty != nil {
			return a.stagedIsGone()
		}
		n, ended, err := a.list.match(b, at.Kernel, known)
		switch {
		case err != nil:
			return err
		case n < known && (!ended || at.Staged > 0):
			return fmt.Errorf("%w: what is staged differs from what was read", errMoved)
		case at.Staged > 0:
			return nil
		case n < known: // somebody else staged, before the agent read on
			return a.stagedIs(n)
		}
		if err := a.list.append(b); err != nil {
			return err
		}
		return a.stagedIs(a.spool.state.Bytes - at.Kernel)
	})
}

// stagedIs notes how many bytes of the list are staged.
func (a *Agent) stagedIs(n int64) error {
	at := a.spool.state
	var err error
	at.Staged = n
	if at.StagedRecords, err = a.recordsBetween(at.Kernel, at.Kernel+n); err != nil {
		return err
	}
	return a.spool.save(at)
}

// settle finds out whether a deletion was done that the power was cut in, before
// anything new is staged.
func (a *Agent) settle() error {
	at := a.spool.state
	if at.Staged > 0 {
		some, err := a.isStaged()
		if err != nil || some {
			return err
		}
		return a.stagedIsGone()
	}
	if at.Deleting == 0 {
		return nil
	}
	there := false
	err := a.Kernel.Read(0, func(r io.Reader) error {
		n, _, err := a.list.match(r, at.Kernel, at.Deleting-at.Kernel)
		there = n == at.Deleting-at.Kernel
		return err
	})
	switch {
	case err != nil:
		return err
	case !there: // it was done, or somebody else deleted records
		return a.locate()
	}
	at.Deleting, at.DeletingRecord = 0, 0
	return a.spool.save(at)
}

// isStaged reports whether anything is staged.
func (a *Agent) isStaged() (some bool, err error) {
	err = a.Kernel.ReadStaged(func(r io.Reader) error {
		var one [1]byte
		_, err := io.ReadFull(r, one[:])
		some = err == nil
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	})
	return some, err
}

// stagedIsGone notes that what was staged was deleted: the power was cut before
// the state said so.
func (a *Agent) stagedIsGone() error {
	at := a.spool.state
	if at.Staged == 0 {
		return nil
	}
	at.Kernel, at.KernelRecord = at.Kernel+at.Staged, at.KernelRecord+at.StagedRecords
	at.Staged, at.StagedRecords = 0, 0
	return a.spool.save(at)
}
