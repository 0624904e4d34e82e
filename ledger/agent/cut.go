package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
)

// ErrNoAnchor is a host that has not seen a checkpoint of its log yet.
var ErrNoAnchor = errors.New("no checkpoint of the log was verified yet, so a segment has nothing to be anchored to")

// ErrUnquiet is a gap that could not be closed, since records came all the time.
var ErrUnquiet = errors.New("records came while the quote was made that is to close a gap; it will be tried again")

// A quoted is a quote for the next segment of the chain.
type quoted struct {
	head      ledger.Head
	attest    []byte
	signature []byte
	quote     *quote.Quote
	known     ima.Values // read after the quote
	listed    uint64     // records in the newest list before the quote
}

// cut makes a segment of what is new. The list is set apart first, so that the
// quote covers all that is; then comes the quote, and then the list is read: the
// kernel lists a record before it extends a register, so what was quoted is in
// the list by then.
func (a *Agent) cut(ctx context.Context) error {
	if !a.enrolledAK() {
		// ensureEnrolled said why. A segment by a key that is not enrolled is refused, and
		// the enrolment would wait behind it.
		return nil
	}
	if a.trusted == nil {
		return ErrNoAnchor
	}
	boot, err := a.BootID()
	if err != nil {
		return err
	}
	if full, err := a.spoolFull(); err != nil || full {
		if full {
			a.problem["spool"] = ErrSpoolFull
		}
		return err
	}
	if a.list == nil || boot != a.spool.state.Boot {
		return a.newKernel(ctx, boot)
	}
	if a.spool.state.Gap != "" && !a.begun() {
		return a.gapAgain(ctx)
	}
	if err := a.settle(); err != nil {
		return err
	}
	if idle, err := a.idle(); err != nil || idle {
		return err
	}
	if err := a.stage(); err != nil {
		return err
	}
	q, err := a.quote()
	if err != nil {
		return err
	}
	switch was, _ := a.counters(); {
	case !a.begun() && a.wentBack(q):
		return a.clearedBoot(ctx, boot) // begun before, and then the power was cut
	case q.quote.ResetCount < was, a.wentBack(q):
		return a.cleared(ctx)
	case q.quote.ResetCount > was:
		return a.gap("resumed") // the kernel goes on, and the registers began anew
	}
	return a.readAndSeal(q)
}

// counters returns the TPM's as the list's newest segment has them, which is on disk
// before the state; before the first, as the list was begun.
func (a *Agent) counters() (resets, restarts uint32) {
	if a.begun() {
		if last, err := quote.Parse(a.chain.last.Attest); err == nil {
			return last.ResetCount, last.RestartCount
		}
	}
	return a.spool.state.ResetCount, a.spool.state.RestartCount
}

// ErrSpoolFull is the limit of records without a receipt.
var ErrSpoolFull = errors.New("the spool is full: what is new stays in kernel memory until receipts come")

// spoolFull reports whether the spool's limit is reached: then nothing more is
// read. What is below it may go over it by as much as the kernel lists, since a
// segment has all that its quote covers. Where nothing waits for a receipt, none will
// make room.
func (a *Agent) spoolFull() (bool, error) {
	n, err := a.spoolBytes()
	return a.SpoolLimit > 0 && n >= a.SpoolLimit && len(a.chain.pending) > 0, err
}

// spoolBytes returns the size of the records without a receipt.
func (a *Agent) spoolBytes() (int64, error) {
	end, _, err := a.receipted()
	if err != nil {
		return 0, err
	}
	n := a.spool.state.Bytes - end.Offset
	for _, p := range a.chain.pending {
		_, entry, err := a.chain.entry(p)
		if err != nil {
			return 0, err
		}
		s, ok := entry.(*ledger.Segment)
		if !ok {
			continue
		}
		at, err := a.chain.place(p)
		if err != nil {
			return 0, err
		}
		if at.List == a.spool.state.List {
			break // as are all that follow: their bytes are in the count already
		}
		n += int64(s.Payload.Size) // of an older list
	}
	return n, nil
}

// readAndSeal reads what the kernel lists, and cuts it at the quote.
func (a *Agent) readAndSeal(q *quoted) error {
	err := a.readKernel()
	if errors.Is(err, errMoved) {
		a.Logger.Warn("agent: the kernel's list", "error", err)
		a.moved = true
		if err = a.locate(); err == nil {
			err = a.readKernel() // what does not fit now either is tried again later
		}
	}
	if err == nil && !a.covers(q) {
		// The list names a register for the first time: quoted again, so that the
		// segment does not end before that record.
		if q, err = a.quote(); err == nil {
			err = a.readKernel()
		}
	}
	if err != nil {
		return err
	}
	return a.seal(q)
}

// covers reports whether the quote is over every register that the list names, and
// over those that its boot_aggregate is made of.
func (a *Agent) covers(q *quoted) bool {
	wanted := a.named()
	for _, b := range q.quote.Selection {
		if !contains(b.PCRs, wanted) || a.list != nil && a.list.aggregates[ima.Bank(b.Bank)] && !contains(b.PCRs, firmware) {
			return false
		}
	}
	return true
}

func contains(list, part []int) bool {
	return !slices.ContainsFunc(part, func(pcr int) bool { return !slices.Contains(list, pcr) })
}

// begun reports whether the newest list has a segment.
func (a *Agent) begun() bool {
	return a.list != nil && a.chain.last != nil && a.chain.lastPlace.List == a.list.number
}

// idle reports whether nothing was listed since the last segment.
func (a *Agent) idle() (bool, error) {
	if !a.begun() {
		return false, nil
	}
	at := a.spool.state
	if endOf(a.chain.last, a.chain.lastPlace).Offset < at.Bytes {
		return false, nil
	}
	if a.Delete == DeleteStaged && at.Staged == 0 {
		// Staged, and then the power was cut.
		if some, err := a.isStaged(); err != nil || some {
			return false, err
		}
	}
	count, err := a.Kernel.Count()
	return count == at.Records-at.KernelRecord-at.StagedRecords, err
}

// named returns the registers that records of the newest list name.
func (a *Agent) named() []int {
	var list []int
	if a.list != nil {
		for pcr := range a.list.named {
			if ima.Attestable(uint32(pcr)) {
				list = append(list, pcr)
			}
		}
	}
	return list
}

// quote has the TPM sign the head of the next segment, over the registers that
// the list extends, in every bank, and those that boot_aggregate is made of.
func (a *Agent) quote() (*quoted, error) {
	q := &quoted{head: ledger.Head{
		Log: a.log, Host: a.Host, AK: ledger.Name(a.ak.Name), Sequence: a.chain.next(), Previous: a.chain.leaf,
		Anchor: ledger.Anchor{Size: a.trusted.Size, Root: a.trusted.Root, Note: sha256.Sum256(a.trusted.Raw)},
	}}
	banks, err := a.TPM.Banks()
	if err != nil {
		return nil, err
	}
	selection, err := a.selection(banks)
	if err != nil {
		return nil, err
	}
	if a.list != nil {
		q.listed = a.spool.state.Records
	}
	nonce := q.head.Nonce()
	if q.attest, q.signature, err = a.TPM.Quote(nonce[:], selection); err != nil {
		return nil, err
	}
	// A quote by another key would make an entry that no ledger takes, and all that
	// comes after it would wait behind it.
	if q.quote, err = a.ak.Verify(q.attest, q.signature); err == nil {
		err = errors.Join(q.quote.CheckSigner(a.ak), q.quote.CheckNonce(nonce[:]))
	}
	if err != nil {
		return nil, fmt.Errorf("the TPM's own quote does not verify: %w", err)
	}
	a.Step("quoted")
	q.known, err = a.TPM.ReadPCRs(selection)
	return q, err
}

// selection is what is to be quoted of this list.
func (a *Agent) selection(banks []ima.Bank) (ima.Selection, error) {
	if a.QuoteAll {
		s, err := Selection(banks, a.named(), banks)
		// Keylime's verifier wants the bank of the signature's hash to be the last.
		i := slices.IndexFunc(s, func(b ima.SelectedBank) bool { return b.Bank == ima.Bank(a.ak.HashAlg) })
		if i >= 0 {
			last := s[i]
			s = append(slices.Delete(s, i, i+1), last)
		}
		return s, err
	}
	var whole []ima.Bank
	if a.list != nil {
		whole = slices.Collect(maps.Keys(a.list.aggregates))
	}
	return Selection(banks, a.named(), whole)
}

// firmware are the registers that boot_aggregate is made of.
var firmware = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}

// Selection returns what to quote: PCR 10 and the registers named, in every bank
// that can be replayed; and PCR 0 to 9, which boot_aggregate is made of, in the
// strongest of them and in those that are to be whole.
func Selection(banks []ima.Bank, named []int, whole []ima.Bank) (ima.Selection, error) {
	named = append([]int{ima.DefaultPCR}, named...)
	var strongest ima.Bank
	for _, b := range banks {
		// Others, such as SM3, are left out: these bind the records.
		if b.Available() && (strongest == 0 || b.Size() > strongest.Size()) {
			strongest = b
		}
	}
	if strongest == 0 {
		return nil, errors.New("the TPM has no PCR bank on whose hash is known here: turn on its SHA-256 bank in the firmware's settings")
	}
	var selection ima.Selection
	for _, b := range banks {
		if !b.Available() {
			continue
		}
		pcrs := slices.Clone(named)
		if b == strongest || slices.Contains(whole, b) {
			pcrs = append(pcrs, firmware...)
		}
		slices.Sort(pcrs)
		selection = append(selection, ima.SelectedBank{Bank: b, PCRs: slices.Compact(pcrs)})
	}
	return selection, nil
}

// seal cuts the list at the quote.
func (a *Agent) seal(q *quoted) error {
	s, err := Assemble(a.input(q))
	var none *ima.NoCutError
	switch {
	case errors.As(err, &none):
		a.Logger.Warn("agent: the list does not give what the TPM quoted", "error", err)
		return a.gap(a.gapReason(q))
	case err != nil:
		return err
	case a.tooLong(s):
		return a.gapTooLong(s)
	case s.Join.Kind == ledger.JoinBoot:
		if reason := a.noBoot(s, q); reason != "" {
			a.Logger.Warn("agent: what is listed does not begin a boot: there is no record that the registers hold, the first is not boot_aggregate, or that one is not of the quoted registers", "records", s.Count)
			return a.gap(reason)
		}
	}
	if s.Count == 0 && s.Join.Kind == ledger.JoinContinues {
		return a.extended(q) // all of it came after the quote
	}
	return a.add(s, q)
}

// input is what the next segment is made of, if it goes on where the list's last
// one ended, or begins the list.
func (a *Agent) input(q *quoted) Input {
	return Input{
		Head: q.head, Attest: q.attest, Signature: q.signature, Hash: ima.Bank(a.ak.HashAlg), Format: ima.Format{Bank: ima.SHA1},
		List: a.list.section(a.begin().Offset, a.spool.state.Bytes), Known: q.known, Previous: a.chain.last, Boot: !a.begun() && !a.sameEpoch(q),
	}
}

// begin returns where the next segment's records begin.
func (a *Agent) begin() place {
	if a.begun() {
		return endOf(a.chain.last, a.chain.lastPlace)
	}
	return place{List: a.list.number, Offset: a.spool.state.Begin, Record: a.spool.state.BeginRecord}
}

// add keeps a segment, with all that its submission needs.
func (a *Agent) add(s *ledger.Segment, q *quoted) error {
	if err := a.chain.add(s, a.trusted.Raw, a.begin()); err != nil {
		return err
	}
	a.Step("spooled")
	a.Logger.Info("segment", "sequence", s.Sequence, "join", s.Join.String(), "first", s.First, "records", s.Count)
	at := a.spool.state
	at.ResetCount, at.RestartCount, at.Kexec = q.quote.ResetCount, q.quote.RestartCount, false
	if at == a.spool.state {
		return nil
	}
	return a.spool.save(at)
}
