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
	"github.com/imaledger/imaledger/ledger/search"
	"github.com/imaledger/imaledger/tpm/ima"
)

// defaultHits is how many hits are proven and shown unless more are asked for.
const defaultHits = 100

// A searchCommand is what the commands that search have in common.
type searchCommand struct {
	remote
	indexDir                     string
	complete, asJSON             bool
	limit                        int
	digest, path, pattern, keyID string
	pcr                          int
	template, host, since, until string

	node  *search.Node
	query client.SearchQuery
}

// recordFlags define what is searched for.
func (s *searchCommand) recordFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.digest, "digest", "", "file digest: hex, or sha256:HEX with the algorithm")
	f.StringVar(&s.path, "path", "", "file name, as it was measured")
	f.StringVar(&s.pattern, "path-pattern", "", "pattern of file names: * for any bytes, ? for one")
	f.StringVar(&s.keyID, "key-id", "", "ID of the key of a file's signature, in hex: of its subject identifier or serial number the last four bytes count")
	f.IntVar(&s.pcr, "pcr", -1, "register")
	f.StringVar(&s.template, "template", "", "name of the template")
}

// sourceFlags define where is searched.
func (s *searchCommand) sourceFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.url, "ledger", "", "URL of the ledger; with --index, the one that the index follows if not given")
	f.StringVar(&s.trustDir, "trust", "", "trust folder (required)")
	f.StringVar(&s.indexDir, "index", "", "folder of an index of your own (imaledger index)")
	f.StringVar(&s.tokenFile, "token-file", "", "`file` with the token that lets you read what is not public; or set "+tokenVariable)
	f.BoolVar(&s.asJSON, "json", false, "print JSON")
	f.BoolVar(&s.complete, "complete", false, "read the records of everything that is searched, so that nothing is left out")
	f.StringVar(&s.since, "since", "", "segments that may have been quoted since this date or time (UTC)")
	f.StringVar(&s.until, "until", "", "segments that may have been quoted until this date or time (UTC)")
	mustRequire(cmd, "trust")
	cmd.MarkFlagsMutuallyExclusive("index", "complete")
	cmd.MarkFlagsOneRequired("ledger", "index")
}

func mustRequire(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is defined above
		}
	}
}

// open reads what the flags name. What it opens must be closed.
func (s *searchCommand) open() (err error) {
	if s.query, err = s.parse(); err != nil {
		return err
	}
	if err := s.remote.open(); err != nil || s.indexDir == "" {
		return err
	}
	if s.node, err = openNode(s.indexDir, s.trust, false); err != nil {
		return err
	}
	if s.url == "" {
		s.url = s.node.URL()
		s.client.Base = s.url
	}
	if s.url == "" {
		return errors.Join(cli.Usagef("the index has not followed a ledger yet: give --ledger"), s.close())
	}
	return nil
}

func (s *searchCommand) close() error {
	if s.node == nil {
		return nil
	}
	return s.node.Close()
}

// parse reads the query.
func (s *searchCommand) parse() (q client.SearchQuery, err error) {
	if s.digest != "" {
		if q.Digest, err = ima.ParseFileDigest(s.digest); err != nil {
			return q, cli.WithHint(cli.Usagef("--digest: %w", err), "sha256sum FILE prints it")
		}
	}
	if s.keyID != "" {
		if q.KeyID, err = client.ParseKeyID(s.keyID); err != nil {
			return q, cli.WithHint(cli.Usagef("--key-id: %w", err), "the key's subject identifier, or the serial number of its certificate, of which the last four bytes count; imaledger inspect --json shows those of a list")
		}
	}
	if s.pcr >= 0 {
		pcr := uint32(s.pcr)
		q.PCR = &pcr
	}
	if s.host != "" && !ledger.ValidHost(s.host) {
		return q, cli.Usagef("--host %.64q is no host name", s.host)
	}
	for _, text := range []string{s.path, s.pattern} {
		if len(text) > client.MaxSearchText {
			return q, cli.Usagef("a path of more than %d bytes", client.MaxSearchText)
		}
	}
	if s.since != "" {
		if q.Since, err = parseWhen("since", s.since, false); err != nil {
			return q, err
		}
	}
	if s.until != "" {
		if q.Until, err = parseWhen("until", s.until, true); err != nil {
			return q, err
		}
	}
	if q.Until > 0 && q.Since > q.Until {
		return q, cli.Usagef("--since is after --until")
	}
	q.Path, q.Glob, q.Template, q.Host = s.path, s.pattern, s.template, s.host
	return q, nil
}

// run searches.
func (s *searchCommand) run(ctx context.Context, stderr io.Writer) (*search.Result, error) {
	progress := cli.NewProgress(stderr)
	defer progress.End()
	o := search.Options{Complete: s.complete, Limit: s.limit, Progress: progress.Show}
	var finder search.Finder = s.client
	if s.node != nil {
		finder, o.Own = s.node, true
	}
	r, err := search.Run(ctx, finder, s.client, s.trust, &s.query, o)
	return r, fromLedger(err, s.url)
}

// fromLedger gives an error of reading a ledger its exit code and a hint.
func fromLedger(err error, url string) error {
	var f *gather.FindingError
	var p *client.Problem
	switch {
	case err == nil:
		return nil
	case wrongBytes(err):
		return cli.Contradictedf("%w", err)
	case errors.As(err, &f):
		return cli.WithHint(&cli.Error{Code: int(f.Finding.Class()), Err: err}, "is %s the ledger of this trust folder?", url)
	case errors.As(err, &p) && (p.Status == 401 || p.Status == 403):
		return cli.WithHint(cli.Undecidedf("%w", err), "--token-file, or %s, names the token that the ledger's operator gave you", tokenVariable)
	case errors.As(err, &p) && p.Status == 400:
		return cli.Usagef("%w", err)
	case errors.As(err, &p) && p.Status == 404:
		return cli.WithHint(cli.Undecidedf("%w", err), "where a ledger answers no searches, follow it into an index of your own: imaledger index --ledger %s", url)
	}
	return cli.WithHint(cli.Undecidedf("%w", err), "is that the URL of a ledger, and is it running?")
}

func newSearchCommand() *cobra.Command {
	var s searchCommand
	cmd := &cobra.Command{
		Use:   "search (--ledger URL | --index DIR) --trust DIR [what to search for]",
		Short: "Find records of all hosts, and prove each",
		Long: `search finds measurement records by file digest, path, key, register, template, host
and time. Each hit is proven before it is shown: that the log has its segment, that
witnesses saw it, and that the segment's records, this one among them, replay to the
quote of the host's TPM.

That nothing else was found is worth as much as the index. The ledger's own index may
leave hits out, and nobody would see it: then the answer rests on the ledger's word,
and says so. With --complete all records are read and the answer is held to them;
with --index an index of your own is asked, which has read them before. Either way
the answer names where absence is not certain: records that were erased or not
given, gaps, and records whose template hides what they say.

Exit codes: 0 all hits are proven, or it is certain that there are none; 1 the
answer is contradicted; 2 wrong usage; 3 a hit cannot be proven, or that there are
none is not certain.`,
		Example: `  imaledger search --ledger https://ledger.example/ --trust trust/ --digest $(sha256sum < /usr/bin/sudo | cut -c1-64)
  imaledger search --index index/ --trust trust/ --path-pattern '/usr/lib/*/libcrypto.so*' --since 2026-10-01`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := s.open(); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.close()) }()
			if s.query.Filter.Empty() && s.host == "" {
				return cli.WithHint(cli.Usagef("nothing to search for"), "%s; give --digest, --path, --path-pattern, --key-id, --pcr, --template or --host", cmd.UseLine())
			}
			r, err := s.run(cmd.Context(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if s.asJSON {
				err = printJSON(cmd.OutOrStdout(), searchJSON{verdictOf(r.Class()), r.Certain(), r})
			} else {
				err = printResult(cmd.OutOrStdout(), r)
			}
			return exitWith(err, r.Class())
		},
	}
	s.recordFlags(cmd)
	s.sourceFlags(cmd)
	cmd.Flags().StringVar(&s.host, "host", "", "one host")
	cmd.Flags().IntVar(&s.limit, "limit", defaultHits, "how many hits to prove and show; 0 for all")
	return cmd
}

// searchJSON is what search prints as JSON.
type searchJSON struct {
	Verdict string `json:"verdict"`
	// Certain says that nothing else is in what was searched.
	Certain bool `json:"certain"`
	*search.Result
}

// printResult writes an answer for people.
func printResult(w io.Writer, r *search.Result) error {
	p := &printer{w: w}
	for _, h := range r.Hits {
		p.hit(h)
	}
	if len(r.Hits) > 0 {
		p.f("\n")
	}
	p.coverage(r, false)
	return p.err
}

func (p *printer) hit(h *search.Hit) {
	digest := "no digest"
	if len(h.Digests) > 0 {
		digest = h.Digests[0]
	}
	p.f("%s #%d, record %d of the boot: %s %s\n", h.Host, h.Sequence, h.InBoot, digest, orDash(h.Path))
	p.f("  PCR %d, %s", h.PCR, h.Template)
	if len(h.KeyIDs) > 0 {
		p.f(", signed by key %s", strings.Join(h.KeyIDs, " "))
	}
	p.f("; quoted not before %s and not after %s; entry %d of the log\n", audit.Time(h.NotBefore), audit.Time(h.NotAfter), h.Index)
	switch {
	case h.Proven && h.Violation:
		p.f("  a violation: the file was written while it was measured, and what the record says is not proven\n")
	case h.Proven && !h.Bound:
		p.f("  the segment is proven; what the record says is bound by no register\n")
	case h.Proven:
		p.f("  proven: the records of its segment replay to the quote of the host's TPM")
		if h.Grade != ledger.GradeCertificate {
			p.f(" (AK enrolled at grade %s)", h.Grade)
		}
		p.f("\n")
	default:
		p.f("  NOT PROVEN\n")
	}
	for _, f := range h.Findings {
		p.f("  %s\n", f)
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// coverage says what the answer is of, and what that nothing else was found says, or
// nothing before where the first record alone was asked for.
func (p *printer) coverage(r *search.Result, first bool) {
	for _, f := range r.Findings {
		p.f("%s\n", f)
	}
	what, none := audit.Count(len(r.Hits), "record")+" found", "there are no others"
	switch {
	case len(r.Hits) == 0:
		what = "No record was found"
	case first:
		what, none = "The first record found", "there is none before it"
	}
	if r.More {
		what += ", and there are more: --limit"
	}
	p.f("%s in the first %s of log %s, which had %d at %s.\n", what, audit.Count(r.Size, "entry"), r.Log, r.TreeSize, audit.Time(r.Witnessed))
	if len(r.Hosts) != 1 || r.Hosts[0] != "*" {
		p.f("Only hosts %s were searched: others are not for you to read.\n", strings.Join(r.Hosts, ", "))
	}
	switch r.By {
	case search.ByLedger:
		p.f("That %s is the ledger's word: --complete reads all records, and\nimaledger index keeps an index of your own.\n", none)
	case search.ByReading:
		p.f("All records that the ledger gives were read: %s in them.\n", none)
	case search.ByOwnIndex:
		p.f("Your own index has read them: %s in what it could read.\n", none)
	}
	p.limits(r.Limits)
}

// maxRunsShown is how many runs of segments are shown to people.
const maxRunsShown = 20

func (p *printer) limits(l *client.SearchLimits) {
	if l == nil || len(l.Runs) == 0 {
		return
	}
	p.f("Absence is not certain in:\n")
	for i, r := range l.Runs {
		if i == maxRunsShown {
			p.f("  … and more: --json shows them\n")
			break
		}
		where := fmt.Sprintf("%s #%d", r.Host, r.From)
		if r.Segments > 1 {
			where += fmt.Sprintf(" to #%d", r.To)
		}
		var why []string
		switch r.State {
		case "read":
		case "erased":
			why = append(why, "records erased by policy")
		case "missing":
			why = append(why, "records missing")
		case "refused":
			why = append(why, "records not for you to read")
		default:
			why = append(why, "records "+r.State)
		}
		if r.Gaps > 0 {
			why = append(why, "a gap before it")
		}
		if r.Opaque > 0 {
			why = append(why, audit.Count(r.Opaque, "record")+" without a known file name or digest")
		}
		p.f("  %s: %s\n", where, strings.Join(why, ", "))
	}
}
