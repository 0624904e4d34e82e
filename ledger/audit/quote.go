package audit

import (
	"bytes"
	"cmp"
	"errors"
	"slices"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
)

// judgeQuote makes the checks of a segment that need no records. It returns nil
// where the quote cannot be believed.
func (s *State) judgeQuote(j *Judgement, seg *ledger.Segment, h *Host) *quote.Quote {
	// SPEC: 2. The AK is the one that the host is enrolled with.
	e := h.Enrolment
	if e == nil {
		j.find(ledger.AKNotEnrolled, "no enrolment of host %s is known", seg.Host)
		return nil
	}
	if seg.AK != e.AK {
		j.find(ledger.AKNotEnrolled, "quoted by AK %.16s…, host %s is enrolled with %.16s…", seg.AK, seg.Host, e.AK)
		return nil
	}
	if h.ak == nil {
		var err error
		if h.ak, err = quote.ParseAK(e.AKPublic); err != nil {
			j.find(ledger.AKAttributes, "%v", err)
			return nil
		}
	}
	ak := h.ak

	// SPEC: 3. Quote and signature are of the one form a TPM gives them, and the
	// AK signed the quote in its own scheme.
	q, err := ak.Verify(seg.Attest, seg.Signature)
	if err != nil {
		j.find(quoteCode(err), "%v", err)
		return nil
	}

	// SPEC: 4. The nonce is the head's SHA-256.
	if nonce := seg.Nonce(); q.CheckNonce(nonce[:]) != nil {
		j.find(ledger.QuoteNonce, "the quote's nonce is %x, the head's SHA-256 is %x", q.ExtraData, nonce)
	}

	// SPEC: 5. The qualified signer is the AK under the endorsement hierarchy,
	// where the TPM does not obfuscate its counters.
	if err := q.CheckSigner(ak); err != nil {
		j.find(ledger.QuoteSigner, "%v", err)
	}

	s.judgeSelection(j, seg, q)

	// SPEC: 8. The values, put together in the order of the quote, have the
	// quoted digest.
	selection := imaSelection(q)
	value := func(slot ima.Slot) []byte { return seg.Quoted(bankName(slot.Bank), slot.PCR) }
	if !j.contradicted() && !bytes.Equal(selection.Digest(ima.Bank(ak.HashAlg), value), q.PCRDigest) {
		j.find(ledger.QuoteValues, "the values in the segment do not have the quoted digest %x", q.PCRDigest)
	}
	if j.contradicted() {
		return nil
	}
	return q
}

// judgeSelection holds the registers of the segment to those of the quote.
func (s *State) judgeSelection(j *Judgement, seg *ledger.Segment, q *quote.Quote) {
	// SPEC: 6. The registers in end and other are the quoted ones, no more and
	// no fewer; a register that the list extends is quoted in every bank that
	// has one.
	// Neither names one twice.
	n, same := 0, true
	for _, b := range q.Selection {
		bank := bankName(ima.Bank(b.Bank))
		for _, index := range b.PCRs {
			n++
			same = same && seg.Quoted(bank, index) != nil
		}
	}
	if !same || n != len(seg.End)+len(seg.Others) {
		j.find(ledger.QuoteSelection, "the quote covers %s, the segment states %s", slots(quotedPCRs(q)), slots(slices.Concat(seg.End, seg.Others)))
	}
	for _, index := range indexes(seg.Base) {
		for _, t := range seg.Styles {
			if seg.Quoted(t.Bank, index) == nil || !slices.ContainsFunc(seg.Base, func(p ledger.PCR) bool { return p.Bank == t.Bank && p.Index == index }) {
				j.find(ledger.QuoteSelection, "the list extends PCR %d, which is not quoted in bank %s", index, t.Bank)
			}
		}
	}

	// SPEC: 7. At least one bank binds the records by a hash of its own that is
	// stronger than SHA-1, unless the trust folder allows SHA-1.
	strong := slices.ContainsFunc(seg.Styles, func(t ledger.BankStyle) bool { return t.Bank != "sha1" && t.Style == "digest" })
	if !strong && !s.trust.AllowSHA1 {
		j.find(ledger.BankWeak, "the records are bound by SHA-1 alone; have another bank quoted, or say allow sha1 in the trust folder's rules")
	}
}

func quoteCode(err error) ledger.Code {
	switch {
	case errors.Is(err, quote.ErrSignature), errors.Is(err, quote.ErrScheme):
		return ledger.QuoteSignature
	case errors.Is(err, quote.ErrAttributes):
		return ledger.AKAttributes
	default:
		return ledger.QuoteMalformed
	}
}

func quotedPCRs(q *quote.Quote) (list []ledger.PCR) {
	for _, b := range q.Selection {
		for _, index := range b.PCRs {
			list = append(list, ledger.PCR{Bank: bankName(ima.Bank(b.Bank)), Index: index})
		}
	}
	return list
}

func imaSelection(q *quote.Quote) ima.Selection {
	var list ima.Selection
	for _, b := range q.Selection {
		list = append(list, ima.SelectedBank{Bank: ima.Bank(b.Bank), PCRs: b.PCRs})
	}
	return list
}

// bankName gives a bank its name in the formats.
func bankName(b ima.Bank) ledger.Bank { return ledger.Bank(b.String()) }

func indexes(list []ledger.PCR) []int {
	v := make([]int, 0, len(list))
	for _, p := range list {
		v = append(v, p.Index)
	}
	slices.Sort(v)
	return slices.Compact(v)
}

// slots names registers for people: sha1:0-10 sha256:0-10.
func slots(list []ledger.PCR) string {
	ledger.SortPCRs(list)
	var b []byte
	for i := 0; i < len(list); i++ {
		first := i
		for i+1 < len(list) && list[i+1].Bank == list[first].Bank && list[i+1].Index == list[i].Index+1 {
			i++
		}
		if len(b) > 0 {
			b = append(b, ' ')
		}
		b = append(b, list[first].Slot()...)
		if i > first {
			b = append(b, '-')
			b = append(b, list[i].Slot()[len(list[i].Bank)+1:]...)
		}
	}
	return cmp.Or(string(b), "nothing")
}
