package main

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
)

// lastSecond is the latest time that a hold can name, in Unix seconds: in the year
// 9999, which every program can print.
const lastSecond = 253402300799

func newRetentionCommand() *cobra.Command {
	var url string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "retention --ledger URL",
		Short: "Show how long records are kept, and what is held",
		Long: `retention shows the policy and the holds in force, as the ledger reads its log.
The statements themselves stand in the log, signed, for everyone to verify.`,
		Example: "  imaledger retention --ledger https://ledger.example/",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := (&client.Client{Base: url}).Retention(cmd.Context())
			if err != nil {
				return unreachable(err)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), r)
			}
			return printRetention(cmd.OutOrStdout(), r)
		},
	}
	cmd.Flags().StringVar(&url, "ledger", "", "URL of the ledger (required)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	if err := cmd.MarkFlagRequired("ledger"); err != nil {
		panic(err) // the flag is defined above
	}
	cmd.AddCommand(newRetentionSetCommand())
	return cmd
}

func printRetention(w io.Writer, r *client.Retention) error {
	p := &printer{w: w}
	switch {
	case r.Leaf == "":
		p.f("No retention policy is stated: nothing may be erased.\n")
	case r.Days == ledger.Forever:
		p.f("Policy %d: records are kept forever. %s\n  entry %s\n", r.Policy, r.Statement, r.Leaf)
	default:
		p.f("Policy %d: records are kept for %s", r.Policy, audit.Count(r.Days, "day"))
		if r.Appraisal {
			p.f(", and until an appraisal has passed them")
		}
		p.f(". %s\n  entry %s\n", r.Statement, r.Leaf)
	}
	for _, h := range r.Holds {
		host := "every host"
		if h.Host != "" {
			host = "host " + h.Host
		}
		span := ""
		if h.From > 0 {
			span = " from " + audit.Time(h.From)
		}
		if h.To < lastSecond {
			span += " to " + audit.Time(h.To)
		}
		if span != "" {
			span = ", what came into the log" + span
		}
		p.f("Held: %s%s: %s\n  entry %s\n", host, span, h.Reason, h.Leaf)
	}
	p.f("By the witnesses it is %s.\n", audit.Time(r.Time))
	return p.err
}

func newRetentionSetCommand() *cobra.Command {
	var o operator
	var days, statement string
	var appraisal bool
	cmd := &cobra.Command{
		Use:   "set --ledger URL --trust DIR --key FILE --days N|forever --statement TEXT",
		Short: "State how long records are kept",
		Long: `set puts a retention policy into the log, signed by an operator. From then on it is
the one in force, for older records too. Days count from when witnesses had seen
that the log has a segment, to the end of that day.`,
		Example: `  imaledger retention set --ledger https://ledger.example/ --trust trust/ --key operator.key \
      --days 90 --statement "ninety days, by order of the security officer"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if statement == "" {
				return cli.WithHint(cli.Usagef("no --statement"), "say for people who decided this, and why")
			}
			r := &ledger.Retention{Appraisal: appraisal, Statement: statement, Time: uint64(time.Now().Unix())}
			if days != "forever" {
				n, err := strconv.ParseUint(days, 10, 32)
				if err != nil || n == 0 {
					return cli.Usagef("--days %.20q: want a number of days, or forever", days)
				}
				r.Days = n
			}
			if err := o.open(cmd.Context()); err != nil {
				return err
			}
			now, err := o.client.Retention(cmd.Context())
			if err != nil {
				return unreachable(err)
			}
			r.Policy = now.Policy + 1
			if r.Log, err = o.origin(cmd.Context()); err != nil {
				return err
			}
			s, err := o.state(cmd.Context(), r)
			if err != nil {
				return err
			}
			return o.print(cmd.OutOrStdout(), s, fmt.Sprintf("Retention policy %d is in force.", r.Policy))
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&days, "days", "", "how many days records are kept, or forever")
	cmd.Flags().BoolVar(&appraisal, "appraisal", false, "keep them also until an appraisal has passed them")
	cmd.Flags().StringVar(&statement, "statement", "", "the policy in words, for people")
	return cmd
}

func newHoldCommand() *cobra.Command {
	var o operator
	var host, from, to, reason string
	cmd := &cobra.Command{
		Use:   "hold --ledger URL --trust DIR --key FILE --reason TEXT [--host HOST] [--from DATE] [--to DATE]",
		Short: "Keep records whatever the retention policy says",
		Long: `hold keeps the records of a host, or of every host, that came into the log in a
span of time, until it is released. Dates are UTC.`,
		Example: `  imaledger hold --ledger https://ledger.example/ --trust trust/ --key operator.key \
      --host web1.example --from 2026-01-01 --reason "case 4711"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h := &ledger.Hold{Host: host, To: lastSecond, Reason: reason, Time: uint64(time.Now().Unix())}
			if reason == "" {
				return cli.Usagef("no --reason")
			}
			var err error
			if from != "" {
				if h.From, err = parseWhen("from", from, false); err != nil {
					return err
				}
			}
			if to != "" {
				if h.To, err = parseWhen("to", to, true); err != nil {
					return err
				}
			}
			if err := o.open(cmd.Context()); err != nil {
				return err
			}
			if h.Log, err = o.origin(cmd.Context()); err != nil {
				return err
			}
			s, err := o.state(cmd.Context(), h)
			if err != nil {
				return err
			}
			return o.print(cmd.OutOrStdout(), s, "Held, until imaledger release names this entry.")
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&host, "host", "", "the host; every host if there is none")
	cmd.Flags().StringVar(&from, "from", "", "first day, or time, at which records came into the log")
	cmd.Flags().StringVar(&to, "to", "", "last day, or time")
	cmd.Flags().StringVar(&reason, "reason", "", "the reason, for people")
	return cmd
}

func newReleaseCommand() *cobra.Command {
	var o operator
	var hold, reason string
	cmd := &cobra.Command{
		Use:   "release --ledger URL --trust DIR --key FILE --hold LEAF --reason TEXT",
		Short: "End a hold",
		Long:  "release ends a hold: from then on the retention policy alone decides.",
		Example: `  imaledger release --ledger https://ledger.example/ --trust trust/ --key operator.key \
      --hold $(imaledger retention --ledger https://ledger.example/ --json | jq -r .holds[0].leaf) --reason "case closed"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if reason == "" {
				return cli.Usagef("no --reason")
			}
			leaf, err := parseLeaf("hold", hold)
			if err != nil {
				return err
			}
			r := &ledger.Release{Hold: leaf, Reason: reason, Time: uint64(time.Now().Unix())}
			if err := o.open(cmd.Context()); err != nil {
				return err
			}
			if r.Log, err = o.origin(cmd.Context()); err != nil {
				return err
			}
			s, err := o.state(cmd.Context(), r)
			if err != nil {
				return err
			}
			return o.print(cmd.OutOrStdout(), s, "Released.")
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&hold, "hold", "", "leaf hash of the hold")
	cmd.Flags().StringVar(&reason, "reason", "", "the reason, for people")
	return cmd
}
