package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/gather"
)

// A historyCommand is what the commands that look at hosts' chains have in common.
type historyCommand struct {
	remote
	asJSON bool

	ledger *gather.Ledger
	stderr io.Writer
}

func (h *historyCommand) flags(cmd *cobra.Command) {
	h.remote.flags(cmd)
	cmd.Flags().BoolVar(&h.asJSON, "json", false, "print JSON")
}

func (h *historyCommand) open(cmd *cobra.Command) (err error) {
	h.stderr = cmd.ErrOrStderr()
	if err := h.remote.open(); err != nil {
		return err
	}
	h.ledger, err = gather.Open(cmd.Context(), h.client, h.trust)
	return fromLedger(err, h.url)
}

// A hostAt is a host at a time, 0 for now: HOST or HOST@TIME.
type hostAt struct {
	host string
	at   uint64
}

func parseHostAt(text string) (h hostAt, err error) {
	host, when, timed := strings.Cut(text, "@")
	if !ledger.ValidHost(host) {
		return h, cli.Usagef("%.64q is no host name", host)
	}
	h.host = host
	if timed {
		h.at, err = parseWhen("HOST@TIME", when, true)
	}
	return h, err
}

func (h hostAt) String() string {
	if h.at == 0 {
		return h.host
	}
	return h.host + " at " + audit.Time(h.at)
}

// A history is a host's chain, or the end of it, checked.
type history struct {
	*audit.Report
	ev *gather.Evidence
	// segments of the log, by leaf hash in hex.
	segments map[string]*ledger.Segment
}

// history gathers and checks a host's chain.
func (h *historyCommand) history(ctx context.Context, host string, from uint64, payloads bool) (*history, error) {
	newest, err := newest(ctx, h.stderr, h.ledger, host)
	if err != nil {
		return nil, unknownHost(err, host, h.url)
	}
	return h.part(ctx, host, min(from, newest), newest, payloads)
}

func unknownHost(err error, host, url string) error {
	var p *client.Problem
	if errors.As(err, &p) && p.Status == 404 {
		return cli.WithHint(cli.Undecidedf("the ledger knows no host %s", host), "imaledger hosts --ledger %s --trust DIR lists hosts", url)
	}
	return fromLedger(err, url)
}

func (h *historyCommand) part(ctx context.Context, host string, from, to uint64, payloads bool) (*history, error) {
	ev, err := h.ledger.Segments(ctx, host, from, to, gather.Options{NoPayloads: !payloads})
	if err != nil {
		return nil, fromLedger(err, h.url)
	}
	report, err := h.ledger.Check(ev)
	if err != nil {
		return nil, errors.Join(err, ev.Close())
	}
	x := &history{Report: report, ev: ev, segments: make(map[string]*ledger.Segment)}
	for _, s := range ev.Sources {
		if s.Folder != ledger.FolderLeaves {
			continue
		}
		r, err := s.Open()
		if err != nil {
			return nil, errors.Join(err, ev.Close())
		}
		raw, err := readAllClose(r, ledger.MaxStatement)
		if err != nil {
			return nil, errors.Join(err, ev.Close())
		}
		if seg, err := ledger.ParseSegment(raw); err == nil {
			x.segments[fmt.Sprintf("%x", s.Hash)] = seg
		}
	}
	return x, nil
}

// readAllClose reads at most max bytes.
func readAllClose(r io.ReadCloser, max int64) ([]byte, error) {
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, max))
}
