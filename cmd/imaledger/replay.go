package main

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
)

// A replayReport is what replay prints with --json. Its keys are stable.
type replayReport struct {
	Verdict    string            `json:"verdict"` // verified or contradicted
	Prefix     uint64            `json:"prefix"`  // records under the quote
	Records    uint64            `json:"records"` // in the list
	End        map[string]string `json:"end"`     // register to value after the prefix, hex
	Bank       string            `json:"bank"`    // of the list file
	Order      string            `json:"order"`   // of the list file
	Style      string            `json:"style"`   // how banks other than SHA-1 are extended
	Unattested uint64            `json:"unattested"`
	Counters   *replayCounters   `json:"counters,omitempty"`
	Findings   []ledger.Finding  `json:"findings"`
}

type replayCounters struct {
	ResetCount      uint32 `json:"resetCount"`
	RestartCount    uint32 `json:"restartCount"`
	Clock           uint64 `json:"clock"` // milliseconds
	Safe            bool   `json:"safe"`
	FirmwareVersion string `json:"firmwareVersion"` // hex
}

type replayFlags struct {
	attest, signature, ak, pcrs, nonce, base, bank string
	json                                           bool
}

func newReplayCommand() *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay --attest F --signature F --ak F --nonce HEX [--pcrs F] [--base F] LIST...",
		Short: "Check one TPM quote against a measurement list",
		Long: `replay checks that a TPM signed a quote, and finds the records of a list that the
quote covers: the one prefix that, replayed in every quoted bank and register,
gives the quoted values. Several files are one list, joined in their order.

  --attest     TPMS_ATTEST, --signature TPMT_SIGNATURE, --ak TPMT_PUBLIC, all raw
  --pcrs       JSON, {"pcrs": {"sha256": {"0": hex, ...}}}: values of quoted
               registers that the list does not extend, zero where it is silent.
               A hint: the quote decides
  --base       JSON, {"sha256:10": hex, ...}: values before the list's first
               record; zero where it is silent

With --json: prefix (records under the quote), records (in the list), end (values
after the prefix), counters, findings.

Exit codes: 0 verified, 1 contradicted, 2 wrong usage: also where a file other than
the list is not there or not of its form. A list that is not there leaves the
question undecided (3); so does --pcrs left out where the quote covers registers
that the list does not extend.`,
		Example: `  imaledger replay --attest quote.tpms_attest --signature quote.tpmt_signature \
      --ak ak.tpmt_public --pcrs pcrs.json --nonce 01 binary_runtime_measurements`,
		Args: someArguments("the measurement list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := openJoinedList(args, f.bank)
			if err != nil {
				return err
			}
			report, err := f.run(list)
			if err != nil {
				return err
			}
			if f.json {
				err = printJSON(cmd.OutOrStdout(), report)
			} else {
				err = report.print(cmd.OutOrStdout())
			}
			return exitWith(err, ledger.Worst(report.Findings))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.attest, "attest", "", "quote, TPMS_ATTEST (required)")
	flags.StringVar(&f.signature, "signature", "", "its signature, TPMT_SIGNATURE (required)")
	flags.StringVar(&f.ak, "ak", "", "attestation key, TPMT_PUBLIC (required)")
	flags.StringVar(&f.nonce, "nonce", "", "the nonce the quote must have, hex (required; \"\" for none)")
	flags.StringVar(&f.pcrs, "pcrs", "", "values of other quoted registers, JSON")
	flags.StringVar(&f.base, "base", "", "values before the first record, JSON")
	flags.StringVar(&f.bank, "bank", "", "whose digests the list stores; found out if not given")
	flags.BoolVar(&f.json, "json", false, "print JSON")
	for _, name := range []string{"attest", "signature", "ak", "nonce"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is defined above
		}
	}
	return cmd
}

// run makes the checks. What contradicts is a finding of the report; an error is
// what keeps the checks from being made.
func (f *replayFlags) run(list *joinedList) (*replayReport, error) {
	nonce, err := hex.DecodeString(f.nonce)
	if err != nil {
		return nil, cli.WithHint(cli.Usagef("--nonce %q: want hex, two digits a byte", f.nonce), "it is what the quote was asked for with; --nonce \"\" if that was nothing")
	}
	known, err := readPCRs(f.pcrs)
	if err != nil {
		return nil, err
	}
	base, err := readBase(f.base)
	if err != nil {
		return nil, err
	}
	r := &replayReport{Verdict: "verified", End: map[string]string{}, Bank: list.bank.String(), Findings: []ledger.Finding{}}
	q, ak, err := f.quote(r, nonce)
	if err != nil {
		return nil, err
	}
	if q != nil {
		r.Counters = &replayCounters{q.ResetCount, q.RestartCount, q.Clock, q.Safe, fmt.Sprintf("%016x", q.FirmwareVersion)}
		if err := r.replay(list, q, ak, known, base); err != nil {
			return nil, err
		}
	}
	if len(r.Findings) > 0 {
		r.Verdict = "contradicted"
	}
	return r, nil
}

func (r *replayReport) find(code ledger.Code, subject, format string, args ...any) {
	r.Findings = append(r.Findings, ledger.Finding{Code: code, Subject: subject, Text: fmt.Sprintf(format, args...)})
}

// quote verifies the quote; it is nil if it cannot be believed.
func (f *replayFlags) quote(r *replayReport, nonce []byte) (*quote.Quote, *quote.AK, error) {
	var content [3][]byte
	for i, file := range []struct{ flag, name, what string }{
		{"--attest", f.attest, "TPMS_ATTEST"}, {"--signature", f.signature, "TPMT_SIGNATURE"}, {"--ak", f.ak, "TPMT_PUBLIC"},
	} {
		var err error
		if content[i], err = readLimited(file.name, quote.MaxAttest); err != nil {
			return nil, nil, cli.WithHint(fmt.Errorf("%s: %w", file.flag, err), "%s takes a file with the raw %s, as the TPM returned it", file.flag, file.what)
		}
	}
	ak, err := quote.ParseAK(content[2])
	if err != nil {
		code := ledger.AKAttributes
		if errors.Is(err, quote.ErrMalformed) {
			code = ledger.QuoteMalformed
		}
		r.find(code, f.ak, "%v", err)
		return nil, nil, nil
	}
	q, err := ak.Verify(content[0], content[1])
	switch {
	case errors.Is(err, quote.ErrSignature):
		r.find(ledger.QuoteSignature, f.signature, "%v: it is not %s that signed %s, or one of the three was altered", err, f.ak, f.attest)
		return nil, nil, nil
	case errors.Is(err, quote.ErrScheme):
		r.find(ledger.QuoteSignature, f.signature, "%v", err)
		return nil, nil, nil
	case err != nil:
		file := f.attest
		if _, bad := quote.Parse(content[0]); bad == nil {
			file = f.signature
		}
		r.find(ledger.QuoteMalformed, file, "%v", err)
		return nil, nil, nil
	}
	if !bytes.Equal(q.ExtraData, nonce) {
		r.find(ledger.QuoteNonce, f.attest, "the quote's nonce is %s, want %s: it was made for something else", hexOrNone(q.ExtraData), hexOrNone(nonce))
	}
	if err := q.CheckSigner(ak); err != nil {
		r.find(ledger.QuoteSigner, f.attest, "%v", err)
	}
	return q, ak, nil
}

func hexOrNone(b []byte) string { return cmp.Or(hex.EncodeToString(b), "none") }

func (r *replayReport) replay(list *joinedList, q *quote.Quote, ak *quote.AK, known, base ima.Values) error {
	quoted := ima.Quoted{Hash: ima.Bank(ak.HashAlg), Digest: q.PCRDigest, Known: known}
	start := make(ima.Values)
	for _, b := range q.Selection {
		bank := ima.Bank(b.Bank)
		quoted.Selection = append(quoted.Selection, ima.SelectedBank{Bank: bank, PCRs: b.PCRs})
		for slot, v := range base {
			if slot.Bank == bank { // of a bank that is not quoted nothing can be said
				start[slot] = v
			}
		}
	}
	// With PCR 10 as it was read after the quote first, if it was: that is fast.
	// It may be wrong, so then without.
	expected := make(ima.Values)
	for slot, v := range known {
		if slot.PCR == ima.DefaultPCR {
			expected[slot] = v
		}
	}
	var first error
	for _, style := range []struct {
		name     string
		style    ima.Style
		expected ima.Values
	}{{"digest", ima.StyleDigest, expected}, {"digest", ima.StyleDigest, nil}, {"padded", ima.StylePadded, nil}, {"padded-ff", ima.StylePaddedFF, nil}} {
		if style.expected != nil && len(expected) == 0 {
			continue
		}
		quoted.Expected = style.expected
		cut, err := list.cut(quoted, start, style.style)
		if err == nil {
			r.Prefix, r.Records, r.Unattested, r.Style = cut.Prefix, cut.Records, cut.Unattested, style.name
			r.Order = cut.Order.String()
			for slot, v := range cut.End {
				r.End[slot.String()] = hex.EncodeToString(v)
			}
			for slot, v := range cut.Others {
				if slices.Contains(cut.Listed, slot.PCR) { // by records after the prefix
					r.End[slot.String()] = hex.EncodeToString(v)
				}
			}
			return nil
		}
		var none *ima.NoCutError
		if first == nil {
			first = err
		}
		if errors.As(err, &none) {
			r.Records = none.Records
			continue
		}
		break
	}
	var none *ima.NoCutError
	if errors.As(first, &none) && len(known) == 0 && len(none.Unknown) > 0 && len(none.Unquoted) == 0 {
		// Whether the list is at fault, nobody can tell.
		return cli.WithHint(cli.Undecidedf("%s: %w", list.names[0], first), "--pcrs FILE has the values; tpm2_pcrread and the like read them beside the quote")
	}
	return r.listError(list, first)
}

func (r *replayReport) listError(list *joinedList, err error) error {
	f, ok := list.finding(err)
	if !ok {
		return cli.Undecidedf("%s: %w", list.names[0], err)
	}
	r.Findings = append(r.Findings, f)
	return nil
}

func (l *joinedList) cut(q ima.Quoted, base ima.Values, style ima.Style) (*ima.Cut, error) {
	in, err := l.open()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	styles := make(ima.Styles)
	for _, b := range q.Selection {
		styles[b.Bank] = style
	}
	return ima.FindCut(ima.NewReader(in, ima.Format{Bank: l.bank}), q, base, styles)
}

// each calls f for every record.
func (l *joinedList) each(f func(*ima.Record) error) error {
	in, err := l.open()
	if err != nil {
		return err
	}
	defer in.Close()
	for r := ima.NewReader(in, ima.Format{Bank: l.bank}); ; {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := f(rec); err != nil {
			return err
		}
	}
}

func (r *replayReport) print(w io.Writer) error {
	p := &printer{w: w}
	if len(r.Findings) > 0 {
		p.f("CONTRADICTED\n\n")
		for _, f := range r.Findings {
			p.f("  %s\n", f)
		}
		return p.err
	}
	p.f("VERIFIED: the quote covers the first %d of %s.\n\n", r.Prefix, audit.Count(r.Records, "record"))
	if r.Unattested > 0 {
		p.f("  %d of them name registers that no quote can cover: they are not proven.\n", r.Unattested)
	}
	if r.Style != "digest" {
		p.f("  The banks are extended with padded SHA-1 digests: this is as strong as SHA-1.\n")
	}
	p.f("  boot: resetCount %d, restartCount %d, TPM clock %d ms\n  registers after record %d:\n", r.Counters.ResetCount, r.Counters.RestartCount, r.Counters.Clock, r.Prefix)
	v := make(ima.Values)
	for s := range r.End {
		slot, err := ima.ParseSlot(s)
		if err != nil {
			return err
		}
		v[slot] = nil
	}
	for _, slot := range v.Slots() {
		p.f("    %-10s %s\n", slot, r.End[slot.String()])
	}
	return p.err
}
