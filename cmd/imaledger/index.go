package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/gather"
	"github.com/imaledger/imaledger/ledger/search"
)

// openNode opens an index of the auditor's own.
func openNode(dir string, trust *ledger.Trust, create bool) (*search.Node, error) {
	if _, err := os.Stat(dir); err != nil && !create {
		return nil, cli.WithHint(cli.Usagef("index: %w", err), "imaledger index makes one")
	}
	n, err := search.OpenNode(dir, trust, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, cli.WithHint(cli.Undecidedf("%s: %w", dir, err), "one process at a time may have it open; it can be deleted and made again")
	}
	return n, nil
}

func newIndexCommand() *cobra.Command {
	var r remote
	var dir string
	var follow, asJSON bool
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "index --ledger URL --trust DIR --dir DIR [--follow]",
		Short: "Follow a ledger into an index of your own",
		Long: `index reads a ledger's log and records into an index of your own, for search --index.
It believes nothing: each entry is in the tree of a checkpoint that the trust folder
accepts, that tree continues the one that was read before, and each segment's records
have the digest that the entry names. So what your index does not find is not there,
but for records that were erased or that the ledger does not give you, which it
counts.

What an operator's statement erases, the index forgets.`,
		Example: "  imaledger index --ledger https://ledger.example/ --trust trust/ --dir index/ --follow",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := r.open(); err != nil {
				return err
			}
			n, err := openNode(dir, r.trust, true)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, n.Close()) }()
			if err := updateIndex(cmd.Context(), n, r.client, true, cmd.ErrOrStderr()); err != nil {
				return fromLedger(err, r.url)
			}
			class, err := printIndex(cmd.Context(), cmd.OutOrStdout(), n, asJSON)
			if err != nil || !follow {
				return exitWith(err, class)
			}
			return followIndex(cmd.Context(), n, r.client, interval, cmd.ErrOrStderr())
		},
	}
	r.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&dir, "dir", "", "folder of the index, made if it does not exist (required)")
	f.BoolVar(&follow, "follow", false, "go on as the log grows, until interrupted")
	f.DurationVar(&interval, "interval", 10*time.Second, "how often to look, with --follow")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	mustRequire(cmd, "dir")
	return cmd
}

func updateIndex(ctx context.Context, n *search.Node, c *client.Client, retry bool, stderr io.Writer) error {
	progress := cli.NewProgress(stderr)
	defer progress.End()
	return n.Update(ctx, c, retry, func(done, total uint64) { progress.Show("indexing", done, total) })
}

// indexJSON is what index prints as JSON.
type indexJSON struct {
	Verdict      string               `json:"verdict"`
	Log          string               `json:"log"`
	Size         uint64               `json:"size"`
	Segments     uint64               `json:"segments"`
	Records      uint64               `json:"records"`
	Measurements uint64               `json:"measurements"`
	Bytes        uint64               `json:"bytes"`
	Limits       *client.SearchLimits `json:"limits"`
}

// printIndex says what the index has, and of which segments it has not what the log
// names. Records that were erased, or are not for the caller, are no fault.
func printIndex(ctx context.Context, w io.Writer, n *search.Node, asJSON bool) (ledger.Class, error) {
	s := n.Status()
	a, err := n.Search(ctx, &client.SearchQuery{Limit: 1})
	if err != nil {
		return 0, err
	}
	class, states := ledger.Noted, a.Limits.States
	switch {
	case states["altered"]+states["malformed"] > 0:
		class = ledger.Contradicted
	case states["missing"] > 0:
		class = ledger.Undecided
	}
	word := "verified"
	if class != ledger.Noted {
		word = class.String()
	}
	if asJSON {
		return class, printJSON(w, indexJSON{word, s.Origin, s.Size, s.Segments, s.Records, s.Measurements, s.Bytes, a.Limits})
	}
	p := &printer{w: w}
	p.f("log %s: %d entries, %d records of %d segments; %d bytes on disk\n", s.Origin, s.Size, s.Records, s.Segments, s.Bytes)
	p.limits(a.Limits)
	return class, p.err
}

// followIndex goes on until it is interrupted or the ledger contradicts itself. A
// ledger that cannot be reached is asked again.
func followIndex(ctx context.Context, n *search.Node, c *client.Client, interval time.Duration, stderr io.Writer) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval):
		}
		err := updateIndex(ctx, n, c, false, stderr)
		var f *gather.FindingError
		switch {
		case err == nil, ctx.Err() != nil:
		case errors.As(err, &f) && f.Finding.Class() == ledger.Contradicted:
			return fromLedger(err, c.Base)
		default:
			fmt.Fprintf(stderr, "the ledger does not answer, and is asked again in %v: %v\n", interval, err)
		}
	}
}
