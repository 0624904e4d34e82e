package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/keys"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/monitor"
	"github.com/imaledger/imaledger/witness"
)

func newCosignCommand() *cobra.Command {
	var c cosigner
	cmd := &cobra.Command{
		Use:   "cosign --ledger URL --trust DIR --state DIR --key FILE",
		Short: "Cosign a log's checkpoint, as a witness that has read the log",
		Long: `cosign audits a log as audit does, and then puts an auditor's cosignature under its
newest checkpoint: that every entry below it was read and holds. A policy that names
the auditor's key (imaledger keygen --kind witness) beside its witnesses can demand it.

Nothing is cosigned that contradicts anything, that does not continue what was
cosigned before, or whose records were not all replayed or erased by policy; with
--allow-unread, also where the ledger does not let the auditor read all records.
The state folder keeps both the audit and what was cosigned. It must not be rolled
back: it is a witness's. A key that cosigns another log too, the one that follows
say, keeps what it has cosigned in one place: --cosigned names it.

The checkpoint goes to stdout, or to --out, with the cosignatures of its witnesses
and the auditor's. With --listen it is served, at /checkpoint and, as other
witnesses serve theirs, at /<SHA-256 of the origin>/checkpoint, and made anew at
each --interval.`,
		Example: `  imaledger keygen --kind witness --name auditor.example --out auditor.key
  imaledger cosign --ledger https://ledger.example/ --trust trust/ --state audit/ --key auditor.key --out checkpoint
  imaledger cosign --ledger https://ledger.example/ --trust trust/ --state audit/ --key auditor.key --listen 127.0.0.1:8085`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.state == "" {
				return cli.WithHint(cli.Usagef("no --state"), "it keeps what was cosigned, so that nothing else is")
			}
			if c.listen != "" && c.interval < minInterval {
				return cli.Usagef("--interval %v: at least %v", c.interval, minInterval)
			}
			return c.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	c.flags(cmd)
	fs := cmd.Flags()
	fs.StringVar(&c.key, "key", "", "`file` with the auditor's key, made by keygen --kind witness (required)")
	fs.StringVar(&c.out, "out", "", "`file` for the cosigned checkpoint, replaced in one step")
	fs.StringVar(&c.listen, "listen", "", "serve it on this `address`, and audit again and again")
	fs.DurationVar(&c.interval, "interval", time.Minute, "with --listen, from the end of one audit to the next")
	fs.StringVar(&c.cosigned, "cosigned", "", "`folder` for what the key has cosigned, of any log (default cosigned in the state folder)")
	fs.BoolVar(&c.allowUnread, "allow-unread", false, "cosign although records could not be read")
	if err := cmd.MarkFlagRequired("key"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

// A cosigner audits a log and cosigns what it has audited.
type cosigner struct {
	auditing
	key, out, listen string
	cosigned         string
	interval         time.Duration
	allowUnread      bool

	witness *witness.Witness
	newest  atomic.Pointer[[]byte] // the checkpoint that was cosigned last
}

func (c *cosigner) run(ctx context.Context, stdout, stderr io.Writer) error {
	if err := c.open(); err != nil {
		return err
	}
	if err := c.openWitness(); err != nil {
		return err
	}
	defer c.witness.Close()
	if c.listen == "" {
		return c.once(ctx, stdout, stderr)
	}
	listener, err := net.Listen("tcp", c.listen)
	if err != nil {
		return cli.WithHint(cli.Usagef("%w", err), "--listen takes HOST:PORT; is another program using it?")
	}
	fmt.Fprintf(stderr, "the auditor's checkpoint is at http://%s/checkpoint\n", listener.Addr())
	go serveUntil(ctx, c, listener, stderr)
	for {
		if err := c.once(ctx, io.Discard, stderr); err != nil && ctx.Err() == nil {
			fmt.Fprintf(stderr, "%s: %v\n", time.Now().UTC().Format(time.RFC3339), err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(c.interval):
		}
	}
}

// openWitness opens the auditor's key, and what he has cosigned before.
func (c *cosigner) openWitness() error {
	b, err := keys.Secret(c.key)
	if err != nil {
		return err
	}
	key, err := witness.ParseKey(string(b))
	if err != nil {
		return cli.WithHint(cli.Usagef("%s: %w", c.key, err), "imaledger keygen --kind witness makes such a key")
	}
	var logs []witness.Log
	for _, k := range c.trust.Policy.Logs() {
		l, err := witness.ParseLog(k.VKey)
		if err != nil {
			return cli.Usagef("log %s of the policy: %w", k.Name, err)
		}
		if i := slices.IndexFunc(logs, func(o witness.Log) bool { return o.Origin == l.Origin }); i >= 0 {
			logs[i].Keys = append(logs[i].Keys, l.Keys...)
		} else {
			logs = append(logs, l)
		}
	}
	config := witness.Config{Keys: []*witness.Key{key}, Logs: logs, Dir: cmp.Or(c.cosigned, filepath.Join(c.state, "cosigned")), Fence: c.key + ".fence", Logger: slog.New(slog.DiscardHandler)}
	if c.witness, err = witness.New(config); err != nil {
		return cli.WithHint(cli.Usagef("%w", err), "%s is to have what this key has cosigned: where it did that for another log, --cosigned names that folder; another key wants another one", config.Dir)
	}
	return nil
}

// once audits, cosigns and hands out.
func (c *cosigner) once(ctx context.Context, stdout, stderr io.Writer) error {
	r, err := c.audit(ctx, stderr)
	if err != nil {
		return err
	}
	if why := c.refuses(r); why != nil {
		if err := c.print(stderr, r); err != nil {
			return err
		}
		return why
	}
	at, err := c.trust.Policy.Verify(r.Checkpoint)
	if err != nil {
		return err
	}
	lines, err := c.cosign(ctx, at)
	if err != nil {
		return err
	}
	note := append(bytes.Clone(r.Checkpoint), lines...)
	c.newest.Store(&note)
	fmt.Fprintf(stderr, "audited and cosigned: %s, size %d, %s, %s\n", r.Log, r.Size, audit.Count(r.Segments, "segment"), audit.Count(r.Records, "record"))
	if c.out == "" {
		_, err := stdout.Write(note)
		return err
	}
	temp := c.out + ".new"
	if err := os.WriteFile(temp, note, 0o644); err != nil {
		return err
	}
	return os.Rename(temp, c.out)
}

// refuses tells why the auditor does not put his name to what he has read.
func (c *cosigner) refuses(r *monitor.Report) error {
	unread := r.Class() == ledger.Undecided && !slices.ContainsFunc(r.Findings, func(f ledger.Finding) bool { return f.Code != ledger.PayloadMissing && f.Code != ledger.Gap })
	switch {
	case r.Size == 0:
		return cli.Undecidedf("nothing is cosigned: the log is empty, or shows no checkpoint that verifies")
	case !r.Whole():
		return cli.Contradictedf("nothing is cosigned: see the findings")
	case r.Class() == ledger.Noted, r.Unreadable == 0 && onlyGaps(r), unread && c.allowUnread:
		return nil
	case unread:
		return cli.WithHint(cli.Undecidedf("nothing is cosigned: not all records could be read"), "give the auditor's token with --token-file, or cosign the rest with --allow-unread")
	}
	return cli.Undecidedf("nothing is cosigned: see the findings")
}

// onlyGaps: a gap that the log shows to everyone is part of what is cosigned.
func onlyGaps(r *monitor.Report) bool {
	return !slices.ContainsFunc(r.Findings, func(f ledger.Finding) bool { return f.Code != ledger.Gap })
}

// cosign has the auditor's witness take a checkpoint, and returns the lines of its
// cosignatures. The witness holds it to what it has cosigned before, on disk.
func (c *cosigner) cosign(ctx context.Context, at *ledger.Checkpoint) ([]byte, error) {
	before := uint64(0)
	if shown := c.shown(at.Origin); shown != nil {
		old, err := ledger.ParseCheckpoint(shown)
		if err != nil {
			return nil, err
		}
		before = old.Size
	}
	var body strings.Builder
	fmt.Fprintf(&body, "old %d\n", before)
	if before > 0 && before < at.Size {
		path, err := c.client.ConsistencyPath(ctx, before, at.Size, at)
		if err != nil {
			return nil, answered(err)
		}
		for _, h := range path {
			fmt.Fprintf(&body, "%s\n", base64.StdEncoding.EncodeToString(h[:]))
		}
	}
	fmt.Fprintf(&body, "\n%s", at.Raw)
	status, answer := c.ask(http.MethodPost, "/add-checkpoint", body.String())
	switch status {
	case http.StatusOK:
		return answer, nil
	case http.StatusConflict, http.StatusUnprocessableEntity:
		return nil, cli.Contradictedf("nothing is cosigned: the checkpoint of size %d does not continue what was cosigned at size %d, witnessed by %s: %s", at.Size, before, audit.Time(c.trust.Policy.NotAfter(at)), bytes.TrimSpace(answer))
	}
	return nil, cli.Undecidedf("nothing is cosigned: %s", bytes.TrimSpace(answer))
}

// shown returns the newest checkpoint of a log that was cosigned, nil for none.
func (c *cosigner) shown(origin string) []byte {
	hash := sha256.Sum256([]byte(origin))
	status, answer := c.ask(http.MethodGet, "/"+hex.EncodeToString(hash[:])+"/checkpoint", "")
	if status != http.StatusOK {
		return nil
	}
	return answer
}

// ask asks the witness in this process.
func (c *cosigner) ask(method, path, body string) (status int, answer []byte) {
	req, err := http.NewRequest(method, path, strings.NewReader(body))
	if err != nil {
		return http.StatusBadRequest, []byte(err.Error())
	}
	w := &answerWriter{header: make(http.Header), status: http.StatusOK}
	c.witness.ServeHTTP(w, req)
	return w.status, w.body.Bytes()
}

// An answerWriter keeps an answer.
type answerWriter struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *answerWriter) Header() http.Header         { return w.header }
func (w *answerWriter) WriteHeader(status int)      { w.status = status }
func (w *answerWriter) Write(b []byte) (int, error) { return w.body.Write(b) }

// ServeHTTP serves what was cosigned. Nobody else's checkpoints are taken.
func (c *cosigner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		http.Error(w, "this auditor cosigns what he has read, and takes no checkpoints", http.StatusMethodNotAllowed)
	case r.URL.Path == "/checkpoint":
		newest := c.newest.Load()
		if newest == nil {
			http.Error(w, "no checkpoint was audited yet", http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-cache")
		w.Write(*newest)
	default:
		c.witness.ServeHTTP(w, r)
	}
}
