package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

func newTimelineCommand() *cobra.Command {
	var h historyCommand
	var from uint64
	cmd := &cobra.Command{
		Use:   "timeline --ledger URL --trust DIR HOST",
		Short: "Draw a host's boots, segments, gaps and violations",
		Long: `timeline fetches a host's chain with its records, checks it as verify checks a bundle,
and draws it: each boot, the segments in it, kexecs, gaps, violations, erased records,
and boots between of which nothing is attested. Where the output is no terminal it is
plain text.

What the ledger holds back at the chain's end shows in nothing but a longer chain
elsewhere: the last line says how far the log had grown, and when.`,
		Example: "  imaledger timeline --ledger https://ledger.example/ --trust trust/ web1.example",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !ledger.ValidHost(args[0]) {
				return cli.Usagef("%.64q is no host name", args[0])
			}
			if err := h.open(cmd); err != nil {
				return err
			}
			x, err := h.history(cmd.Context(), args[0], from, true)
			if err != nil {
				return err
			}
			defer x.ev.Close()
			if h.asJSON {
				err = printJSON(cmd.OutOrStdout(), timelineJSON{verdict(x.Report), args[0], notNull(x.Segments), notNull(x.Findings), x.Log, x.TreeSize, x.Witnessed})
			} else {
				err = x.draw(cmd.OutOrStdout(), args[0], isTerminal(cmd.OutOrStdout()))
			}
			return exitWith(err, x.Class())
		},
	}
	h.flags(cmd)
	cmd.Flags().Uint64Var(&from, "from", 0, "sequence number of the entry to begin with")
	return cmd
}

type timelineJSON struct {
	Verdict   string           `json:"verdict"`
	Host      string           `json:"host"`
	Segments  []*audit.Segment `json:"segments"`
	Findings  []ledger.Finding `json:"findings"`
	Log       string           `json:"log"`
	TreeSize  uint64           `json:"treeSize"`
	Witnessed uint64           `json:"witnessed,omitempty"`
}

// strokes are what a timeline is drawn with: on a terminal, and in plain text.
type strokes struct {
	boot, line, segment, gap, erased, end string
	bold, red, plain                      string
}

var (
	drawn = strokes{"┏━", "┃ ", "┣━", "╳ ", "┣╌", "┗━", "\x1b[1m", "\x1b[31m", "\x1b[0m"}
	typed = strokes{"+-", "| ", "|-", "X ", "|.", "+-", "", "", ""}
)

// draw writes a host's history for people.
func (x *history) draw(w io.Writer, host string, terminal bool) error {
	p, s := &printer{w: w}, typed
	if terminal {
		s = drawn
	}
	p.f("%s%s%s\n", s.bold, host, s.plain)
	by := make(map[string][]ledger.Finding) // of each entry
	for _, f := range x.Findings {
		by[f.Entry] = append(by[f.Entry], f)
	}
	var last *audit.Segment
	for _, seg := range x.Segments {
		x.join(p, s, last, seg, by[seg.Leaf])
		x.segment(p, s, seg, by[seg.Leaf])
		last = seg
	}
	if last != nil {
		p.f("%s\n", s.end)
	}
	shown := make(map[string]bool)
	for _, seg := range x.Segments {
		shown[seg.Leaf] = true
	}
	for _, f := range x.Findings {
		if !shown[f.Entry] && f.Class() != ledger.Noted {
			p.f("%s%s%s\n", s.red, f, s.plain)
		}
	}
	p.f("\nThe log had %s at %s. Whether the host has newer ones that are held back, it cannot say.\n", audit.Count(x.TreeSize, "entry"), audit.Time(x.Witnessed))
	return p.err
}

// join draws how a segment joins the one before it.
func (x *history) join(p *printer, s strokes, last, seg *audit.Segment, findings []ledger.Finding) {
	boot := fmt.Sprintf("boot, TPM reset %d", seg.ResetCount)
	if seg.RestartCount > 0 {
		boot += fmt.Sprintf(" restart %d", seg.RestartCount)
	}
	switch {
	case seg.Join == string(ledger.JoinBoot):
		if last != nil {
			p.f("%s\n", s.end)
			if skipped := seg.ResetCount - last.ResetCount; seg.ResetCount > last.ResetCount+1 {
				p.f("   %s of which nothing is attested\n", audit.Count(skipped-1, "boot"))
			}
		}
		p.f("%s%s%s%s\n", s.boot, s.bold, boot, s.plain)
	case strings.HasPrefix(seg.Join, string(ledger.JoinGap)):
		if last == nil {
			p.f("%s%s%s%s\n", s.boot, s.bold, boot, s.plain)
		}
		acknowledged := ""
		for _, f := range findings {
			if f.Code == ledger.GapAcknowledged {
				acknowledged = ", acknowledged"
			}
		}
		p.f("%s%sgap%s: records are missing here, the host says %s%s\n", s.gap, s.red, s.plain, strings.TrimPrefix(seg.Join, string(ledger.JoinGap)+" "), acknowledged)
	case last == nil:
		p.f("%s%s%s%s, what is before is not shown\n", s.boot, s.bold, boot, s.plain)
	}
}

// segment draws one segment.
func (x *history) segment(p *printer, s strokes, seg *audit.Segment, findings []ledger.Finding) {
	stroke, records := s.segment, fmt.Sprintf("records %d to %d", seg.First, seg.First+seg.Count-1)
	switch seg.Count {
	case 0:
		records = "no record"
	case 1:
		records = fmt.Sprintf("record %d", seg.First)
	}
	if seg.Erased != nil {
		stroke = s.erased
	}
	p.f("%s #%d  %s  %s to %s", stroke, seg.Sequence, records, audit.Time(seg.NotBefore), audit.Time(seg.NotAfter))
	switch {
	case seg.Erased != nil:
		p.f("  erased under policy %d", seg.Erased.Policy)
	case !seg.Replayed:
		p.f("  %snot replayed%s", s.red, s.plain)
	}
	p.f("\n")
	if seg.Kexecs > 0 {
		p.f("%s   %d kexec: another kernel, the TPM not reset\n", s.line, seg.Kexecs)
	}
	if seg.Violations > 0 {
		p.f("%s   %s: written while it was measured\n", s.line, audit.Count(seg.Violations, "violation"))
	}
	if seg.Unattested > 0 {
		p.f("%s   %s that no register binds\n", s.line, audit.Count(seg.Unattested, "record"))
	}
	for _, f := range findings {
		if f.Class() != ledger.Noted && f.Code != ledger.Gap && f.Code != ledger.PayloadErased {
			p.f("%s   %s%s%s\n", s.line, s.red, f, s.plain)
		}
	}
}
