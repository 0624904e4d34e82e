package main

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
)

func newEraseCommand() *cobra.Command {
	var o operator
	var host, reason string
	var leaves []string
	var all, dryRun bool
	cmd := &cobra.Command{
		Use:   "erase --ledger URL --trust DIR --key FILE --reason TEXT (--leaf LEAF... | --host HOST | --all) [--dry-run]",
		Short: "Erase records whose time has come",
		Long: `erase puts an erasure into the log, signed by an operator, and the ledger then
deletes the records that it names. The retention policy in force, holds and
appraisals decide what may go; what must be kept is left, and shown.

The entries of the log, their proofs and the hosts' chains stay and verify as
before. What remains of the records is their hash and the register values before
and after them: who guesses what they were can check the guess.`,
		Example: `  imaledger erase --ledger https://ledger.example/ --trust trust/ --key operator.key \
      --host web1.example --reason "ninety days are over" --dry-run`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if n := len(leaves); reason == "" && !dryRun || (n > 0) == (host != "" || all) || host != "" && all {
				return cli.WithHint(cli.Usagef("want --reason, and one of --leaf, --host and --all"), "%s", cmd.UseLine())
			}
			wanted := make(map[string]bool)
			for _, l := range leaves {
				if _, err := parseLeaf("leaf", l); err != nil {
					return err
				}
				wanted[l] = true
			}
			if err := o.open(cmd.Context()); err != nil {
				return err
			}
			at, err := o.checkpoint(cmd.Context())
			if err != nil {
				return err
			}
			var due, kept []client.KeptSegment
			err = o.client.KeptSegments(cmd.Context(), host, at, func(s client.KeptSegment) error {
				switch {
				case len(wanted) > 0 && !wanted[s.Leaf]:
				case s.Keeps == "":
					due = append(due, s)
				default:
					kept = append(kept, s)
				}
				delete(wanted, s.Leaf)
				return nil
			})
			if err != nil {
				return unreachable(err)
			}
			for l := range wanted {
				return cli.WithHint(cli.Usagef("--leaf %s is no segment of the ledger whose records are there", l), "erased already, or another ledger's?")
			}
			return o.eraseAll(cmd, at.Origin, due, kept, reason, dryRun)
		},
	}
	o.flags(cmd)
	cmd.Flags().StringSliceVar(&leaves, "leaf", nil, "leaf hash of a segment; may be repeated")
	cmd.Flags().StringVar(&host, "host", "", "all segments of this host that may go")
	cmd.Flags().BoolVar(&all, "all", false, "all segments of the ledger that may go")
	cmd.Flags().StringVar(&reason, "reason", "", "the reason, for people")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would be erased, and what is kept and why")
	return cmd
}

// erasures is what erase prints as JSON.
type erasures struct {
	Erasures []*stated            `json:"erasures"`
	Due      []client.KeptSegment `json:"due"`  // what was, or would be, erased
	Kept     []client.KeptSegment `json:"kept"` // and what is not, with why
}

// eraseAll states the erasure of what is due. Where nothing is, it is undecided
// whether the records that were asked for will ever go.
func (o *operator) eraseAll(cmd *cobra.Command, origin string, due, kept []client.KeptSegment, reason string, dryRun bool) error {
	result := erasures{Erasures: []*stated{}, Due: notNull(due), Kept: notNull(kept)}
	p := &printer{w: cmd.OutOrStdout()}
	verb := "erased"
	if dryRun {
		verb = "would be erased"
	} else if len(due) > 0 {
		r, err := o.client.Retention(cmd.Context())
		if err != nil {
			return unreachable(err)
		}
		policy, err := parseLeaf("policy", r.Leaf)
		if err != nil {
			return cli.Undecidedf("the ledger names no policy: %q", r.Leaf)
		}
		for batch := range slices.Chunk(due, ledger.MaxErased) {
			s, err := o.eraseBatch(cmd, origin, policy, batch, reason)
			if err != nil {
				return err
			}
			result.Erasures = append(result.Erasures, s)
		}
	}
	if o.asJSON {
		p.err = printJSON(cmd.OutOrStdout(), result)
	} else {
		for _, s := range due {
			p.f("%s #%d: %d bytes %s\n", s.Host, s.Sequence, s.Size, verb)
		}
		for _, s := range kept {
			p.f("%s #%d: kept: %s\n", s.Host, s.Sequence, s.Keeps)
		}
		for _, s := range result.Erasures {
			if err := o.print(cmd.OutOrStdout(), s, fmt.Sprintf("On record as erased: %s.", audit.Count(s.Erased, "segment"))); err != nil {
				return err
			}
		}
	}
	if p.err == nil && len(due) == 0 {
		return cli.WithHint(cli.Undecidedf("nothing may be erased"), "imaledger retention --ledger %s shows what is in force", o.url)
	}
	return p.err
}

func (o *operator) eraseBatch(cmd *cobra.Command, origin string, policy ledger.Hash, batch []client.KeptSegment, reason string) (*stated, error) {
	e := &ledger.Erasure{Log: origin, Retention: policy, Reason: reason, Time: uint64(time.Now().Unix())}
	for _, s := range batch {
		leaf, err := parseLeaf("leaf", s.Leaf)
		if err != nil {
			return nil, cli.Undecidedf("the ledger's answer: %w", err)
		}
		// What the operator signs is looked up in the entry itself.
		raw, err := o.client.Leaf(cmd.Context(), leaf)
		if err != nil {
			return nil, unreachable(err)
		}
		seg, err := ledger.ParseSegment(raw)
		if err != nil || ledger.LeafHash(raw) != leaf || seg.Host != s.Host || seg.Sequence != s.Sequence {
			return nil, cli.Contradictedf("the ledger calls entry %s host %s's #%d, which it is not", s.Leaf, s.Host, s.Sequence)
		}
		e.Erased = append(e.Erased, ledger.Erased{Leaf: leaf, Payload: seg.Payload.Digest})
	}
	slices.SortFunc(e.Erased, func(a, b ledger.Erased) int { return bytes.Compare(a.Leaf[:], b.Leaf[:]) })
	s, err := o.state(cmd.Context(), e)
	if s != nil {
		s.Erased = len(batch)
	}
	return s, err
}

func newAcknowledgeCommand() *cobra.Command {
	var o operator
	var host, entry, finding, statement string
	cmd := &cobra.Command{
		Use:   "acknowledge --ledger URL --trust DIR --key FILE --host HOST --entry LEAF --statement TEXT",
		Short: "Put your word beside a gap",
		Long: `acknowledge states that an operator knows of a finding: the gap that a host's
segment begins with. It stays visible for ever, with these words beside it, and no
longer leaves evidence undecided.`,
		Example: `  imaledger acknowledge --ledger https://ledger.example/ --trust trust/ --key operator.key \
      --host web1.example --entry LEAF --statement "the machine was reinstalled"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			leaf, err := parseLeaf("entry", entry)
			if err != nil {
				return err
			}
			switch {
			case statement == "":
				return cli.Usagef("no --statement")
			case !ledger.ValidHost(host):
				return cli.Usagef("--host %.64q is no host name", host)
			}
			if err := o.open(cmd.Context()); err != nil {
				return err
			}
			a := &ledger.Acknowledgement{Host: host, Entry: leaf, Finding: ledger.Code(finding), Statement: statement, Time: uint64(time.Now().Unix())}
			if a.Log, err = o.origin(cmd.Context()); err != nil {
				return err
			}
			s, err := o.state(cmd.Context(), a)
			if err != nil {
				return err
			}
			return o.print(cmd.OutOrStdout(), s, "Acknowledged.")
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&host, "host", "", "the host")
	cmd.Flags().StringVar(&entry, "entry", "", "leaf hash of the entry that the finding is about")
	cmd.Flags().StringVar(&finding, "finding", string(ledger.Gap), "code of the finding")
	cmd.Flags().StringVar(&statement, "statement", "", "what you know of it, for people")
	return cmd
}
