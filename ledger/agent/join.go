package agent

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
)

// newKernel takes in the list of a kernel that the agent has not seen before. The
// TPM's counters tell a boot, where the registers began anew, from a kexec, where
// they go on.
func (a *Agent) newKernel(ctx context.Context, boot string) error {
	if err := a.stage(); err != nil {
		return err
	}
	q, err := a.quote()
	if err != nil {
		return err
	}
	was := a.spool.state
	if a.wentBack(q) {
		return a.clearedBoot(ctx, boot)
	}
	if a.list == nil && a.sameEpoch(q) {
		return a.rejoin(boot, q)
	}
	if a.list == nil || q.quote.ResetCount != was.ResetCount || q.quote.RestartCount != was.RestartCount {
		// A restart, which keeps resetCount, is taken for a boot as well: the list
		// says whether it was one.
		if err := a.beginList(state{Boot: boot, ResetCount: q.quote.ResetCount, RestartCount: q.quote.RestartCount}); err != nil {
			return err
		}
		return a.readAndSeal(q)
	}
	// The kernel carried its list over, with what was staged before the rest; or it
	// lost it, and what it lists now goes on behind.
	next := was
	next.Boot, next.Kexec = boot, true
	next.Staged, next.StagedRecords = 0, 0
	if err := a.spool.save(next); err != nil {
		return err
	}
	if err := a.locate(); err != nil {
		return err
	}
	return a.readAndSeal(q)
}

// beginList makes a new list the newest.
func (a *Agent) beginList(next state) error {
	next.List = a.spool.state.List
	if a.list == nil || a.begun() || a.spool.state.Boot != next.Boot {
		next.List++ // else it has nothing that the kernel does not list still
	}
	l, err := newList(a.spool, next.List, a.Banks)
	if err != nil {
		return err
	}
	if err := a.spool.save(next); err != nil {
		return errors.Join(err, l.close())
	}
	if a.list != nil {
		err = a.list.close()
	}
	a.list = l
	return err
}

// locate finds where in the list the kernel's begins, by what the records are:
// behind all of it where the kernel has none of them any more. What it finds is
// only where to look: the quote decides.
func (a *Agent) locate() error {
	if err := a.mendList(); err != nil {
		return err
	}
	next := a.spool.state
	next.Staged, next.StagedRecords = 0, 0 // readStaged finds out
	next.Deleting, next.DeletingRecord = 0, 0
	var first []byte
	err := a.readAll(func(r io.Reader) error {
		rec, err := ima.NewReader(r, ima.Format{Bank: ima.SHA1}).Next()
		if err == nil {
			first = rec.Raw
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	if first == nil { // all that was known was deleted
		next.Kernel, next.KernelRecord = next.Bytes, next.Records
		return a.spool.save(next)
	}
	var candidates []state
	at := next
	err = a.list.each(next.Kernel, next.Bytes, func(r *ima.Record) error {
		if string(r.Raw) == string(first) {
			candidates = append(candidates, at)
		}
		at.Kernel += int64(len(r.Raw))
		at.KernelRecord++
		return nil
	})
	if err != nil {
		return err
	}
	for _, c := range candidates {
		fits := false
		err := a.readAll(func(r io.Reader) error {
			// A list that ends before is none that was only shortened at its begin.
			n, _, err := a.list.match(r, c.Kernel, c.Bytes-c.Kernel)
			fits = n == c.Bytes-c.Kernel
			return err
		})
		if err != nil {
			return err
		}
		if fits {
			return a.spool.save(c)
		}
	}
	next.Kernel, next.KernelRecord = next.Bytes, next.Records
	return a.spool.save(next)
}

// readAll gives all that the kernel lists to f, what is staged first.
func (a *Agent) readAll(f func(io.Reader) error) error {
	list := func(staged io.Reader) error {
		return a.Kernel.Read(0, func(r io.Reader) error { return f(io.MultiReader(staged, r)) })
	}
	if a.Delete != DeleteStaged {
		return list(io.MultiReader())
	}
	return a.Kernel.ReadStaged(list) // two readers do not exclude one another
}

// gapReason guesses why the list does not lead to the quote. Nothing proves it.
func (a *Agent) gapReason(q *quoted) string {
	at := a.spool.state
	_, restarts := a.counters()
	switch {
	case !a.begun() && a.chain.last == nil:
		return "first-seen"
	case a.sameEpoch(q) && a.chain.lastPlace.List == nowhere:
		return "state-lost"
	case at.Kexec:
		return "kexec-lost"
	case q.quote.RestartCount != restarts:
		return "resumed"
	case !a.begun(), a.moved:
		return "trimmed"
	}
	return "unknown"
}

// gapTries is how often a moment without records is waited for.
const gapTries = 5

// gap declares that records are missing between the last segment and what the
// kernel lists now. What it lists was extended onto values that nobody knows, so
// no quote can cover it: it is kept in a new list, before the first segment's
// records, and the segment begins with the values quoted now.
func (a *Agent) gap(reason string) error {
	a.Logger.Warn("agent: a gap", "reason", reason)
	boot := a.spool.state.Boot
	for range gapTries {
		before, err := a.Kernel.Count()
		if err != nil {
			return err
		}
		q, err := a.quote()
		if err != nil {
			return err
		}
		after, err := a.Kernel.Count()
		if err != nil {
			return err
		}
		if before != after || !quotes(q, a.ak.HashAlg) {
			continue // records came meanwhile: it is not known which the quote covers
		}
		next := state{Boot: boot, ResetCount: q.quote.ResetCount, RestartCount: q.quote.RestartCount, Gap: reason}
		if err := a.beginList(next); err != nil {
			return err
		}
		if err := a.readBefore(after); err != nil {
			return err
		}
		return a.sealGap(q, reason)
	}
	return ErrUnquiet
}

// gapAgain closes a gap that was begun, and then the power was cut. The TPM may have been
// cleared since.
func (a *Agent) gapAgain(ctx context.Context) error {
	q, err := a.quote()
	if err != nil {
		return err
	}
	if !a.wentBack(q) {
		return a.gap(a.spool.state.Gap)
	}
	if err := a.enrol(ctx); err != nil {
		return fmt.Errorf("the TPM was cleared, so the host must be enrolled again: %w", err)
	}
	return a.gap("tpm-clear")
}

// quotes reports whether the values that were read are those that were quoted.
func quotes(q *quoted, hash uint16) bool {
	var selection ima.Selection
	for _, b := range q.quote.Selection {
		selection = append(selection, ima.SelectedBank{Bank: ima.Bank(b.Bank), PCRs: b.PCRs})
	}
	return string(selection.Digest(ima.Bank(hash), func(s ima.Slot) []byte { return q.known[s] })) == string(q.quote.PCRDigest)
}

// readBefore takes in what is staged and the first n records of the kernel's
// list: what was listed when the gap's quote was made.
func (a *Agent) readBefore(n uint64) error {
	if err := a.readStaged(); err != nil {
		return err
	}
	err := a.Kernel.Read(0, func(r io.Reader) error {
		return a.list.append(&firstRecords{r: ima.NewReader(r, ima.Format{Bank: ima.SHA1}), n: n})
	})
	if err != nil {
		return err
	}
	next := a.spool.state
	next.Begin, next.BeginRecord = next.Bytes, next.Records
	return a.spool.save(next)
}

// firstRecords reads the bytes of the first n records.
type firstRecords struct {
	r    *ima.Reader
	n    uint64
	left []byte
}

func (f *firstRecords) Read(p []byte) (int, error) {
	if len(f.left) == 0 {
		if f.n == 0 {
			return 0, io.EOF
		}
		rec, err := f.r.Next()
		if err != nil {
			return 0, err
		}
		f.n--
		f.left = rec.Raw
	}
	n := copy(p, f.left)
	f.left = f.left[n:]
	return n, nil
}

// sealGap makes the segment that states the gap. It has no records.
func (a *Agent) sealGap(q *quoted, reason string) error {
	in := a.input(q)
	in.Gap, in.Boot = reason, false
	in.List = a.list.section(0, 0)
	in.Base = make(ima.Values)
	for slot, v := range q.known {
		if slot.PCR == ima.DefaultPCR {
			in.Base[slot] = v
		}
	}
	if last := a.chain.last; last != nil {
		in.First = last.First + last.Count
	}
	in.First += a.spool.state.BeginRecord
	s, err := Assemble(in)
	if err != nil {
		return err
	}
	return a.add(s, q)
}

// cleared goes on after TPM2_Clear: the counters began anew, the registers did
// not. The host must be enrolled again before.
func (a *Agent) cleared(ctx context.Context) error {
	if err := a.enrol(ctx); err != nil {
		return fmt.Errorf("the TPM was cleared, so the host must be enrolled again: %w", err)
	}
	q, err := a.quote()
	if err != nil {
		return err
	}
	if err := a.readKernel(); err != nil {
		return err
	}
	in := a.input(q)
	in.Gap, in.Boot = "tpm-clear", false
	in.Base = make(ima.Values)
	if last := a.chain.last; last != nil {
		in.First = last.First + last.Count
		for _, p := range last.End {
			in.Base[slot(p)] = p.Value
		}
	}
	return a.sealCleared(in, q)
}

// sealCleared makes the segment that states that the TPM was cleared. If records
// are missing too, it has none.
func (a *Agent) sealCleared(in Input, q *quoted) error {
	s, err := Assemble(in)
	var none *ima.NoCutError
	switch {
	case errors.As(err, &none):
		a.Logger.Warn("agent: the list does not give what the TPM quoted", "error", err)
		return a.gap(in.Gap)
	case err != nil:
		return err
	case a.tooLong(s):
		return a.gapTooLong(s)
	}
	return a.add(s, q)
}

// wentBack reports whether the TPM's counters or its clock are behind those of the
// newest segment: TPM2_Clear did that, or it is another TPM. No boot does, so a segment
// that did not say so would be refused for ever (FORMAT.md, section 8.5, J1).
func (a *Agent) wentBack(q *quoted) bool {
	if a.chain.last == nil {
		return false
	}
	was, err := quote.Parse(a.chain.last.Attest)
	if err != nil || q.quote.ResetCount != was.ResetCount {
		return err == nil && q.quote.ResetCount < was.ResetCount
	}
	return q.quote.RestartCount < was.RestartCount || q.quote.Clock < was.Clock
}

// clearedBoot goes on after TPM2_Clear and a boot, as firmware setups do it: the
// registers began anew as well, so the segment has the boot's records.
func (a *Agent) clearedBoot(ctx context.Context, boot string) error {
	if err := a.enrol(ctx); err != nil {
		return fmt.Errorf("the TPM was cleared, so the host must be enrolled again: %w", err)
	}
	q, err := a.quote()
	if err != nil {
		return err
	}
	if err := a.beginList(state{Boot: boot, ResetCount: q.quote.ResetCount, RestartCount: q.quote.RestartCount}); err != nil {
		return err
	}
	if err := a.readKernel(); err != nil {
		return err
	}
	in := a.input(q)
	in.Gap, in.Boot, in.Base, in.First = "tpm-clear", false, nil, 0
	return a.sealCleared(in, q)
}
