package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
)

const (
	doctorTimeout = 15 * time.Second // for each answer
	clockSkew     = time.Minute      // between machines that keep time
	stale         = time.Hour        // of a checkpoint's newest cosignature
	expires       = 14 * 24 * time.Hour
)

// A checkup is one thing that the doctor looks at.
type checkup struct {
	What   string `json:"what"`
	Result string `json:"result"` // ok, warning or problem
	Text   string `json:"text"`
	Mend   string `json:"mend,omitempty"`
}

func newDoctorCommand() *cobra.Command {
	var r remote
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor --ledger URL --trust DIR",
		Short: "Find out why a ledger, its witnesses or this machine do not fit",
		Long: `doctor reads the trust folder, asks the ledger and each witness that the policy has a
URL of, compares clocks, checkpoints and certificates, and says of each problem how to
mend it. It changes nothing.

Exit codes: 0 nothing is wrong, 1 something contradicts, 3 something cannot be reached
or is late.`,
		Example: "  imaledger doctor --ledger https://ledger.example/ --trust trust/",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := r.open(); err != nil {
				return err
			}
			d := &doctor{remote: &r, now: time.Now, http: &http.Client{Timeout: doctorTimeout}}
			d.examine(cmd.Context())
			return exitWith(d.print(cmd.OutOrStdout(), asJSON), d.class)
		},
	}
	r.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// A doctor examines a ledger and what belongs to it.
type doctor struct {
	*remote
	now   func() time.Time
	http  *http.Client
	list  []checkup
	class ledger.Class
}

func (d *doctor) ok(what, format string, args ...any) {
	d.list = append(d.list, checkup{What: what, Result: "ok", Text: fmt.Sprintf(format, args...)})
}

func (d *doctor) warn(what, text, mend string) {
	d.list = append(d.list, checkup{What: what, Result: "warning", Text: text, Mend: mend})
	if d.class == ledger.Noted {
		d.class = ledger.Undecided
	}
}

func (d *doctor) problem(class ledger.Class, what, text, mend string) {
	d.list = append(d.list, checkup{What: what, Result: "problem", Text: text, Mend: mend})
	if class == ledger.Contradicted || d.class == ledger.Noted {
		d.class = class
	}
}

func (d *doctor) examine(ctx context.Context) {
	d.ok("program", "imaledger %s", cli.Version())
	var logs []string // a log of several keys has as many lines
	for _, l := range d.trust.Policy.Logs() {
		if !slices.Contains(logs, l.Name) {
			logs = append(logs, l.Name)
		}
	}
	d.ok("trust folder", "%s: log %s, %s, %s, grades %v", d.trustDir, strings.Join(logs, ", "), audit.Count(len(d.trust.Policy.Witnesses()), "witness"), audit.Count(len(d.trust.Registrars), "registrar"), d.trust.Grades)
	if strings.HasPrefix(d.url, "http://") && !strings.HasPrefix(d.url, "http://127.") && !strings.HasPrefix(d.url, "http://localhost") {
		d.warn("ledger", "is spoken to without TLS: a token that is shown to it can be read on the way", "use https:// if the ledger has it")
	}
	at := d.ledger(ctx)
	origin := d.trust.Policy.Origin() // of several logs the checkpoint says which this is
	if at != nil {
		origin = at.Origin
	}
	for _, w := range d.trust.Policy.Witnesses() {
		d.witness(ctx, w, origin, at)
	}
}

// get gets a URL, and looks at what comes with the answer.
func (d *doctor) get(ctx context.Context, what, url string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	if what == "ledger" && d.client.Token != "" {
		req.Header.Set("Authorization", "Bearer "+d.client.Token)
	}
	sent := d.now()
	resp, err := d.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(io.LimitReader(resp.Body, ledger.MaxCheckpoint)); err != nil {
		return 0, nil, err
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		middle := sent.Add(d.now().Sub(sent) / 2)
		if skew := date.Sub(middle).Abs(); skew > clockSkew {
			d.warn(what, fmt.Sprintf("its clock says %s, this machine's %s", date.UTC().Format(time.RFC3339), middle.UTC().Format(time.RFC3339)), "let both machines keep time by NTP: timedatectl status")
		}
	}
	if resp.TLS != nil && len(resp.TLS.PeerCertificates) > 0 {
		if left := resp.TLS.PeerCertificates[0].NotAfter.Sub(d.now()); left < expires {
			d.warn(what, "its certificate ends in "+audit.Count(int(left.Hours()/24), "day"), "its operator renews it, or lets --acme do that")
		}
	}
	return resp.StatusCode, body, nil
}

// ledger examines the ledger, and returns its checkpoint if that verifies.
func (d *doctor) ledger(ctx context.Context) *ledger.Checkpoint {
	base := strings.TrimSuffix(d.url, "/")
	status, raw, err := d.get(ctx, "ledger", base+"/checkpoint")
	switch {
	case err != nil:
		mend := "is the URL right, does the ledger run, and does a firewall let you reach it?"
		if strings.Contains(err.Error(), "HTTP response to HTTPS client") {
			mend = "it speaks http there: use http://, or the port that has TLS"
		}
		d.problem(ledger.Undecided, "ledger", err.Error(), mend)
		return nil
	case status != http.StatusOK:
		d.problem(ledger.Undecided, "ledger", fmt.Sprintf("GET %s/checkpoint: %d %s", base, status, http.StatusText(status)), "the URL is that of the log's prefix; a ledger that is new shows no checkpoint until its first entry")
		return nil
	}
	at, err := d.trust.Policy.Verify(raw)
	var quorum *ledger.QuorumError
	switch {
	case errors.As(err, &quorum):
		d.problem(ledger.Undecided, "checkpoint", err.Error(), "witnesses are away, or the ledger asks others than your policy demands: see below, and its /healthz")
		return nil
	case err != nil:
		d.problem(ledger.Contradicted, "checkpoint", fmt.Sprintf("%v [%s]", err, audit.CheckpointCode(err)), "is this the ledger of that trust folder? imaledger trust show prints the keys to compare")
		return nil
	}
	d.ok("checkpoint", "log %s, size %d, witnessed by %s", at.Origin, at.Size, audit.Time(d.trust.Policy.NotAfter(at)))
	if t := d.trust.Policy.NotBefore(at); t > 0 {
		age := d.now().Sub(time.Unix(int64(t), 0))
		switch {
		case age > stale:
			d.warn("checkpoint", fmt.Sprintf("its cosignatures are %s old", age.Round(time.Minute)), "the ledger is idle or stopped, its witnesses are away, or you are shown an old one")
		case age < -clockSkew:
			d.warn("checkpoint", fmt.Sprintf("its cosignatures are made %s from now, by this machine's clock", -age.Round(time.Second)), "let this machine keep time by NTP: timedatectl status")
		}
	}
	d.health(ctx, base)
	d.reading(ctx, at)
	return at
}

func (d *doctor) health(ctx context.Context, base string) {
	status, body, err := d.get(ctx, "ledger", base+"/healthz")
	switch {
	case err != nil:
		d.problem(ledger.Undecided, "health", err.Error(), "")
	case status == http.StatusNotFound:
		d.ok("health", "no /healthz: a mirror, or a file server")
	case status != http.StatusOK:
		d.warn("health", fmt.Sprintf("%d %s: %.300s", status, http.StatusText(status), strings.TrimSpace(string(body))), "its operator's page says what each state means: ledger/OPERATING.md")
	default:
		d.ok("health", "the ledger says that it does its work")
	}
}

// reading finds out what the caller may read.
func (d *doctor) reading(ctx context.Context, at *ledger.Checkpoint) {
	if at.Size == 0 {
		return
	}
	tree := d.client.Tree(at)
	raw, err := tree.Entry(ctx, at.Size-1)
	switch {
	case client.Refused(err):
		d.warn("reading", "entries are private, and you may not read them", "ask the operator for a token, and give it with --token-file")
		return
	case errors.Is(err, client.ErrTiles):
		d.problem(ledger.Contradicted, "reading", err.Error(), "try another mirror; if the ledger itself serves that, its log is damaged: imaledgerd check")
		return
	case err != nil:
		d.problem(ledger.Undecided, "reading", err.Error(), "a mirror that lacks tiles, or a proxy that alters paths")
		return
	}
	d.ok("reading", "the newest entry leads to the checkpoint's root")
	e, err := ledger.ParseEntry(raw)
	if err != nil || len(e.Addenda()) == 0 {
		return
	}
	r, err := d.client.OpenAddendum(ctx, ledger.LeafHash(raw), e.Addenda()[0])
	switch {
	case client.Refused(err):
		d.warn("reading", "records are private, and you may not read them: verify says undecided of them", "ask the operator for a token, and give it with --token-file")
	case err == nil:
		d.ok("reading", "you may read records")
		r.Close()
	}
}

// witness examines a witness, and holds what it shows to the ledger's checkpoint.
func (d *doctor) witness(ctx context.Context, w ledger.PolicyKey, origin string, at *ledger.Checkpoint) {
	what := "witness " + w.Label
	if origin == "" {
		d.ok(what, "is not asked: which of the policy's logs the ledger has is not known")
		return
	}
	u, err := url.Parse(w.URL)
	if w.URL == "" || err != nil {
		d.ok(what, "the policy has no URL of it")
		return
	}
	hash := sha256.Sum256([]byte(origin))
	status, raw, err := d.get(ctx, what, u.JoinPath(hex.EncodeToString(hash[:]), "checkpoint").String())
	switch {
	case err != nil:
		d.problem(ledger.Undecided, what, err.Error(), "its operator knows; the ledger goes on while a quorum of others is there")
		return
	case status == http.StatusNotFound:
		d.warn(what, "shows no checkpoint of this log", "it does not know the log, or shows nothing: ask its operator to add the log's verifier key")
		return
	case status != http.StatusOK:
		d.warn(what, fmt.Sprintf("answers %d %s", status, http.StatusText(status)), "its operator knows")
		return
	}
	seen, err := ledger.ParseCheckpoint(raw)
	switch {
	case err != nil:
		d.problem(ledger.Contradicted, what, err.Error(), "is that a witness's monitoring URL?")
	case at == nil:
		d.ok(what, "has seen size %d", seen.Size)
	case seen.Size == at.Size && seen.Root != at.Root:
		d.problem(ledger.Contradicted, what, fmt.Sprintf("has seen another tree of size %d: root %x, the ledger shows %x", at.Size, seen.Root, at.Root), "the log shows two histories: keep both checkpoints, and tell who relies on it")
	case seen.Size > at.Size:
		d.warn(what, fmt.Sprintf("has seen size %d, and the ledger shows you %d", seen.Size, at.Size), "an old checkpoint from a cache, or a ledger that was restored from a backup: ask again, and imaledgerd check")
	default:
		d.ok(what, "has seen size %d", seen.Size)
	}
}

func (d *doctor) print(w io.Writer, asJSON bool) error {
	if asJSON {
		return printJSON(w, d.list)
	}
	p := &printer{w: w}
	for _, c := range d.list {
		p.f("%-8s %-14s %s\n", c.Result, c.What, c.Text)
		if c.Mend != "" {
			p.f("%-8s %-14s   %s\n", "", "", c.Mend)
		}
	}
	return p.err
}
