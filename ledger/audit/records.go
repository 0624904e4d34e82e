package audit

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
)

// styles are the names that the formats have for a bank's style.
var styles = map[string]ima.Style{"digest": ima.StyleDigest, "padded": ima.StylePadded, "padded-ff": ima.StylePaddedFF}

// judgeRecords replays a segment's payload in one pass and constant memory, and
// holds every field of the body that it gives to what the leaf states.
// skipped says that the evidence begins in the middle of the chain.
func (s *State) judgeRecords(j *Judgement, seg, prev *ledger.Segment, skipped bool, addenda Addenda) {
	// SPEC: 10. The payload is at hand, or an erasure accounts for it.
	if addenda == nil {
		j.find(ledger.PayloadMissing, "the records were not looked at")
		return
	}
	payload, found, err := addenda.Open(seg.Payload.Digest)
	switch {
	case err != nil:
		j.Err = err
		return
	case !found:
		if j.Segment.Erased = s.erasedBy(j.leaf, seg.Payload.Digest); j.Segment.Erased != nil {
			j.find(ledger.PayloadErased, "records %s", j.Segment.Erased)
			return
		}
		j.find(ledger.PayloadMissing, "the %d bytes of records %x are not at hand", seg.Payload.Size, seg.Payload.Digest[:6])
		return
	}
	defer payload.Close()

	r := s.replays.Get().(*replay)
	defer s.replays.Put(r)
	if err := r.begin(seg, payload); err != nil {
		j.find(ledger.BodyMismatch, "%v", err)
		return
	}
	before := *j.Segment
	findings := len(j.Findings)
	err = nil
	for err == nil {
		err = r.next(j)
	}
	digest, size, readErr := r.drain()
	switch {
	case readErr != nil:
		j.Err = fmt.Errorf("records of %s: %w", j.subject(), readErr)
		return
	case digest != seg.Payload.Digest || size != seg.Payload.Size:
		// SPEC: 11. It is the bytes that the leaf names. If not, nothing else is
		// said of it.
		j.Findings, *j.Segment = j.Findings[:findings], before
		j.find(ledger.PayloadDigest, "the records kept are %d bytes %x, the leaf names %s", size, digest, seg.Payload)
	case !errors.Is(err, io.EOF):
		j.find(recordCode(err), "%v", err)
	default:
		r.judge(j, seg, prev, skipped)
	}
	j.Segment.Replayed = !j.contradicted()
}

func recordCode(err error) ledger.Code {
	var digest *ima.DigestError
	if errors.As(err, &digest) {
		return ledger.RecordDigest
	}
	return ledger.ListMalformed
}

// A replay is the one pass over a payload. One after another can be made in the same
// memory, which most segments have more of than records.
type replay struct {
	seg   *ledger.Segment
	in    countingHash
	list  ima.Reader
	pcrs  ima.Replayer
	tree  *ledger.RecordTree
	count uint64
	named []int // registers that records name
	last  bool  // whether a register binds the last record

	digests bool // whether a stored digest is not that of its data

	base  ima.Values
	style ima.Styles
	banks []ima.Bank
}

// countingHash hashes and counts what is read through it.
type countingHash struct {
	r    io.Reader
	hash hash.Hash
	n    uint64
	err  error
}

func (c *countingHash) begin(r io.Reader) {
	c.hash.Reset()
	*c = countingHash{r: r, hash: c.hash}
}

func (c *countingHash) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.hash.Write(p[:n])
	c.n += uint64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

func newReplay() *replay {
	return &replay{in: countingHash{hash: sha256.New()}, tree: ledger.NewRecordTree(), base: make(ima.Values), style: make(ima.Styles)}
}

// begin makes it the replay of a segment's payload.
func (r *replay) begin(seg *ledger.Segment, payload io.Reader) error {
	r.seg, r.count, r.named, r.last, r.digests = seg, 0, r.named[:0], false, false
	clear(r.base)
	clear(r.style)
	r.banks = r.banks[:0]
	for _, t := range seg.Styles {
		bank := ima.Bank(t.Bank.Alg())
		r.banks = append(r.banks, bank)
		r.style[bank] = styles[t.Style]
	}
	for _, p := range seg.Base {
		r.base[slot(p)] = p.Value
	}
	if err := r.pcrs.Reset(r.banks, r.base, r.style); err != nil {
		return err
	}
	format, err := listFormat(seg)
	if err != nil {
		return err
	}
	// One byte more than the leaf states is enough to know that it is too long.
	r.in.begin(io.LimitReader(payload, int64(seg.Payload.Size)+1))
	r.list.Reset(&r.in, format, seg.Payload.Size)
	r.tree.Reset()
	return nil
}

// NewListReader reads a segment's records in the format that its leaf states. That
// payload is what the leaf names is the caller's to check.
func NewListReader(seg *ledger.Segment, payload io.Reader) (*ima.Reader, error) {
	format, err := listFormat(seg)
	if err != nil {
		return nil, err
	}
	return ima.NewReaderSize(payload, format, seg.Payload.Size), nil
}

func listFormat(seg *ledger.Segment) (ima.Format, error) {
	order, err := ima.ParseOrder(seg.List.Order)
	return ima.Format{Bank: ima.Bank(seg.List.Bank.Alg()), Order: order}, err
}

func slot(p ledger.PCR) ima.Slot { return ima.Slot{Bank: ima.Bank(p.Bank.Alg()), PCR: p.Index} }

// next takes one record.
func (r *replay) next(j *Judgement) error {
	rec, err := r.list.Next()
	if err != nil {
		return err
	}
	if err := r.extend(j, rec); err != nil {
		return err
	}
	if rec.Violation() {
		j.Segment.Violations++
	}
	switch {
	case !ima.Attestable(rec.PCR):
		if j.Segment.Unattested++; j.Segment.Unattested == 1 {
			j.find(ledger.RecordUnattested, "record %d names PCR %d, which the kernel cannot extend", r.seg.First+rec.Index, rec.PCR)
		}
	case !slices.Contains(r.named, int(rec.PCR)):
		r.named = append(r.named, int(rec.PCR))
		if !slices.Contains(indexes(r.seg.Base), int(rec.PCR)) {
			j.find(ledger.QuoteSelection, "record %d extends PCR %d, which the segment does not state", r.seg.First+rec.Index, rec.PCR)
		}
	}
	r.last = ima.Attestable(rec.PCR)
	r.bootAggregate(j, rec)
	r.count++
	r.tree.Add(rec.Raw)
	return nil
}

// maxKexecs is how many kexecs of a segment are findings each: root can make
// millions of such records, and more is counted alone.
const maxKexecs = 100

// extend: SPEC: 13. Records are replayed by the digests of their data, whatever
// is stored. SPEC: 12. That those are the same is asked all the same.
func (r *replay) extend(j *Judgement, rec *ima.Record) error {
	err := r.pcrs.Extend(rec)
	if err == nil {
		return nil
	}
	var digest *ima.DigestError
	if !errors.As(err, &digest) {
		return err
	}
	if !r.digests {
		j.find(ledger.RecordDigest, "%v", err)
	}
	r.digests = true
	if !ima.Attestable(rec.PCR) {
		return nil
	}
	for _, t := range r.seg.Styles {
		bank := ima.Bank(t.Bank.Alg())
		if err := r.pcrs.ExtendDigest(ima.Slot{Bank: bank, PCR: int(rec.PCR)}, rec.Sum(bank, styles[t.Style])); err != nil {
			return err
		}
	}
	return nil
}

// bootAggregate: SPEC: 14. A boot's first record is boot_aggregate, and it is
// that of the quoted PCR 0 to 9. A later one means a kexec.
func (r *replay) bootAggregate(j *Judgement, rec *ima.Record) {
	first := r.seg.Join.Kind == ledger.JoinBoot && rec.Index == 0
	alg, digest, is := rec.BootAggregate()
	switch {
	case !is && first:
		j.find(ledger.BootAggregateAbsent, "the boot's first record is not boot_aggregate")
	case is:
		value := func(s ima.Slot) []byte { return r.seg.Quoted(bankName(s.Bank), s.PCR) }
		want, known := ima.BootAggregate(alg, value)
		switch {
		case !first:
			if j.Segment.Kexecs++; j.Segment.Kexecs > maxKexecs {
				return
			}
			text := "it is that of the quoted PCR 0 to 9"
			if known && !bytes.Equal(want, digest) {
				text = "it is not that of the quoted PCR 0 to 9"
			}
			if j.Segment.Kexecs == maxKexecs {
				text += "; the segment's later ones are not listed"
			}
			j.find(ledger.Kexec, "record %d is a boot_aggregate: another kernel was started; %s", r.seg.First+rec.Index, text)
		case !known:
			j.find(ledger.BootUnquoted, "boot_aggregate uses bank %s, of which PCR 0 to 9 are not all quoted", alg)
		case !bytes.Equal(want, digest):
			j.find(ledger.BootAggregate, "boot_aggregate is %s %x, the quoted registers give %x", alg, digest, want)
		}
	}
}

// drain reads on to the payload's end, so that all of it is hashed whatever the
// list's fault is.
func (r *replay) drain() (digest ledger.Hash, size uint64, err error) {
	if _, err := io.Copy(io.Discard, &r.in); err != nil {
		return digest, 0, err
	}
	return ledger.Hash(r.in.hash.Sum(nil)), r.in.n, r.in.err
}

// judge holds the body to what the whole payload gave.
func (r *replay) judge(j *Judgement, seg, prev *ledger.Segment, skipped bool) {
	// SPEC: 12. Count, record root and the registers that the list extends are
	// those that the payload gives.
	if r.count != seg.Count {
		j.find(ledger.BodyMismatch, "count is %d, the payload has %d records", seg.Count, r.count)
	}
	if seg.Join.Kind == ledger.JoinBoot && r.count == 0 {
		j.find(ledger.BootAggregateAbsent, "the boot has no record")
	}
	if r.count > 0 && !r.last {
		j.find(ledger.BodyMismatch, "no register binds the last record, so the segment ends before it")
	}
	if root := r.tree.Root(); root != seg.Records {
		j.find(ledger.BodyMismatch, "the record root is %x, the payload gives %x", seg.Records, root)
	}
	stated := indexes(seg.Base)
	extended := append(slices.Clone(r.named), ima.DefaultPCR)
	if prev != nil && seg.Join.Kind == ledger.JoinContinues {
		extended = append(extended, indexes(prev.End)...)
	}
	// What records name and base does not state has a finding of its own. After a
	// gap, or what is not shown, nobody knows what the list had extended before.
	more := seg.Join.Kind == ledger.JoinGap || prev == nil && skipped
	wrong := slices.ContainsFunc(stated, func(pcr int) bool { return !more && !slices.Contains(extended, pcr) }) ||
		slices.ContainsFunc(extended, func(pcr int) bool { return !slices.Contains(stated, pcr) && !slices.Contains(r.named, pcr) })
	if wrong {
		slices.Sort(extended)
		j.find(ledger.BodyMismatch, "base states PCR %v, the list so far extends PCR %v", stated, slices.Compact(extended))
	}
	// SPEC: 13. Replayed from the base, the records give the quoted values.
	for _, p := range seg.End {
		if got := r.pcrs.Value(slot(p)); !bytes.Equal(got, p.Value) {
			j.find(ledger.ReplayMismatch, "after %s %s is %x, the quote has %x: a record is missing, altered, out of order or too many, or something else extended the register", Count(r.count, "record"), p.Slot(), got, p.Value)
			return
		}
	}
}
