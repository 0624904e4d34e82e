package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
)

// Files of a folder of plain recordings (ledger/FORMAT.md, section 6.1).
const (
	recordedAttest    = "quote.tpms_attest"
	recordedSignature = "quote.tpmt_signature"
	recordedValues    = "pcrs.json"
	recordedAK        = "identity/ak.tpmt_public"
	recordedList      = "binary_runtime_measurements"
)

// An importReport is what import prints with --json. Its keys are stable.
type importReport struct {
	Verdict string        `json:"verdict"` // verified, contradicted, undecided: of each quote over its list
	Chained bool          `json:"chained"` // false: nothing shows that none is left out
	Logged  bool          `json:"logged"`  // false: nothing shows when they were made
	Cuts    []importedCut `json:"cuts"`
}

type importedCut struct {
	Folder string `json:"folder"`
	AK     string `json:"ak,omitempty"`    // name of the key, hex
	Nonce  string `json:"nonce"`           // what the quote has, hex; who asked with it is not known
	Base   string `json:"base"`            // where the list goes on from: zero, or the folder whose records stood before
	Fault  string `json:"fault,omitempty"` // why it is undecided
	replayReport

	list  *joinedList
	start ima.Values // before its first record
}

func newImportCommand() *cobra.Command {
	var ak string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "import [--ak FILE] [--json] FOLDER",
		Short: "Check plain recordings of lists and quotes, from other agents",
		Long: `import takes a folder in which other agents left lists and TPM quotes, and checks each
quote against its list as replay does. Each folder in it that has quote.tpms_attest is
a cut:

  quote.tpms_attest, quote.tpmt_signature          as the TPM returned them
  binary_runtime_measurements                      the kernel's list; what was staged
  binary_runtime_measurements_staged               stands before it
  pcrs.json                                        values of other quoted registers
  identity/ak.tpmt_public                          here or above, or --ak

Where a list does not begin with its boot, since records were deleted from it, it is
tried to go on from an earlier cut of the same boot.

Nothing is put into a log, and no bundle is made: such recordings are not chained.
Each cut is proven by its own quote and no more. That none is left out, that they
are one host's, and when they were made, nothing here shows; enrol the host with a
ledger for that.`,
		Example: `  imaledger import recordings/
  imaledger import --ak ak.tpmt_public --json recordings/ | jq '.cuts[].prefix'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := importFolder(args[0], ak)
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), r)
			} else {
				err = r.print(cmd.OutOrStdout())
			}
			return exitWith(err, r.class())
		},
	}
	cmd.Flags().StringVar(&ak, "ak", "", "attestation key of all cuts, TPMT_PUBLIC")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func importFolder(root, ak string) (*importReport, error) {
	r := &importReport{Cuts: []importedCut{}}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() || d.Name() != recordedAttest {
			return nil
		}
		cut, err := r.cut(root, filepath.Dir(name), ak)
		if err == nil {
			r.Cuts = append(r.Cuts, *cut)
		}
		return err
	})
	var ours *cli.Error
	switch {
	case errors.As(err, &ours):
		return nil, err
	case err != nil:
		return nil, cli.Undecidedf("recordings: %w", err)
	case len(r.Cuts) == 0:
		return nil, cli.WithHint(cli.Undecidedf("%s has no %s, nor has a folder in it", root, recordedAttest), "imaledger import --help says how the files are to be named; imaledger replay takes any names")
	}
	r.Verdict = map[ledger.Class]string{ledger.Noted: "verified", ledger.Contradicted: "contradicted", ledger.Undecided: "undecided"}[r.class()]
	return r, nil
}

// class is that of the worst cut.
func (r *importReport) class() ledger.Class {
	worst := ledger.Noted
	for _, c := range r.Cuts {
		switch class := ledger.Worst(c.Findings); {
		case class == ledger.Contradicted:
			return class
		case class == ledger.Undecided, c.Fault != "":
			worst = ledger.Undecided
		}
	}
	return worst
}

// cut checks one folder. What is missing in it leaves it undecided.
func (r *importReport) cut(root, dir, ak string) (*importedCut, error) {
	folder, err := filepath.Rel(root, dir)
	if err != nil {
		return nil, err
	}
	c := &importedCut{Folder: folder, Base: "zero"}
	c.End, c.Findings = map[string]string{}, []ledger.Finding{}
	fault := func(err error) (*importedCut, error) {
		c.Fault, c.Verdict = err.Error(), "undecided"
		return c, nil
	}
	f := replayFlags{attest: filepath.Join(dir, recordedAttest), signature: filepath.Join(dir, recordedSignature), ak: ak}
	if ak == "" {
		if f.ak = findAbove(root, dir, recordedAK); f.ak == "" {
			return fault(fmt.Errorf("no %s here or above", recordedAK))
		}
	}
	names := recordedLists(dir)
	if len(names) == 0 {
		return fault(fmt.Errorf("no %s", recordedList))
	}
	list, err := openJoinedList(names, "")
	if err != nil {
		return fault(err)
	}
	c.Bank = list.bank.String()
	known := make(ima.Values)
	if values := filepath.Join(dir, recordedValues); exists(values) {
		if known, err = readPCRs(values); err != nil {
			return fault(err)
		}
	}
	raw, err := readLimited(f.attest, quote.MaxAttest)
	if err != nil {
		return fault(err)
	}
	var nonce []byte
	if q, err := quote.Parse(raw); err == nil {
		nonce = q.ExtraData // whoever asked with it knows whether it is theirs
	}
	q, key, err := f.quote(&c.replayReport, nonce)
	if err != nil {
		return fault(err)
	}
	c.Nonce, c.Verdict = fmt.Sprintf("%x", nonce), "contradicted"
	if q == nil {
		return c, nil
	}
	c.AK = fmt.Sprintf("%x", key.Name)
	c.Counters = &replayCounters{q.ResetCount, q.RestartCount, q.Clock, q.Safe, fmt.Sprintf("%016x", q.FirmwareVersion)}
	if err := r.replay(c, list, q, key, known); err != nil {
		return fault(err)
	}
	if len(c.Findings) == 0 {
		c.Verdict = "verified"
	}
	return c, nil
}

// replay tries the list from zero, and then from where earlier cuts of the boot had come
// to when its first record was listed. The findings are those from zero, if none fits.
func (r *importReport) replay(c *importedCut, list *joinedList, q *quote.Quote, key *quote.AK, known ima.Values) error {
	c.list = list
	before := len(c.Findings)
	if err := c.replayReport.replay(list, q, key, known, nil); err != nil {
		return err
	}
	if len(c.Findings) == before || c.Findings[len(c.Findings)-1].Code != ledger.ReplayMismatch {
		return nil
	}
	for i := len(r.Cuts) - 1; i >= 0; i-- {
		earlier := &r.Cuts[i]
		if earlier.AK != c.AK || earlier.Verdict != "verified" || earlier.Counters.ResetCount != q.ResetCount {
			continue
		}
		bases, err := earlier.bases(list, q)
		if err != nil {
			return err
		}
		for _, base := range bases {
			try := replayReport{Bank: c.Bank, End: map[string]string{}, Counters: c.Counters, Findings: c.Findings[:before:before]}
			if err := try.replay(list, q, key, known, base); err != nil {
				return err
			}
			// A quote over the base alone says nothing of a record.
			if len(try.Findings) == before && (try.Prefix > 0 || try.Records == 0) {
				c.replayReport, c.Base, c.start = try, earlier.Folder, base
				return nil
			}
		}
	}
	return nil
}

// maxBases bounds how many times a list is replayed for one earlier cut.
const maxBases = 16

// bases are the values that registers had in a cut before each record that a later list
// begins with, and after all its records: what was deleted from the kernel's list stood
// before.
func (c *importedCut) bases(later *joinedList, q *quote.Quote) (bases []ima.Values, err error) {
	var first []byte
	stop := errors.New("one record is enough")
	err = later.each(func(rec *ima.Record) error {
		first = bytes.Clone(rec.Raw)
		return stop
	})
	if err != nil && !errors.Is(err, stop) {
		return nil, nil // its findings are said already
	}
	var banks []ima.Bank
	for _, b := range q.Selection {
		banks = append(banks, ima.Bank(b.Bank))
	}
	style, err := ima.ParseStyle(c.Style)
	if err != nil {
		return nil, err
	}
	styles := make(ima.Styles)
	for _, b := range banks {
		styles[b] = style
	}
	pcrs, err := ima.NewReplayer(banks, c.start, styles)
	if err != nil {
		return nil, err
	}
	err = c.list.each(func(rec *ima.Record) error {
		if bytes.Equal(rec.Raw, first) && len(bases) < maxBases {
			bases = append(bases, pcrs.Values())
		}
		return pcrs.Extend(rec)
	})
	return append(bases, pcrs.Values()), err
}

// findAbove looks for a file in a folder and in those above it, up to root.
func findAbove(root, dir, name string) string {
	for {
		if file := filepath.Join(dir, name); exists(file) {
			return file
		}
		if dir == filepath.Clean(root) || dir == filepath.Dir(dir) {
			return ""
		}
		dir = filepath.Dir(dir)
	}
}

// recordedLists are the files of a list, in the order in which they are joined.
func recordedLists(dir string) (names []string) {
	for _, bank := range []string{"", "_sha1", "_sha256", "_sha384", "_sha512"} {
		for _, part := range []string{"_staged", ""} {
			if name := filepath.Join(dir, recordedList+bank+part); exists(name) {
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			return names
		}
	}
	return nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func (r *importReport) print(w io.Writer) error {
	p := &printer{w: w}
	p.f("%s, NOT CHAINED: %s, each proven by its own quote alone.\n\n", map[string]string{"verified": "VERIFIED", "contradicted": "CONTRADICTED", "undecided": "UNDECIDED"}[r.Verdict], audit.Count(len(r.Cuts), "cut"))
	for _, c := range r.Cuts {
		switch {
		case c.Fault != "":
			p.f("  %s: undecided: %s\n", c.Folder, c.Fault)
			continue
		case c.Verdict != "verified":
			p.f("  %s: contradicted\n", c.Folder)
		default:
			p.f("  %s: the quote covers the first %d of %s, boot reset %d restart %d, TPM clock %d ms, AK %.16s…", c.Folder, c.Prefix, audit.Count(c.Records, "record"), c.Counters.ResetCount, c.Counters.RestartCount, c.Counters.Clock, c.AK)
			if c.Base != "zero" {
				p.f(", its list goes on from %s", c.Base)
			}
			p.f("\n")
		}
		for _, f := range c.Findings {
			p.f("    %s\n", f)
		}
	}
	p.f("\n  Nothing shows that no cut is left out, that the key is in a TPM, or when the quotes were\n  made: they stand in no log.\n")
	return p.err
}
