package agent

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
)

// An Input is what a segment is made of. The quote was taken first and the list
// read after it: the kernel lists a record before it extends a register, so what
// was quoted is in the list.
type Input struct {
	Head      ledger.Head
	Attest    []byte
	Signature []byte
	Hash      ima.Bank // of the AK's scheme
	Format    ima.Format
	// List is the kernel's list from the first record that no segment has. It is
	// read several times.
	List io.ReadSeeker
	// Known are register values read beside the quote, for registers that the
	// list does not extend.
	Known ima.Values
	// Expected are values thought to be quoted, of registers that the list does
	// extend. They save time; see ima.Quoted.
	Expected ima.Values
	// Previous is the host's segment before, nil for none; Quote is its quote.
	Previous *ledger.Segment
	// Boot says that the kernel's list and the registers began anew although
	// resetCount is that of Previous: after a TPM Restart.
	Boot bool
	// Gap declares a gap and its reason; Base and First are then the host's
	// claim. Empty for no gap.
	Gap   string
	Base  ima.Values
	First uint64
	// Styles pins how banks are extended; nil tries the kernel's present way
	// first and the older ones after it.
	Styles ima.Styles
}

// Assemble cuts the list at the quote and makes the segment. Its payload is the
// first Payload.Size bytes of the list; what follows belongs to the next one.
// An *ima.NoCutError is a finding about this host, and nothing to try again.
func Assemble(in Input) (*ledger.Segment, error) {
	q, err := quote.Parse(in.Attest)
	if err != nil {
		return nil, fmt.Errorf("assemble segment: %w", err)
	}
	s := &ledger.Segment{Head: in.Head, Attest: in.Attest, Signature: in.Signature}
	named, err := in.named()
	if err != nil {
		return nil, err
	}
	base, err := in.join(s, q, named)
	if err != nil {
		return nil, fmt.Errorf("assemble segment: %w", err)
	}
	cut, styles, err := in.cut(q, base)
	if err != nil {
		return nil, err
	}
	if err := in.body(s, q, cut, styles, base); err != nil {
		return nil, fmt.Errorf("assemble segment: %w", err)
	}
	return s, nil
}

// named returns the registers that the list's records name.
func (in *Input) named() (map[int]bool, error) {
	if _, err := in.List.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	named := map[int]bool{ima.DefaultPCR: true}
	for r := ima.NewReader(in.List, in.Format); ; {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return named, nil
		}
		if err != nil {
			return nil, err
		}
		named[int(rec.PCR)] = true
	}
}

// join decides how the segment follows the one before, by the TPM's counters,
// and returns the values that its registers begin with. A register that the list
// names for the first time begins with what the segment before quoted for it.
func (in *Input) join(s *ledger.Segment, q *quote.Quote, named map[int]bool) (ima.Values, error) {
	base := make(ima.Values)
	if in.Gap != "" {
		s.Join = ledger.Join{Kind: ledger.JoinGap, Reason: in.Gap}
		s.First = in.First
		return in.Base, nil
	}
	if in.Previous == nil || in.Boot {
		s.Join.Kind = ledger.JoinBoot
		return base, nil
	}
	was, err := quote.Parse(in.Previous.Attest)
	if err != nil {
		return nil, fmt.Errorf("previous segment: %w", err)
	}
	if q.ResetCount != was.ResetCount {
		s.Join.Kind = ledger.JoinBoot
		return base, nil
	}
	s.Join.Kind, s.First = ledger.JoinContinues, in.Previous.First+in.Previous.Count
	for _, p := range in.Previous.End {
		base[slot(p)] = p.Value
	}
	for _, p := range in.Previous.Others {
		if named[p.Index] {
			base[slot(p)] = p.Value
		}
	}
	return base, nil
}

// cut tries the styles in turn: the host's kernel has one of them.
func (in *Input) cut(q *quote.Quote, base ima.Values) (*ima.Cut, ima.Styles, error) {
	quoted := ima.Quoted{Hash: in.Hash, Digest: q.PCRDigest, Known: in.Known, Expected: in.Expected}
	for _, b := range q.Selection {
		quoted.Selection = append(quoted.Selection, ima.SelectedBank{Bank: ima.Bank(b.Bank), PCRs: b.PCRs})
	}
	candidates := []ima.Styles{in.Styles}
	if in.Styles == nil {
		candidates = stylesOf(quoted.Selection)
	}
	var first error
	for _, styles := range candidates {
		if _, err := in.List.Seek(0, io.SeekStart); err != nil {
			return nil, nil, err
		}
		cut, err := ima.FindCut(ima.NewReader(in.List, in.Format), quoted, base, styles)
		if err == nil {
			return cut, styles, nil
		}
		if first == nil {
			first = err
		}
		var none *ima.NoCutError
		if !errors.As(err, &none) {
			break
		}
	}
	return nil, nil, first
}

// stylesOf returns what is tried: a present kernel's way, which pads those banks that it
// has no number for, and then one way in all banks.
func stylesOf(selection ima.Selection) []ima.Styles {
	var list []ima.Styles
	try := func(style func(ima.Bank) ima.Style) {
		all := make(ima.Styles)
		for _, b := range selection {
			if b.Bank != ima.SHA1 {
				all[b.Bank] = style(b.Bank)
			}
		}
		if !slices.ContainsFunc(list, func(s ima.Styles) bool { return maps.Equal(s, all) }) {
			list = append(list, all)
		}
	}
	kernel := ima.KernelStyles()
	try(func(b ima.Bank) ima.Style { return kernel[b] })
	for _, style := range []ima.Style{ima.StyleDigest, ima.StylePadded, ima.StylePaddedFF} {
		try(func(ima.Bank) ima.Style { return style })
	}
	return list
}

// body fills in what the records under the quote give.
func (in *Input) body(s *ledger.Segment, q *quote.Quote, cut *ima.Cut, styles ima.Styles, base ima.Values) error {
	digest, records, err := in.payload(cut)
	if err != nil {
		return err
	}
	s.Count, s.Records = cut.Prefix, records
	s.Payload = ledger.Addendum{Size: uint64(cut.PrefixBytes), Digest: digest}
	order := cut.Order
	if order == ima.DetectOrder {
		order = ima.LittleEndian // of no record
	}
	s.List = ledger.List{Bank: ledger.Bank(in.Format.Bank.String()), Order: order.String()}

	extended := append([]int{ima.DefaultPCR}, cut.Named...)
	if in.Previous != nil && s.Join.Kind == ledger.JoinContinues {
		for _, p := range in.Previous.End {
			extended = append(extended, p.Index)
		}
	}
	for _, b := range q.Selection {
		bank := ledger.Bank(ima.Bank(b.Bank).String())
		for _, pcr := range b.PCRs {
			at := ima.Slot{Bank: ima.Bank(b.Bank), PCR: pcr}
			if !slices.Contains(extended, pcr) {
				s.Others = append(s.Others, ledger.PCR{Bank: bank, Index: pcr, Value: other(cut, at)})
				continue
			}
			start, known := base[at]
			if !known {
				start = make([]byte, at.Bank.Size())
			}
			s.Base = append(s.Base, ledger.PCR{Bank: bank, Index: pcr, Value: start})
			s.End = append(s.End, ledger.PCR{Bank: bank, Index: pcr, Value: cut.End[at]})
			if n := len(s.Styles); n == 0 || s.Styles[n-1].Bank != bank {
				s.Styles = append(s.Styles, ledger.BankStyle{Bank: bank, Style: styles[at.Bank].String()})
			}
		}
	}
	ledger.SortPCRs(s.Base)
	ledger.SortPCRs(s.End)
	ledger.SortPCRs(s.Others)
	slices.SortFunc(s.Styles, func(a, b ledger.BankStyle) int { return int(a.Bank.Alg()) - int(b.Bank.Alg()) })
	return nil
}

// other is the value of a register that the segment's records do not extend.
func other(cut *ima.Cut, at ima.Slot) []byte {
	if v := cut.Others[at]; v != nil {
		return v
	}
	return cut.End[at] // the list names it later
}

// payload reads the records under the quote again.
func (in *Input) payload(cut *ima.Cut) (digest, records ledger.Hash, err error) {
	if _, err := in.List.Seek(0, io.SeekStart); err != nil {
		return digest, records, err
	}
	h := sha256.New()
	tree := ledger.NewRecordTree()
	if err := addRecords(tree, io.TeeReader(io.LimitReader(in.List, cut.PrefixBytes), h), in.Format); err != nil {
		return digest, records, err
	}
	return ledger.Hash(h.Sum(nil)), tree.Root(), nil
}

func addRecords(tree *ledger.RecordTree, list io.Reader, format ima.Format) error {
	for r := ima.NewReader(list, format); ; {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		tree.Add(rec.Raw)
	}
}

func slot(p ledger.PCR) ima.Slot { return ima.Slot{Bank: ima.Bank(p.Bank.Alg()), PCR: p.Index} }
