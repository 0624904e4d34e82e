package main

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
)

// An inspectReport is what inspect prints with --json. Its keys are stable.
type inspectReport struct {
	Files          []string          `json:"files"`
	Bank           string            `json:"bank"`  // whose digests the records store
	Order          string            `json:"order"` // byte order
	Records        uint64            `json:"records"`
	Bytes          int64             `json:"bytes"`
	Templates      map[string]uint64 `json:"templates"`
	PCRs           map[string]uint64 `json:"pcrs"` // records by register
	Violations     uint64            `json:"violations"`
	Unattested     uint64            `json:"unattested"` // records of registers that the kernel cannot extend
	Opaque         uint64            `json:"opaque"`     // records of unknown templates, or whose fields do not fit
	BootAggregates []uint64          `json:"bootAggregates"`
	End            map[string]string `json:"end"` // register to value, replayed from zero
	Items          []inspectRecord   `json:"items,omitempty"`
	Finding        *ledger.Finding   `json:"finding,omitempty"`
}

type inspectRecord struct {
	Index    uint64 `json:"index"`
	PCR      uint32 `json:"pcr"`
	Template string `json:"template"`
	Path     string `json:"path,omitempty"`
	Digest   string `json:"digest,omitempty"`
	KeyID    string `json:"keyId,omitempty"`
	Buffer   string `json:"buffer,omitempty"` // hex
	Kind     string `json:"kind,omitempty"`   // violation, unattested
}

func newInspectCommand() *cobra.Command {
	var asJSON, records bool
	var bank string
	var banks []string
	cmd := &cobra.Command{
		Use:   "inspect [--json] [--records] LIST...",
		Short: "Look into a measurement list of the kernel",
		Long: `inspect reads a binary measurement list and says what is in it: records by template
and register, violations, boots, and the values that registers have after it if
they began at zero. It checks each record's stored digest. Several files are one
list, joined in their order.

Nothing is proven by a list alone: for that, replay it against a quote.`,
		Example: `  imaledger inspect /sys/kernel/security/ima/binary_runtime_measurements
  imaledger inspect --json --records list | jq -r '.items[].path'`,
		Args: someArguments("the measurement list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := openJoinedList(args, bank)
			if err != nil {
				return err
			}
			r, err := inspect(list, banks, records)
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), r)
			} else {
				err = r.print(cmd.OutOrStdout(), isTerminal(cmd.OutOrStdout()))
			}
			if r.Finding == nil {
				return err
			}
			return exitWith(err, r.Finding.Class())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&records, "records", false, "print each record")
	cmd.Flags().StringVar(&bank, "bank", "", "whose digests the list stores; found out if not given")
	cmd.Flags().StringSliceVar(&banks, "banks", []string{"sha1", "sha256"}, "banks to replay, separated by commas; the list's own always is")
	return cmd
}

func inspect(list *joinedList, bankNames []string, records bool) (*inspectReport, error) {
	r := &inspectReport{
		Files: list.names, Bank: list.bank.String(), Order: "unknown",
		Templates: map[string]uint64{}, PCRs: map[string]uint64{}, End: map[string]string{}, BootAggregates: []uint64{},
	}
	var banks []ima.Bank
	for _, name := range bankNames {
		b, err := ima.ParseBank(name)
		if err != nil {
			return nil, cli.Usagef("--banks: %w", err)
		}
		banks = append(banks, b)
	}
	if !slices.Contains(banks, list.bank) && list.bank.Available() {
		banks = append(banks, list.bank)
	}
	pcrs, err := ima.NewReplayer(banks, nil, ima.KernelStyles())
	if err != nil {
		return nil, cli.Usagef("--banks: %w", err)
	}
	err = list.each(func(rec *ima.Record) error {
		if err := pcrs.Extend(rec); err != nil {
			return err
		}
		r.add(rec, records)
		return nil
	})
	if err != nil {
		f, ok := list.finding(err)
		if !ok {
			return nil, cli.Undecidedf("%w", err)
		}
		r.Finding = &f
	}
	for slot, v := range pcrs.Values() {
		r.End[slot.String()] = hex.EncodeToString(v)
	}
	return r, nil
}

func (r *inspectReport) add(rec *ima.Record, keep bool) {
	r.Records++
	r.Bytes += int64(len(rec.Raw))
	r.Order = rec.Order().String()
	r.Templates[string(rec.Template)]++
	r.PCRs[fmt.Sprint(rec.PCR)]++
	if _, _, boot := rec.BootAggregate(); boot {
		r.BootAggregates = append(r.BootAggregates, rec.Index)
	}
	item := inspectRecord{Index: rec.Index, PCR: rec.PCR, Template: ima.Printable(rec.Template)}
	switch {
	case rec.Violation():
		r.Violations++
		item.Kind = "violation"
	case !ima.Attestable(rec.PCR):
		r.Unattested++
		item.Kind = "unattested"
	}
	f, err := rec.Fields()
	if err != nil || f.Format == nil {
		r.Opaque++
	} else {
		item.Path, item.Digest, item.Buffer = ima.Printable(f.Path), f.Digest.String(), hex.EncodeToString(f.Buf)
		var ids []string
		for _, id := range f.KeyIDs() {
			ids = append(ids, fmt.Sprintf("%08x", id))
		}
		item.KeyID = strings.Join(ids, " ")
	}
	if keep {
		r.Items = append(r.Items, item)
	}
}

func (r *inspectReport) print(w io.Writer, color bool) error {
	p := &printer{w: w}
	bold, red, plain := colours(color)
	for _, i := range r.Items {
		p.f("%6d  %2d  %-9s  %s  %s%s\n", i.Index, i.PCR, i.Template, cmp.Or(i.Digest, "-"), i.Path, mark(i.Kind))
	}
	p.f("%s%d records%s, %d bytes, %s digests%s\n", bold, r.Records, plain, r.Bytes, r.Bank, map[string]string{"le": ", little-endian", "be": ", big-endian"}[r.Order])
	p.f("  templates   %s\n", counts(r.Templates))
	p.f("  registers   %s\n", counts(r.PCRs))
	p.f("  violations  %d%s\n", r.Violations, remark(r.Violations, "what these records say is bound by no register"))
	if r.Unattested > 0 {
		p.f("  unattested  %d, of registers that the kernel cannot extend\n", r.Unattested)
	}
	if r.Opaque > 0 {
		p.f("  opaque      %d, of unknown templates or with fields that do not fit\n", r.Opaque)
	}
	p.f("  boots       %s\n", boots(r.BootAggregates))
	p.f("  replayed from zero:\n")
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
	if r.Finding != nil {
		p.f("%s%s%s\n  What stands above is true of the records before it.\n", red, r.Finding, plain)
	}
	return p.err
}

func mark(kind string) string {
	if kind == "" {
		return ""
	}
	return " [" + kind + ": not proven]"
}

func remark(n uint64, text string) string {
	if n == 0 {
		return ""
	}
	return ", " + text
}

func counts(m map[string]uint64) string {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, fmt.Sprintf("%s %d", ima.Printable([]byte(k)), m[k]))
	}
	return cmp.Or(strings.Join(list, ", "), "none")
}

func boots(list []uint64) string {
	if len(list) == 0 {
		return "no boot_aggregate: the list does not begin with a boot"
	}
	s := strings.Trim(fmt.Sprint(list), "[]")
	if len(list) == 1 {
		return "boot_aggregate at record " + s
	}
	return "boot_aggregate at records " + strings.ReplaceAll(s, " ", ", ") + "; the later ones after a kexec"
}

// colours returns what makes text bold, red and plain again, which is nothing where
// no colour is wanted.
func colours(wanted bool) (bold, red, plain string) {
	if !wanted {
		return "", "", ""
	}
	return "\x1b[1m", "\x1b[31m", "\x1b[0m"
}

// isTerminal reports whether w is a terminal, and colour is wanted
// (https://no-color.org).
func isTerminal(w io.Writer) bool { return os.Getenv("NO_COLOR") == "" && onTerminal(w) }

// onTerminal reports whether people see what is written to w. Not every device of
// characters is a terminal: /dev/null is one too.
func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
