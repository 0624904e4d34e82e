package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/tpm/ima"
)

// A diffReport is what diff prints as JSON.
type diffReport struct {
	Verdict  string           `json:"verdict"`
	A        diffSide         `json:"a"`
	B        diffSide         `json:"b"`
	OnlyA    []diffFile       `json:"onlyA"`
	OnlyB    []diffFile       `json:"onlyB"`
	Changed  []diffFile       `json:"changed"` // measured on both, with other digests
	Same     int              `json:"same"`
	Findings []ledger.Finding `json:"findings"`
}

type diffSide struct {
	Host      string `json:"host"`
	At        uint64 `json:"at,omitempty"` // Unix seconds
	From      uint64 `json:"from"`         // sequence of the boot's first segment
	To        uint64 `json:"to"`
	Records   int    `json:"records"`
	NotBefore uint64 `json:"notBefore,omitempty"` // of the last quote
	NotAfter  uint64 `json:"notAfter,omitempty"`
}

// A diffFile is a file with the digests that were measured of it.
type diffFile struct {
	Path string   `json:"path"`
	A    []string `json:"a,omitempty"`
	B    []string `json:"b,omitempty"`
}

func newDiffCommand() *cobra.Command {
	var h historyCommand
	cmd := &cobra.Command{
		Use:   "diff --ledger URL --trust DIR HOST[@TIME] HOST[@TIME]",
		Short: "Compare what two hosts measured, or one host at two times",
		Long: `diff compares the files that two hosts measured, or one host at two times, by name and
digest. Of each side it takes one boot: the newest, or the one that was running at
TIME, a date or a time in UTC, up to the last segment that was certainly quoted by
then. All records are checked as verify checks a bundle.

Violations are left out: what they say is not proven.

Exit codes: 0 both sides are proven and have measured the same; 1 they differ, or
evidence is contradicted (the output says which); 2 wrong usage; 3 undecided.`,
		Example: `  imaledger diff --ledger https://ledger.example/ --trust trust/ web1.example web2.example
  imaledger diff --ledger https://ledger.example/ --trust trust/ web1.example@2026-10-01 web1.example`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var sides [2]hostAt
			for i, arg := range args {
				var err error
				if sides[i], err = parseHostAt(arg); err != nil {
					return err
				}
			}
			if err := h.open(cmd); err != nil {
				return err
			}
			r, class, err := h.diff(cmd.Context(), sides[0], sides[1])
			if err != nil {
				return err
			}
			if h.asJSON {
				err = printJSON(cmd.OutOrStdout(), r)
			} else {
				err = r.print(cmd.OutOrStdout(), sides[0], sides[1])
			}
			if err == nil && class == ledger.Noted && len(r.OnlyA)+len(r.OnlyB)+len(r.Changed) > 0 {
				return cli.Exit(cli.ExitContradicted)
			}
			return exitWith(err, class)
		},
	}
	h.flags(cmd)
	return cmd
}

func (h *historyCommand) diff(ctx context.Context, a, b hostAt) (*diffReport, ledger.Class, error) {
	r := &diffReport{OnlyA: []diffFile{}, OnlyB: []diffFile{}, Changed: []diffFile{}, Findings: []ledger.Finding{}}
	var files [2]map[string][]string
	for i, side := range []hostAt{a, b} {
		x, err := h.bootAt(ctx, side)
		if err != nil {
			return nil, 0, err
		}
		at := []*diffSide{&r.A, &r.B}[i]
		files[i], err = x.files(at)
		err = errors.Join(err, x.ev.Close())
		if err != nil {
			return nil, 0, err
		}
		at.Host, at.At = side.host, side.at
		for _, f := range x.Findings {
			if f.Code != ledger.HistoryPartial && !slices.Contains(r.Findings, f) {
				r.Findings = append(r.Findings, f)
			}
		}
	}
	paths := make(map[string]bool)
	for _, m := range files {
		for p := range m {
			paths[p] = true
		}
	}
	for p := range paths {
		f := diffFile{p, files[0][p], files[1][p]}
		switch {
		case f.A == nil:
			r.OnlyB = append(r.OnlyB, f)
		case f.B == nil:
			r.OnlyA = append(r.OnlyA, f)
		case slices.Equal(f.A, f.B):
			r.Same++
		default:
			r.Changed = append(r.Changed, f)
		}
	}
	for _, list := range [][]diffFile{r.OnlyA, r.OnlyB, r.Changed} {
		slices.SortFunc(list, func(a, b diffFile) int { return strings.Compare(a.Path, b.Path) })
	}
	class := ledger.Worst(r.Findings)
	r.Verdict = verdictOf(class)
	return r, class, nil
}

// bootAt gathers the boot of a host that was running at a time.
func (h *historyCommand) bootAt(ctx context.Context, side hostAt) (*history, error) {
	to, err := newest(ctx, h.stderr, h.ledger, side.host)
	if err != nil {
		return nil, unknownHost(err, side.host, h.url)
	}
	if side.at > 0 {
		// The times of the chain, without its records.
		x, err := h.part(ctx, side.host, 0, to, false)
		if err != nil {
			return nil, err
		}
		if err := x.ev.Close(); err != nil {
			return nil, err
		}
		found := false
		for _, s := range x.Segments {
			if s.NotAfter > 0 && s.NotAfter <= side.at {
				to, found = s.Sequence, true
			}
		}
		if !found {
			return nil, cli.WithHint(cli.Undecidedf("%s: nothing was certainly quoted by then", side), "imaledger timeline --ledger %s --trust %s %s shows when", h.url, h.trustDir, side.host)
		}
	}
	from, err := h.ledger.Boot(ctx, side.host, to)
	if err != nil {
		return nil, fromLedger(err, h.url)
	}
	return h.part(ctx, side.host, from, to, true)
}

// files returns the digests of each file that the records name.
func (x *history) files(side *diffSide) (map[string][]string, error) {
	files := make(map[string][]string)
	for i, s := range x.Segments {
		if i == 0 {
			side.From = s.Sequence
		}
		side.To, side.NotBefore, side.NotAfter = s.Sequence, s.NotBefore, s.NotAfter
		seg := x.segments[s.Leaf]
		if seg == nil || !s.Replayed {
			continue // the report says why
		}
		content, err := x.ev.Open(ledger.FolderPayloads, seg.Payload.Digest)
		if err != nil || content == nil {
			return nil, err
		}
		payload, err := io.ReadAll(content)
		if err := errors.Join(err, content.Close()); err != nil {
			return nil, err
		}
		r, err := audit.NewListReader(seg, bytes.NewReader(payload))
		if err != nil {
			return nil, err
		}
		for {
			rec, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("%s #%d: %w", s.Host, s.Sequence, err)
			}
			side.Records++
			f := rec.Facts()
			if f.Path == "" || len(f.Digests) == 0 || !rec.Bound() {
				continue
			}
			name, digest := ima.Printable([]byte(f.Path)), f.Digests[0].String()
			if at, found := slices.BinarySearch(files[name], digest); !found {
				files[name] = slices.Insert(files[name], at, digest)
			}
		}
	}
	return files, nil
}

func (r *diffReport) print(w io.Writer, a, b hostAt) error {
	p := &printer{w: w}
	p.f("--- %s, #%d to #%d, %s\n+++ %s, #%d to #%d, %s\n", a, r.A.From, r.A.To, audit.Count(r.A.Records, "record"), b, r.B.From, r.B.To, audit.Count(r.B.Records, "record"))
	for _, f := range r.OnlyA {
		p.f("- %s %s\n", strings.Join(f.A, " "), f.Path)
	}
	for _, f := range r.OnlyB {
		p.f("+ %s %s\n", strings.Join(f.B, " "), f.Path)
	}
	for _, f := range r.Changed {
		p.f("- %s %s\n+ %s %s\n", strings.Join(f.A, " "), f.Path, strings.Join(f.B, " "), f.Path)
	}
	p.f("%s the same, %d different, %d only on the first and %d only on the second\n", audit.Count(r.Same, "file"), len(r.Changed), len(r.OnlyA), len(r.OnlyB))
	for _, f := range r.Findings {
		if f.Class() != ledger.Noted {
			p.f("%s\n", f)
		}
	}
	return p.err
}
