package main

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/monitor"
)

func newHostsCommand() *cobra.Command {
	var a auditing
	var verdict string
	cmd := &cobra.Command{
		Use:   "hosts --ledger URL --trust DIR [--state DIR]",
		Short: "List the hosts of a log, and what is wrong with them",
		Long: `hosts audits the log as audit does, and lists its hosts: how far each one's chain has
come, by when the log had its newest entry, its boot and grade, gaps that nobody has
acknowledged, and a verdict. Nothing in the list is the ledger's word. With --state
only what is new is read.`,
		Example: `  imaledger hosts --ledger https://ledger.example/ --trust trust/ --state audit/
  imaledger hosts --ledger https://ledger.example/ --trust trust/ --state audit/ --verdict contradicted --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch verdict {
			case "", "verified", "undecided", "contradicted":
			default:
				return cli.Usagef("--verdict %q: want verified, undecided or contradicted", verdict)
			}
			return a.list(cmd, func(w io.Writer, r *monitor.Report) error {
				list := []monitor.Host{}
				for _, h := range r.Fleet {
					if verdict == "" || h.Verdict == verdict {
						list = append(list, h)
					}
				}
				if a.asJSON {
					return printJSON(w, list)
				}
				p := &printer{w: w}
				p.f("%-28s %8s  %-20s  %-11s %6s %8s %4s  %s\n", "HOST", "SEQUENCE", "SEEN BY", "GRADE", "BOOT", "RECORDS", "GAPS", "VERDICT")
				for _, h := range list {
					p.f("%-28s %8d  %-20s  %-11s %6d %8d %4d  %s\n", h.Host, h.Sequence, audit.Time(h.Seen), h.Grade, h.Boot, h.Records, h.Gaps, h.Verdict)
					for _, f := range h.Findings {
						p.f("    %s\n", f)
					}
				}
				return p.err
			})
		},
	}
	a.flags(cmd)
	cmd.Flags().StringVar(&verdict, "verdict", "", "list hosts with this `verdict` only")
	return cmd
}

// An enrolmentJSON is an enrolment in force.
type enrolmentJSON struct {
	Host     string           `json:"host"`
	Grade    ledger.Grade     `json:"grade"`
	AK       string           `json:"ak"` // hex
	EK       string           `json:"ek"` // hex
	Findings []ledger.Finding `json:"findings"`
}

func newEnrolmentsCommand() *cobra.Command {
	var a auditing
	cmd := &cobra.Command{
		Use:   "enrolments --ledger URL --trust DIR [--state DIR]",
		Short: "List which host has which TPM, and who says so",
		Long: `enrolments audits the log as audit does, and lists the enrolment in force of each host:
its grade, its AK and its EK. What is wrong with one stands below it.`,
		Example: "  imaledger enrolments --ledger https://ledger.example/ --trust trust/ --state audit/",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.list(cmd, func(w io.Writer, r *monitor.Report) error {
				list := []enrolmentJSON{}
				for _, h := range r.Fleet {
					e := enrolmentJSON{h.Host, h.Grade, h.AK, h.EK, []ledger.Finding{}}
					for _, f := range h.Findings {
						if c := string(f.Code); strings.HasPrefix(c, "enrolment-") || strings.HasPrefix(c, "ak-") || strings.HasPrefix(c, "ek-") {
							e.Findings = append(e.Findings, f)
						}
					}
					list = append(list, e)
				}
				if a.asJSON {
					return printJSON(w, list)
				}
				p := &printer{w: w}
				for _, e := range list {
					p.f("%s\n  grade  %s\n  ak     %s\n", e.Host, e.Grade, e.AK)
					if e.EK != "" {
						p.f("  ek     %s\n", e.EK)
					}
					for _, f := range e.Findings {
						p.f("  %s\n", f)
					}
				}
				return p.err
			})
		},
	}
	a.flags(cmd)
	return cmd
}

// list audits, prints what show makes of the report, and exits with the verdict.
func (a *auditing) list(cmd *cobra.Command, show func(io.Writer, *monitor.Report) error) error {
	if err := a.open(); err != nil {
		return err
	}
	r, err := a.audit(cmd.Context(), cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	if err := show(cmd.OutOrStdout(), r); err != nil {
		return err
	}
	if c := r.Class(); c != ledger.Noted {
		p := &printer{w: cmd.ErrOrStderr()}
		for _, f := range r.Findings {
			if host, _, ok := ledger.ParseSubject(f.Subject); !ok || !known(r.Fleet, host) {
				p.f("%s\n", f)
			}
		}
		return cli.Exit(int(c))
	}
	return nil
}

func known(fleet []monitor.Host, name string) bool {
	for _, h := range fleet {
		if h.Host == name {
			return true
		}
	}
	return false
}
