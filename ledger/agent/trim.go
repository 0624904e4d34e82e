package agent

import (
	"errors"
	"fmt"
	"io"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
)

// receipted returns where, in the newest list, the records end that are in the
// ledger and witnessed. ok is false where none of this list is.
func (a *Agent) receipted() (end place, ok bool, err error) {
	c := a.chain
	if a.list == nil || c.last == nil || c.lastPlace.List != a.list.number {
		return end, false, nil
	}
	// The first of the list's segments that has no receipt ends it.
	for _, n := range c.pending {
		_, entry, err := c.entry(n)
		if err != nil {
			return end, false, err
		}
		s, ok := entry.(*ledger.Segment)
		if !ok {
			continue
		}
		at, err := c.place(n)
		if err != nil {
			return end, false, err
		}
		if at.List == a.list.number {
			return at, s.Join.Kind == ledger.JoinContinues, nil
		}
	}
	return endOf(c.last, c.lastPlace), true, nil
}

// endOf returns where a segment's records end.
func endOf(s *ledger.Segment, at place) place {
	return place{List: at.List, Offset: at.Offset + int64(s.Payload.Size), Record: at.Record + s.Count}
}

// trim deletes from the kernel what has its receipt. What is staged goes as a
// whole, so it waits until all of it has.
//
// The order is: records on disk, leaf on disk, submitted, receipt verified and on
// disk, deleted. A power cut between any two leaves the record in the kernel or
// in the ledger, mostly in both.
func (a *Agent) trim() error {
	end, ok, err := a.receipted()
	if err != nil || !ok {
		return err
	}
	if err := a.settle(); err != nil {
		return err
	}
	if err := a.delete(end); err != nil {
		return err
	}
	if at := a.spool.state; a.Delete != DeleteStaged || at.Staged > 0 || at.Kernel >= end.Offset {
		return nil
	}
	// What was listed while the rest was staged. It would wait for more to come.
	if err := errors.Join(a.stage(), a.readStaged()); err != nil {
		return err
	}
	return a.delete(end)
}

// delete deletes from the kernel up to a place that receipts reach.
func (a *Agent) delete(end place) (err error) {
	at := a.spool.state
	next := at
	switch {
	case a.Delete == DeleteStaged && at.Staged > 0 && at.Kernel+at.Staged <= end.Offset:
		err = a.Kernel.DeleteStaged(a.isListed(at.Kernel, at.Staged, true))
		next.Kernel, next.KernelRecord = at.Kernel+at.Staged, at.KernelRecord+at.StagedRecords
		next.Staged, next.StagedRecords = 0, 0
	case a.Delete == DeleteCount && at.Kernel < end.Offset:
		var n uint64
		if n, err = a.recordsBetween(at.Kernel, end.Offset); err != nil {
			return err
		}
		if n != end.Record-at.KernelRecord {
			return fmt.Errorf("%s: %d records are to be deleted, and the list has %d there: nothing was deleted: %w", a.spool.path(stateFile), end.Record-at.KernelRecord, n, errDamaged)
		}
		at.Deleting, at.DeletingRecord = end.Offset, end.Record
		if err := a.spool.save(at); err != nil {
			return err
		}
		err = a.Kernel.DeleteFirst(n, a.isListed(at.Kernel, end.Offset-at.Kernel, false))
		next.Kernel, next.KernelRecord = end.Offset, end.Record
	default:
		return nil
	}
	switch {
	case errors.Is(err, a.Errors.Suspended):
		return nil // the next kernel has them
	case errors.Is(err, errMoved):
		return errors.Join(err, a.locate()) // for the next round
	case err != nil:
		return err
	}
	a.Step("deleted")
	return a.spool.save(next)
}

// recordsBetween counts the list's records between two bytes.
func (a *Agent) recordsBetween(from, to int64) (n uint64, err error) {
	err = a.list.each(from, to, func(*ima.Record) error { n++; return nil })
	return n, err
}

// isListed returns a check that what the kernel is about to delete is what the
// list has: exactly that, or with more behind it.
func (a *Agent) isListed(from, size int64, exactly bool) func(io.Reader) error {
	return func(r io.Reader) error {
		n, _, err := a.list.match(r, from, size)
		if err != nil {
			return err
		}
		if n < size {
			return fmt.Errorf("%w: nothing was deleted", errMoved)
		}
		if exactly {
			if n, err := io.Copy(io.Discard, r); err != nil || n > 0 {
				return errors.Join(fmt.Errorf("%w: more is staged than was read; nothing was deleted", errMoved), err)
			}
		}
		return nil
	}
}
