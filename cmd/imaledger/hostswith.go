package main

import (
	"cmp"
	"errors"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/search"
)

// A hostWith is a host that has measured what was asked for.
type hostWith struct {
	Host    string `json:"host"`
	Records int    `json:"records"`
	// First and Last are the first and the last record of it, in the log's order.
	First *search.Hit `json:"first"`
	Last  *search.Hit `json:"last"`
}

// hostsOf sums hits up by host, in the order in which the log has each host's first.
func hostsOf(hits []*search.Hit) []*hostWith {
	by := make(map[string]*hostWith)
	list := []*hostWith{}
	for _, h := range hits {
		w := by[h.Host]
		if w == nil {
			w = &hostWith{Host: h.Host, First: h}
			by[h.Host] = w
			list = append(list, w)
		}
		w.Records++
		w.Last = h
	}
	return list
}

func newHostsWithCommand() *cobra.Command {
	var s searchCommand
	cmd := &cobra.Command{
		Use:   "hosts-with (--ledger URL | --index DIR) --trust DIR [what to search for]",
		Short: "List the hosts that have measured a file, with proof",
		Long: `hosts-with lists the hosts on which a file was measured, how often, and when first
and last. It finds, proves and counts as imaledger search does, and what it says of
other hosts is worth as much as there.`,
		Example: "  imaledger hosts-with --index index/ --trust trust/ --path /usr/bin/sudo",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.summary(cmd, func(w io.Writer, r *search.Result) error {
				hosts := hostsOf(r.Hits)
				if s.asJSON {
					return printJSON(w, hostsWithJSON{verdictOf(r.Class()), r.Certain(), hosts, answerOf(r)})
				}
				p := &printer{w: w}
				for _, h := range hosts {
					p.f("%s: %s, the first quoted between %s and %s", h.Host, audit.Count(h.Records, "record"), audit.Time(h.First.NotBefore), audit.Time(h.First.NotAfter))
					if h.Last != h.First {
						p.f(", the last between %s and %s", audit.Time(h.Last.NotBefore), audit.Time(h.Last.NotAfter))
					}
					p.f("\n")
				}
				p.unproven(r)
				p.coverage(r, false)
				return p.err
			})
		},
	}
	s.recordFlags(cmd)
	s.sourceFlags(cmd)
	cmd.Flags().IntVar(&s.limit, "limit", 0, "how many hits to prove; 0 for all")
	return cmd
}

func newFirstSeenCommand() *cobra.Command {
	var s searchCommand
	cmd := &cobra.Command{
		Use:   "first-seen (--ledger URL | --index DIR) --trust DIR [what to search for]",
		Short: "Show where a file was measured first, with proof",
		Long: `first-seen shows the first record of a file that the log has, over all hosts or of
one, and proves it. That there is none before it rests on who says so: it is certain
with an index of your own or with --complete, where no records before it were erased,
and otherwise the exit code is 3.

First is by the order of the log. Two segments whose times overlap may have been
measured the other way round.`,
		Example: "  imaledger first-seen --index index/ --trust trust/ --digest sha256:$(sha256sum < /usr/bin/sudo | cut -c1-64)",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s.limit = 1
			return s.summary(cmd, func(w io.Writer, r *search.Result) error {
				r.More = false // later ones are not asked for
				if s.asJSON {
					return cmp.Or(printJSON(w, firstSeenJSON{verdictOf(r.Class()), r.Certain(), firstOf(r), answerOf(r)}), uncertainFirst(r))
				}
				p := &printer{w: w}
				for _, h := range r.Hits {
					p.hit(h)
					p.f("\n")
				}
				p.coverage(r, true)
				return cmp.Or(p.err, uncertainFirst(r))
			})
		},
	}
	s.recordFlags(cmd)
	s.sourceFlags(cmd)
	cmd.Flags().StringVar(&s.host, "host", "", "one host")
	return cmd
}

// uncertainFirst is the error where something may be before what was found.
func uncertainFirst(r *search.Result) error {
	if r.Class() == ledger.Noted && !r.Certain() {
		return cli.Exit(cli.ExitUndecided)
	}
	return nil
}

func firstOf(r *search.Result) *search.Hit {
	if len(r.Hits) == 0 {
		return nil
	}
	return r.Hits[0]
}

type hostsWithJSON struct {
	Verdict string      `json:"verdict"`
	Certain bool        `json:"certain"`
	Hosts   []*hostWith `json:"hosts"`
	*answerJSON
}

type firstSeenJSON struct {
	Verdict string      `json:"verdict"`
	Certain bool        `json:"certain"`
	First   *search.Hit `json:"first"`
	*answerJSON
}

// answerJSON is what a summary has of a search's result.
type answerJSON struct {
	Log       string               `json:"log"`
	Size      uint64               `json:"size"`
	TreeSize  uint64               `json:"treeSize"`
	Witnessed uint64               `json:"witnessed,omitempty"`
	By        string               `json:"by"`
	Searched  []string             `json:"searched"` // patterns of hosts
	More      bool                 `json:"more"`
	Limits    *client.SearchLimits `json:"limits"`
	Findings  []ledger.Finding     `json:"findings"`
}

func answerOf(r *search.Result) *answerJSON {
	a := &answerJSON{r.Log, r.Size, r.TreeSize, r.Witnessed, r.By, r.Hosts, r.More, r.Limits, slices.Clone(r.Findings)}
	for _, h := range r.Hits {
		for _, f := range h.Findings {
			if !slices.Contains(a.Findings, f) {
				a.Findings = append(a.Findings, f)
			}
		}
	}
	return a
}

// unproven shows the hits that cannot be believed as they stand.
func (p *printer) unproven(r *search.Result) {
	for _, h := range r.Hits {
		if !h.Proven || ledger.Worst(h.Findings) == ledger.Contradicted {
			p.hit(h)
		}
	}
}

// summary searches, and ends with what the result says.
func (s *searchCommand) summary(cmd *cobra.Command, print func(io.Writer, *search.Result) error) (err error) {
	if err := s.open(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if s.query.Filter.Empty() {
		return cli.WithHint(cli.Usagef("nothing to search for"), "%s; give --digest, --path, --path-pattern, --key-id, --pcr or --template", cmd.UseLine())
	}
	r, err := s.run(cmd.Context(), cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	return exitWith(print(cmd.OutOrStdout(), r), r.Class())
}
