package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/keys"
	"github.com/imaledger/imaledger/cmd/internal/trustdir"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
)

// An operator states policies, holds and erasures: what the commands that do it
// have in common.
type operator struct {
	url, trustDir, key string
	asJSON             bool
	wait               time.Duration

	keys   keys.Reader
	client *client.Client
	trust  *ledger.Trust
	signer note.Signer
}

// flags defines the flags of a command that states something.
func (o *operator) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.url, "ledger", "", "URL of the ledger (required)")
	f.StringVar(&o.trustDir, "trust", "", "trust folder, which names the operator's key (required)")
	f.StringVar(&o.key, "key", "", "operator's private key: a file, NAME=FILE for PEM, or NAME=URI of a KMS (required)")
	f.StringVar(&o.keys.PasswordFile, "password-file", "", "file with the password of an encrypted key; or set "+keys.PasswordVariable)
	f.DurationVar(&o.wait, "wait", submitWait, "how long to wait for witnesses")
	f.BoolVar(&o.asJSON, "json", false, "print JSON")
	for _, name := range []string{"ledger", "trust", "key"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is defined above
		}
	}
}

// open reads the trust folder and the key, and holds one to the other.
func (o *operator) open(ctx context.Context) (err error) {
	if o.trust, err = trustdir.Read(o.trustDir); err != nil {
		return err
	}
	if o.signer, err = o.keys.Signer(ctx, o.key); err != nil {
		return err
	}
	if !slices.ContainsFunc(o.trust.Operators, func(v note.Verifier) bool { return v.Name() == o.signer.Name() && v.KeyHash() == o.signer.KeyHash() }) {
		return cli.WithHint(cli.Usagef("%s: %s is no operator of the trust folder", o.key, o.signer.Name()),
			"rules in %s needs the line: operator %s's verifier key, as imaledger keygen printed it", o.trustDir, o.signer.Name())
	}
	o.client = &client.Client{Base: o.url}
	return nil
}

// origin returns the log that statements are made for: the policy's, or the one
// that the ledger is, where the policy names several.
func (o *operator) origin(ctx context.Context) (string, error) {
	c, err := o.checkpoint(ctx)
	if err != nil {
		return "", err
	}
	return c.Origin, nil
}

// checkpoint returns the ledger's newest checkpoint, verified.
func (o *operator) checkpoint(ctx context.Context) (*ledger.Checkpoint, error) {
	raw, err := o.client.Checkpoint(ctx)
	if err != nil {
		return nil, unreachable(err)
	}
	c, err := o.trust.Policy.Verify(raw)
	if err != nil {
		return nil, cli.WithHint(cli.Contradictedf("the ledger's checkpoint: %w", err), "is %s the ledger of this trust folder?", o.url)
	}
	return c, nil
}

// A stated is a statement that the log has.
type stated struct {
	Statement string `json:"statement"` // its format
	Leaf      string `json:"leaf"`      // leaf hash, hex
	Index     uint64 `json:"index"`
	Witnessed uint64 `json:"witnessed,omitempty"` // Unix seconds
	Erased    int    `json:"erased,omitempty"`    // segments, of an erasure
}

// state signs a statement, submits it, and verifies the proof that the log has it.
func (o *operator) state(ctx context.Context, s ledger.Statement) (*stated, error) {
	if err := ledger.Sign(s, o.signer); err != nil {
		return nil, cli.Usagef("%w", err) // a reason with a line break, or the like
	}
	return o.submit(ctx, s)
}

// stateWith is state for a statement that has an addendum.
func (o *operator) stateWith(ctx context.Context, s ledger.Statement, addendum ledger.Addendum, content io.ReadSeeker) (*stated, error) {
	if err := ledger.Sign(s, o.signer); err != nil {
		return nil, cli.Usagef("%w", err)
	}
	err := client.Upload(ctx, s.Marshal(), o.client.SubmitLeaf, func() error {
		if _, err := content.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return o.client.PutAddendum(ctx, addendum.Digest, int64(addendum.Size), content)
	})
	var p *client.Problem
	if errors.As(err, &p) && len(p.Findings) > 0 {
		return nil, refusedStatement(p)
	}
	if err != nil {
		return nil, unreachable(err)
	}
	return o.submit(ctx, s)
}

// submit submits a signed statement.
func (o *operator) submit(ctx context.Context, s ledger.Statement) (*stated, error) {
	raw := s.Marshal()
	leaf := ledger.LeafHash(raw)
	a, err := o.client.SubmitLeaf(ctx, raw, o.wait)
	var p *client.Problem
	if errors.As(err, &p) && len(p.Findings) > 0 {
		return nil, refusedStatement(p)
	}
	if err != nil {
		return nil, unreachable(err)
	}
	if a.Proof == "" {
		return nil, cli.WithHint(cli.Undecidedf("the log has it at index %d, and its witnesses have not seen it in %v", a.Index, o.wait),
			"it stands; imaledger %s says so again with a proof when the same is stated again", strings.Split(s.Format(), "/")[1])
	}
	r, findings := audit.CheckReceipt(o.trust, s.Format(), leaf, []byte(a.Proof))
	if r == nil || ledger.Worst(findings) == ledger.Contradicted {
		return nil, cli.Contradictedf("the ledger's proof does not verify: %v", findings)
	}
	return &stated{Statement: s.Format(), Leaf: fmt.Sprintf("%x", leaf), Index: r.Index, Witnessed: r.NotAfter}, nil
}

// refusedStatement is the error for what the ledger refuses.
func refusedStatement(p *client.Problem) error {
	var b bytes.Buffer
	for i, f := range p.Findings {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s: %s", f.Subject, f.Text)
	}
	return cli.WithHint(cli.Contradictedf("the ledger refuses it: %s", b.String()), "imaledger retention --ledger URL shows what is in force; nothing was changed")
}

// unreachable is the error for a ledger that does not answer, or not as asked.
func unreachable(err error) error {
	var p *client.Problem
	if errors.As(err, &p) && p.Successor != nil {
		return cli.WithHint(cli.Undecidedf("%w", err), "nothing can be stated in a log that has ended: go to %s", p.Successor.URL)
	}
	if errors.As(err, &p) && p.Status < 500 {
		return cli.WithHint(cli.Undecidedf("%w", err), "is that the URL of a ledger, and may you read it?")
	}
	return cli.WithHint(cli.Undecidedf("%w", err), "is the ledger running? try again: what stands in the log is not stated twice")
}

// print says what stands now.
func (o *operator) print(w io.Writer, s *stated, what string) error {
	if o.asJSON {
		return printJSON(w, s)
	}
	p := &printer{w: w}
	p.f("%s\n  entry %s at index %d, witnessed by %s\n", what, s.Leaf, s.Index, audit.Time(s.Witnessed))
	return p.err
}

// parseLeaf reads a leaf hash in hex.
func parseLeaf(flag, text string) (h ledger.Hash, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(h) || hex.EncodeToString(b) != text {
		return h, cli.WithHint(cli.Usagef("--%s %.80q is no leaf hash", flag, text), "64 lower-case hex digits; imaledger retention and verify --json print them")
	}
	return ledger.Hash(b), nil
}

// parseWhen reads a date or a time, in UTC; end takes a date as its last second.
func parseWhen(flag, text string, end bool) (uint64, error) {
	if t, err := time.Parse(time.DateOnly, text); err == nil && t.Unix() >= 0 {
		if end {
			t = t.Add(24*time.Hour - time.Second)
		}
		return uint64(t.Unix()), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.Unix() < 0 {
		return 0, cli.Usagef("--%s %.40q: want a date as 2026-01-31, or a time as 2026-01-31T12:00:00Z", flag, text)
	}
	return uint64(t.Unix()), nil
}
