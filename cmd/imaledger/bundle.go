package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/gather"
)

func newBundleCommand() *cobra.Command {
	var r remote
	var host, since, until, out string
	var from, to uint64
	var boot, noPayloads, asJSON bool
	cmd := &cobra.Command{
		Use:   "bundle --ledger URL --trust DIR --host HOST --out FILE",
		Short: "Put a host's evidence into one file, and verify it",
		Long: `bundle fetches a host's segments with their records, proofs and enrolments into one
file of evidence, and verifies it as verify would. Everything of the host, or a part:
since its last boot, between two times, or between two places of its chain. A time is
widened to whole segments: the evidence begins with the last segment that may have
records of that time.

The file needs no ledger and no network any more.`,
		Example: `  imaledger bundle --ledger https://ledger.example/ --trust trust/ --host web1.example --out web1.tar
  imaledger bundle --ledger https://ledger.example/ --trust trust/ --host web1.example --boot --out web1.tar
  imaledger bundle --ledger https://ledger.example/ --trust trust/ --host web1.example --since 2026-01-01 --until 2026-01-31 --out january.tar`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := r.open(); err != nil {
				return err
			}
			l, err := gather.Open(cmd.Context(), r.client, r.trust)
			if err != nil {
				return answered(err)
			}
			switch {
			case since != "" || until != "":
				first, last := uint64(0), uint64(math.MaxUint64)
				if since != "" {
					if first, err = parseWhen("since", since, false); err != nil {
						return err
					}
				}
				if until != "" {
					if last, err = parseWhen("until", until, true); err != nil {
						return err
					}
				}
				if first > last {
					return cli.Usagef("--since %s is after --until %s", since, until)
				}
				var scanned bool
				from, to, scanned, err = l.Between(cmd.Context(), host, first, last)
				if err == nil && !scanned {
					byWord(cmd.ErrOrStderr(), host, to)
				}
			case boot:
				if to, err = newest(cmd.Context(), cmd.ErrOrStderr(), l, host); err == nil {
					from, err = l.Boot(cmd.Context(), host, to)
				}
			case !cmd.Flags().Changed("to"):
				to, err = newest(cmd.Context(), cmd.ErrOrStderr(), l, host)
			}
			if err != nil {
				return answered(err)
			}
			if from > to {
				return cli.Usagef("--from %d is after --to %d", from, to)
			}
			evidence, err := l.Segments(cmd.Context(), host, from, to, gather.Options{NoPayloads: noPayloads})
			if err != nil {
				return answered(err)
			}
			defer evidence.Close()
			return handOut(cmd.OutOrStdout(), cmd.ErrOrStderr(), l, evidence, out, asJSON)
		},
	}
	r.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&host, "host", "", "the host (required)")
	f.StringVar(&out, "out", "", "`file` for the evidence (required)")
	f.StringVar(&since, "since", "", "a date or `time`, in UTC")
	f.StringVar(&until, "until", "", "a date or `time`, in UTC")
	f.BoolVar(&boot, "boot", false, "everything since the host's last boot")
	f.Uint64Var(&from, "from", 0, "first `sequence` number of the host's chain")
	f.Uint64Var(&to, "to", 0, "last `sequence` number")
	f.BoolVar(&noPayloads, "no-payloads", false, "leave the records out")
	f.BoolVar(&asJSON, "json", false, "print the report as JSON")
	cmd.MarkFlagsMutuallyExclusive("boot", "since", "from")
	cmd.MarkFlagsMutuallyExclusive("boot", "until", "to")
	for _, name := range []string{"host", "out"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is defined above
		}
	}
	return cmd
}

// newest returns the newest place of a host's chain, and says where it is the ledger's
// word alone.
func newest(ctx context.Context, stderr io.Writer, l *gather.Ledger, host string) (uint64, error) {
	n, scanned, err := l.NewestInLog(ctx, host)
	if err == nil && !scanned {
		byWord(stderr, host, n)
	}
	return n, err
}

func byWord(stderr io.Writer, host string, newest uint64) {
	fmt.Fprintf(stderr, "that #%d is the newest of host %s is the ledger's word: imaledger audit reads the whole log\n", newest, host)
}

// handOut verifies evidence, writes it to a file, and prints the report. Evidence
// that contradicts itself is written too: it shows what was wrong.
func handOut(stdout, stderr io.Writer, l *gather.Ledger, e *gather.Evidence, out string, asJSON bool) error {
	report, err := l.Check(e)
	if err != nil {
		return cli.Undecidedf("%w", err)
	}
	if out != "" {
		if err := writeBundle(out, e.Sources); err != nil {
			return cli.Undecidedf("%w", errors.Join(err, os.Remove(out)))
		}
		fmt.Fprintf(stderr, "the evidence is in %s: imaledger verify checks it without the ledger\n", out)
	}
	if err := printReports(stdout, l.Trust, []*checkedBundle{{File: out, Report: report}}, asJSON); err != nil {
		return err
	}
	return exitWith(nil, report.Class())
}

// writeBundle writes a bundle to a file.
func writeBundle(name string, sources []ledger.BundleSource) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(ledger.WriteBundle(f, sources), f.Close())
}

// wrongBytes reports whether a ledger gave what the root that it signed, or an entry of
// the log, rules out.
func wrongBytes(err error) bool {
	var other *client.OtherBytesError
	return errors.As(err, &other) || errors.Is(err, client.ErrTiles)
}

// answered is the error for what a ledger answered: a finding, or nothing.
func answered(err error) error {
	var f *gather.FindingError
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case wrongBytes(err):
		return cli.Contradictedf("%w", err)
	case !errors.As(err, &f):
		return cli.WithHint(cli.Undecidedf("%w", err), "is that the URL of a ledger, is it running, and may you read it?")
	case f.Finding.Class() == ledger.Contradicted:
		return cli.WithHint(cli.Contradictedf("the ledger's answer does not hold: %w", err), "ask it again, and another mirror: if that gives the same, keep what it said")
	}
	return cli.Undecidedf("%w", err)
}
