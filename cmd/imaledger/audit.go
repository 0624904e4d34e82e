package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/monitor"
)

// An auditing is what the commands that audit a whole log have in common.
type auditing struct {
	remote
	state      string
	noPayloads bool
	all        bool
	asJSON     bool
}

func (a *auditing) flags(cmd *cobra.Command) {
	a.remote.flags(cmd)
	cmd.Flags().StringVar(&a.state, "state", "", "`folder` that keeps how far the audit has come, and what it found")
	cmd.Flags().BoolVar(&a.noPayloads, "no-payloads", false, "leave the records alone: judge quotes, chains and statements")
	cmd.Flags().BoolVar(&a.asJSON, "json", false, "print the report as JSON")
}

// audit audits the log once.
func (a *auditing) audit(ctx context.Context, stderr io.Writer) (*monitor.Report, error) {
	progress := cli.NewProgress(stderr)
	defer progress.End()
	r, err := monitor.Audit(ctx, monitor.Config{
		Ledger: a.client, Trust: a.trust, Dir: a.state, NoPayloads: a.noPayloads, All: a.all,
		Progress: func(done, total uint64) { progress.Show("entries", done, total) },
	})
	if err != nil {
		hint := "is that the URL of a ledger, and may you read it?"
		if a.state != "" {
			hint = "what was judged is kept in " + a.state + ": call again to go on"
		}
		return nil, cli.WithHint(cli.Undecidedf("%w", err), "%s", hint)
	}
	return r, nil
}

func newAuditCommand() *cobra.Command {
	var a auditing
	cmd := &cobra.Command{
		Use:   "audit --ledger URL --trust DIR [--state DIR]",
		Short: "Audit a whole log: every entry, quote, record and statement",
		Long: `audit reads a whole log and judges all of it: every tile and entry against the root
that the log signed, every host's chain and quotes, the records where they may be
read, enrolments, and what operators have stated, erasures and holds among it, against
the retention policy. Every checkpoint that a host is anchored to must belong to the
log: one of another history, whoever it was shown to, is found.

With --state it goes on where it was, and holds what the log shows now to what it
has shown before. A folder is for one log. What earlier audits judged is not read
again, which the report says: --all judges it again, by the trust folder and the
evidence of today, after the trust folder was changed or more may be read.`,
		Example: `  imaledger audit --ledger https://ledger.example/ --trust trust/ --state audit/
  imaledger audit --ledger https://ledger.example/ --trust trust/ --state audit/ --all`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.open(); err != nil {
				return err
			}
			r, err := a.audit(cmd.Context(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return exitWith(a.print(cmd.OutOrStdout(), r), r.Class())
		},
	}
	a.flags(cmd)
	cmd.Flags().BoolVar(&a.all, "all", false, "judge everything again, also what earlier audits have judged")
	return cmd
}

// print writes a report.
func (a *auditing) print(w io.Writer, r *monitor.Report) error {
	if a.asJSON {
		return printJSON(w, struct {
			Verdict string `json:"verdict"`
			*monitor.Report
		}{verdictOf(r.Class()), r})
	}
	p := &printer{w: w}
	switch r.Class() {
	case ledger.Noted:
		p.f("VERIFIED\n\n")
	case ledger.Contradicted:
		p.f("CONTRADICTED: what the log holds, or what the ledger shows of it, does not hold.\n\n")
	default:
		p.f("UNDECIDED: evidence is missing. What is said below holds as far as it goes.\n\n")
	}
	if r.Log != "" {
		p.f("  log %s, size %d, root %.16s…, witnessed by %s\n", r.Log, r.Size, r.Root, audit.Time(r.Witnessed))
	}
	p.f("  %d of %s judged, %d of them by earlier audits\n", r.Judged, audit.Count(r.Size, "entry"), r.Since)
	if r.Resumed != nil {
		p.f("  those went to the checkpoint of size %d, witnessed by %s, and what they judged was not\n  read again: audit --all judges it again\n", r.Resumed.Size, audit.Time(r.Resumed.Witnessed))
	}
	p.f("  %s, %s, %s, %s; %s replayed, with %s\n", audit.Count(r.Hosts, "host"), audit.Count(r.Enrolments, "enrolment"), audit.Count(r.Segments, "segment"),
		audit.Count(r.Statements, "statement"), audit.Count(r.Records, "record"), audit.Count(r.Violations, "violation"))
	if r.Erased > 0 {
		p.f("  the records of %s were erased by policy\n", audit.Count(r.Erased, "segment"))
	}
	for _, c := range ledger.Codes() {
		if n := r.Noted[c]; n > 0 {
			p.f("  noted %s: %s [%s]\n", audit.Count(n, "time"), c.Describe(), c)
		}
	}
	p.f("\n")
	for _, f := range r.Findings {
		p.f("  %s\n", f)
	}
	if r.More > 0 {
		p.f("  and %s more\n", audit.Count(r.More, "finding"))
	}
	if len(r.Findings) > 0 {
		p.f("\n")
	}
	if r.Class() != ledger.Contradicted {
		p.f("  Whether the ledger shows everyone this log, its witnesses say; whether it has\n  newer entries that it withholds, nobody can.\n")
	}
	return p.err
}
