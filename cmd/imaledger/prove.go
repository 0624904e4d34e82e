package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/gather"
	"github.com/imaledger/imaledger/tpm/ima"
)

// A selection is how the commands prove and record are told of an entry, and of a
// record in it.
type selection struct {
	host, leaf, when string
	index, sequence  uint64
	record           uint64 // in the segment
	path, digest     string

	hasIndex, hasSequence, hasRecord bool

	stderr io.Writer
}

func (s *selection) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.host, "host", "", "a host's segment: with --sequence, --time, --path or --digest")
	f.Uint64Var(&s.sequence, "sequence", 0, "`number` of the segment in the host's chain")
	f.StringVar(&s.when, "time", "", "the segment that has the records of a date or `time`, in UTC")
	f.StringVar(&s.path, "path", "", "the newest record of a file `name`")
	f.StringVar(&s.digest, "digest", "", "the newest record of a file `digest`, as sha256:HEX or HEX")
	f.Uint64Var(&s.record, "record", 0, "`number` of the record in the segment, from 0")
	f.StringVar(&s.leaf, "leaf", "", "the entry with a leaf `hash`")
	f.Uint64Var(&s.index, "index", 0, "the entry at an `index` of the log")
	cmd.MarkFlagsOneRequired("host", "leaf", "index")
	cmd.MarkFlagsMutuallyExclusive("host", "leaf", "index")
	cmd.MarkFlagsMutuallyExclusive("path", "digest", "record")
	cmd.MarkFlagsMutuallyExclusive("sequence", "time")
}

// noted notes which numbers were given.
func (s *selection) noted(cmd *cobra.Command) error {
	s.stderr = cmd.ErrOrStderr()
	f := cmd.Flags()
	s.hasIndex, s.hasSequence, s.hasRecord = f.Changed("index"), f.Changed("sequence"), f.Changed("record")
	if s.host == "" && (s.hasSequence || s.when != "" || s.path != "" || s.digest != "") {
		return cli.WithHint(cli.Usagef("no --host"), "--sequence, --time, --path and --digest are of a host's chain")
	}
	if s.host != "" && !s.hasSequence && s.when == "" && s.path == "" && s.digest == "" {
		return cli.WithHint(cli.Usagef("which of the host's segments?"), "say --sequence, --time, --path or --digest; bundle takes all of them")
	}
	return nil
}

// filter is what selects a record by what it says, nil for none.
func (s *selection) filter() (*ima.Filter, error) {
	switch {
	case s.path != "":
		return &ima.Filter{Path: s.path}, nil
	case s.digest != "":
		d, err := ima.ParseFileDigest(s.digest)
		if err != nil {
			return nil, cli.Usagef("--digest %w", err)
		}
		return &ima.Filter{Digest: d}, nil
	}
	return nil, nil
}

// A selected is an entry that was selected, and the record in it.
type selected struct {
	*gather.Entry
	segment *ledger.Segment // nil for another entry
	record  uint64
	has     bool // whether a record was selected
	read    bool // whether all records were read to find it
	unread  int  // newer segments whose records were not given, of a search
}

// find finds what is selected.
func (s *selection) find(ctx context.Context, l *gather.Ledger) (*selected, error) {
	filter, err := s.filter()
	if err != nil {
		return nil, err
	}
	var e *gather.Entry
	switch {
	case s.leaf != "":
		leaf, err := parseLeaf("leaf", s.leaf)
		if err != nil {
			return nil, err
		}
		e, err = l.ByLeaf(ctx, leaf)
		if err != nil {
			return nil, answered(err)
		}
	case s.hasIndex:
		if e, err = l.Entry(ctx, s.index); err != nil {
			return nil, answered(err)
		}
	case s.hasSequence:
		if e, err = l.HostEntry(ctx, s.host, s.sequence); err != nil {
			return nil, answered(err)
		}
	case s.when != "":
		at, err := parseWhen("time", s.when, false)
		if err != nil {
			return nil, err
		}
		_, n, scanned, err := l.Between(ctx, s.host, at, at)
		if err != nil {
			return nil, answered(err)
		}
		if !scanned {
			byWord(s.stderr, s.host, n)
		}
		if e, err = l.HostEntry(ctx, s.host, n); err != nil {
			return nil, answered(err)
		}
	default:
		return s.search(ctx, l, filter)
	}
	found := &selected{Entry: e, record: s.record, has: s.hasRecord}
	found.segment, _ = e.Entry.(*ledger.Segment)
	if filter != nil {
		n, has, err := recordOf(ctx, l, found, filter)
		if err != nil {
			return nil, answered(err)
		}
		if !has {
			return nil, cli.Undecidedf("segment #%d of host %s has no such record", s.sequence, s.host)
		}
		found.record, found.has, found.read = n, true, true
	}
	if found.has && found.segment == nil {
		return nil, cli.Usagef("entry %d is %s, which has no records", e.Index, e.Format())
	}
	return found, nil
}

// search looks through a host's segments, the newest first.
func (s *selection) search(ctx context.Context, l *gather.Ledger, filter *ima.Filter) (*selected, error) {
	newest, err := newest(ctx, s.stderr, l, s.host)
	if err != nil {
		return nil, answered(err)
	}
	unread := 0
	for n := newest; ; n-- {
		e, err := l.HostEntry(ctx, s.host, n)
		if err != nil {
			return nil, answered(err)
		}
		found := &selected{Entry: e}
		if found.segment, _ = e.Entry.(*ledger.Segment); found.segment != nil {
			record, has, err := recordOf(ctx, l, found, filter)
			switch {
			case errors.Is(err, errNotGiven):
				unread++
			case err != nil:
				return nil, answered(err)
			case has:
				found.record, found.has, found.read, found.unread = record, true, true, unread
				return found, nil
			}
		}
		if n == 0 {
			break
		}
	}
	if unread > 0 {
		return nil, cli.Undecidedf("host %s: no such record in the segments up to #%d, and the records of %d of them are erased or not for you to read", s.host, newest, unread)
	}
	return nil, cli.Undecidedf("host %s: no such record in its segments up to #%d, and the log has size %d", s.host, newest, l.Checkpoint().Size)
}

// errNotGiven is records that a ledger does not give.
var errNotGiven = errors.New("the ledger does not give the records")

// recordOf finds the last record of a segment that a filter selects.
func recordOf(ctx context.Context, l *gather.Ledger, s *selected, filter *ima.Filter) (n uint64, has bool, err error) {
	payload, err := payloadOf(ctx, l, s)
	if err != nil {
		return 0, false, err
	}
	defer payload.Close()
	r, err := audit.NewListReader(s.segment, payload)
	if err != nil {
		return 0, false, err
	}
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return n, has, nil
		}
		if err != nil {
			return 0, false, &gather.FindingError{Finding: ledger.Finding{Code: ledger.ListMalformed, Subject: ledger.Subject(s.segment.Host, s.segment.Sequence), Text: err.Error()}}
		}
		if facts := rec.Facts(); filter.Match(&facts) {
			n, has = rec.Index, true
		}
	}
}

// payloadOf gives a segment's records, held to the digest that the segment names.
func payloadOf(ctx context.Context, l *gather.Ledger, s *selected) (io.ReadCloser, error) {
	e, err := l.Segment(ctx, s.Index, gather.Options{})
	if err != nil {
		return nil, err
	}
	r, err := e.Open(ledger.FolderPayloads, s.segment.Payload.Digest)
	if err == nil && r == nil {
		err = errNotGiven
	}
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{r, e}, nil
}

func newProveCommand() *cobra.Command {
	var r remote
	var s selection
	var out, proofFile, entryFile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "prove --ledger URL --trust DIR (--host HOST … | --leaf HASH | --index N)",
		Short: "Prove a segment, an entry or a record",
		Long: `prove fetches one entry of the log with all that proves it, verifies it, and says what
is proven: which records the machine measured, between which times, and under which
key. A record is found by its file name or digest among all of a host's segments, the
newest first.

--out writes the evidence as a bundle, for verify. --proof and --entry write what
verifiers of other logs read: a c2sp.org/tlog-proof, and the entry that it is of.`,
		Example: `  imaledger prove --ledger https://ledger.example/ --trust trust/ --host web1.example --path /usr/sbin/sshd --out sshd.tar
  imaledger prove --ledger https://ledger.example/ --trust trust/ --host web1.example --time 2026-01-31T12:00:00Z
  imaledger prove --ledger https://ledger.example/ --trust trust/ --index 17 --proof entry.tlog-proof --entry entry`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.noted(cmd); err != nil {
				return err
			}
			if err := r.open(); err != nil {
				return err
			}
			l, err := gather.Open(cmd.Context(), r.client, r.trust)
			if err != nil {
				return answered(err)
			}
			found, err := s.find(cmd.Context(), l)
			if err != nil {
				return err
			}
			if err := writeProof(cmd.Context(), l, found, proofFile, entryFile); err != nil {
				return err
			}
			evidence, err := l.Proven(cmd.Context(), found.Index)
			if err != nil {
				return answered(err)
			}
			defer evidence.Close()
			if found.has && !asJSON {
				if err := printRecord(cmd.OutOrStdout(), evidence, found); err != nil {
					return err
				}
			}
			if err := handOut(cmd.OutOrStdout(), cmd.ErrOrStderr(), l, evidence, out, asJSON); err != nil || found.unread == 0 {
				return err
			}
			return cli.Undecidedf("what is proven holds; whether it is the newest such record is undecided, since the records of %d newer segments are erased or not for you to read", found.unread)
		},
	}
	r.flags(cmd)
	s.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&out, "out", "", "`file` for the evidence")
	f.StringVar(&proofFile, "proof", "", "`file` for the tlog-proof")
	f.StringVar(&entryFile, "entry", "", "`file` for the entry")
	f.BoolVar(&asJSON, "json", false, "print the report as JSON")
	return cmd
}

// writeProof writes an entry and its proof in the log's newest checkpoint.
func writeProof(ctx context.Context, l *gather.Ledger, s *selected, proofFile, entryFile string) error {
	if proofFile != "" {
		p, err := l.Prove(ctx, s.Index, l.Checkpoint())
		if err != nil {
			return answered(err)
		}
		if err := os.WriteFile(proofFile, p.Marshal(), 0o644); err != nil {
			return cli.Usagef("%w", err)
		}
	}
	if entryFile != "" {
		if err := os.WriteFile(entryFile, s.Raw, 0o644); err != nil {
			return cli.Usagef("%w", err)
		}
	}
	return nil
}

// printRecord says what a record says, and by what it is bound.
func printRecord(w io.Writer, e *gather.Evidence, s *selected) error {
	payload, err := e.Open(ledger.FolderPayloads, s.segment.Payload.Digest)
	if err != nil || payload == nil {
		return err
	}
	defer payload.Close()
	p, err := audit.ProveRecord(s.segment, payload, s.record, false)
	if err != nil {
		return cli.Usagef("%w", err)
	}
	return describeRecord(w, s.segment, p)
}

// describeRecord prints a record of a segment.
func describeRecord(w io.Writer, seg *ledger.Segment, p *ledger.RecordProof) error {
	rec, err := parseRecord(seg, p.Record)
	if err != nil {
		return err
	}
	facts := rec.Facts()
	out := &printer{w: w}
	out.f("record %d of segment #%d of host %s\n", p.Index, seg.Sequence, seg.Host)
	out.f("  file      %s\n", ima.Printable([]byte(facts.Path)))
	for _, d := range facts.Digests {
		out.f("  digest    %s\n", d)
	}
	out.f("  register  PCR %d, template %s\n", facts.PCR, ima.Printable(rec.Template))
	for _, id := range facts.KeyIDs {
		out.f("  signed    by key %08x\n", id)
	}
	switch {
	case facts.Violation:
		out.f("  a violation: the file changed while it was measured, and what the record says is bound by no register\n")
	case !ima.Attestable(rec.PCR):
		out.f("  no register binds it: the kernel cannot extend PCR %d\n", rec.PCR)
	}
	out.f("\n")
	return out.err
}
