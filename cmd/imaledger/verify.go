package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/trustdir"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

func newVerifyCommand() *cobra.Command {
	var trustDir, policyFile, entryFile, recordFile, reportFile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify [--json] (--trust DIR EVIDENCE... | --policy FILE --entry FILE PROOF)",
		Short: "Verify bundles of evidence, or a proof of any log, offline",
		Long: `verify checks a bundle of evidence against a trust folder, with no network and no
other input: that the log includes each entry and witnesses saw it, that each
TPM quote was made for its place, that the records replay to the quoted values,
and that nothing is missing between the first record and the last. Several bundles
are held to one another, too: a log that shows each reader another history is found
where their bundles meet.

--record has a proof of one record, and the bundle need not have the records then.
--report writes a page that prints well, for who reads no terminals.

The trust folder has the files policy (the log, the witnesses, the quorum) and
rules (registrars, accepted grades), and certificates of TPM vendors in roots/.
It must come from somewhere else than the evidence.

With --policy and --entry it verifies a proof (https://c2sp.org/tlog-proof) that a
log of any kind has an entry, whose bytes are in a file, and prints the log, the
index, the size, and the times of the cosignatures that counted.

Exit codes: 0 verified, 1 contradicted by evidence, 2 wrong usage, 3 undecided
because evidence is missing or erased, or too few witnesses have seen it.`,
		Example: `  imaledger verify --trust trust/ evidence.tar
  imaledger verify --trust trust/ --report january.html web1.tar db1.tar
  imaledger verify --trust trust/ --record sshd.record sshd.tar
  imaledger verify --policy policy --entry release.txt release.txt.tlog-proof`,
		Args: someArguments("the file to verify"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 1 && (trustDir == "" || recordFile != ""):
				return verifyUsage(cmd, "%d files: --policy and --record go with one", len(args))
			case trustDir == "" && (recordFile != "" || reportFile != ""):
				return verifyUsage(cmd, "--record and --report are for bundles of evidence, which --trust says by whose keys to verify")
			case recordFile != "" && reportFile != "":
				return verifyUsage(cmd, "--record and --report: give either")
			case trustDir != "" && (policyFile != "" || entryFile != ""):
				return verifyUsage(cmd, "--trust is for a bundle of evidence, --policy and --entry for a proof: give either")
			case trustDir == "" && policyFile == "" && entryFile == "":
				return verifyUsage(cmd, "by whose keys? give --trust for a bundle of evidence, or --policy and --entry for a proof")
			case trustDir == "" && policyFile == "":
				return verifyUsage(cmd, "--entry without --policy: a proof needs both")
			case trustDir == "" && entryFile == "":
				return verifyUsage(cmd, "--policy without --entry: a proof needs both")
			case trustDir == "":
				return verifyProof(cmd.OutOrStdout(), policyFile, entryFile, args[0], asJSON)
			}
			trust, err := trustdir.Read(trustDir)
			if err != nil {
				return err
			}
			var checked []*checkedBundle
			for _, name := range args {
				report, err := verifyFile(trust, name)
				if err != nil {
					return err
				}
				report.CheckAge(trust, uint64(time.Now().Unix()))
				checked = append(checked, &checkedBundle{name, report})
			}
			if recordFile != "" {
				return checkRecordProof(cmd.OutOrStdout(), trust, recordFile, args[0], checked[0].Report, asJSON)
			}
			if err := printReports(cmd.OutOrStdout(), trust, checked, asJSON); err != nil {
				return err
			}
			if reportFile != "" {
				if err := writeHTMLReport(reportFile, trust, checked); err != nil {
					return err
				}
			}
			return exitWith(nil, worstOf(checked))
		},
	}
	cmd.Flags().StringVar(&trustDir, "trust", "", "trust folder")
	cmd.Flags().StringVar(&policyFile, "policy", "", "policy `file`, for a proof")
	cmd.Flags().StringVar(&entryFile, "entry", "", "`file` with the entry that the proof is of")
	cmd.Flags().StringVar(&recordFile, "record", "", "proof of one record, a `file`")
	cmd.Flags().StringVar(&reportFile, "report", "", "write a page for people to this `file`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON: cmd/imaledger/JSON.md says what is in it")
	return cmd
}

func verifyUsage(cmd *cobra.Command, format string, args ...any) error {
	return cli.WithHint(cli.Usagef(format, args...), "usage: %s; with --help, all of it", cmd.UseLine())
}

// readLimited reads a file of at most max bytes, which the user has named.
func readLimited(name string, max int64) ([]byte, error) {
	b, err := cli.ReadFile(name, max)
	if err != nil {
		return nil, cli.Usagef("%w", err)
	}
	return b, nil
}

// verifyFile checks a bundle in a file.
func verifyFile(trust *ledger.Trust, name string) (*audit.Report, error) {
	f, _, report, err := checkFile(trust, name)
	if err != nil {
		return nil, err
	}
	return report, f.Close()
}

// checkFile is verifyFile, and leaves the bundle open. It is nil where no byte of it
// can be believed.
func checkFile(trust *ledger.Trust, name string) (*os.File, *ledger.Bundle, *audit.Report, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, nil, cli.Undecidedf("evidence: %w", err)
	}
	b, report, err := checkBundle(trust, f)
	if err != nil {
		return nil, nil, nil, errors.Join(err, f.Close())
	}
	return f, b, report, nil
}

func checkBundle(trust *ledger.Trust, f *os.File) (*ledger.Bundle, *audit.Report, error) {
	name := f.Name()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, cli.Undecidedf("evidence: %w", err)
	}
	if info.IsDir() {
		return nil, nil, cli.WithHint(cli.Usagef("%s is a folder, want a bundle of evidence", name), "a bundle is a tar file; a kernel's list is looked at with inspect")
	}
	if !info.Mode().IsRegular() { // its size is 0, and it would be taken for a bundle cut short
		return nil, nil, cli.WithHint(cli.Usagef("%s is no regular file, want a bundle of evidence", name), "write what comes through a pipe to a file first: verify reads it back and forth")
	}
	b, err := ledger.OpenBundle(f, info.Size())
	var bad *ledger.BundleError
	if errors.As(err, &bad) {
		// No byte of it can be believed, so there is nothing to go on with.
		return nil, &audit.Report{Findings: []ledger.Finding{{Code: bad.Code, Subject: bad.File, Text: bad.What}}}, nil
	}
	if err != nil {
		return nil, nil, cli.Undecidedf("%s: %w", name, err)
	}
	report, err := audit.CheckBundle(trust, b)
	if err != nil {
		return nil, nil, cli.Undecidedf("%s: %w", name, err)
	}
	return b, report, nil
}

// notNull gives an empty list for nil.
func notNull[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

// printReport writes a report for people: the verdict, what holds, what was
// found, and what no bundle can say.
func printReport(w io.Writer, trust *ledger.Trust, r *audit.Report) error {
	p := &printer{w: w}
	bold, red, plain := colours(isTerminal(w))
	switch r.Class() {
	case ledger.Noted:
		p.f("%sVERIFIED%s\n\n", bold, plain)
	case ledger.Contradicted:
		p.f("%sCONTRADICTED%s: the evidence does not hold. Nothing below is proven where a finding names it.\n\n", red, plain)
	default:
		p.f("%sUNDECIDED%s: evidence is missing. What is said below holds as far as it goes.\n\n", bold, plain)
	}
	if r.Class() != ledger.Contradicted {
		for _, s := range r.Statements() {
			p.f("  %s\n", s)
		}
		for _, s := range r.Successions {
			p.f("  log %s ended with %s, and log %s follows it (%s): each names the other\n", s.From, audit.Count(s.Size, "entry"), s.To, s.URL)
		}
		if len(r.Segments)+len(r.Successions) > 0 {
			p.f("\n")
		}
	}
	for _, f := range r.Findings {
		if f.Class() == ledger.Noted {
			p.f("  %s\n", f)
		} else {
			p.f("  %s%s%s\n", red, f, plain)
		}
	}
	if len(r.Findings) > 0 {
		p.f("\n")
	}
	if r.TreeSize > 0 && r.Class() != ledger.Contradicted {
		p.f("  Proven by log %s at size %d, witnessed by %s. Whether newer records\n  exist, no bundle can say.\n", r.Log, r.TreeSize, audit.Time(r.Witnessed))
		if trust.Reason != "" {
			p.f("  The trust folder accepts keys that no TPM holds, because: %s.\n", trust.Reason)
		}
	}
	return p.err
}

// A printer keeps the first error of its writer.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) f(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
