package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
)

func newFreezeCommand() *cobra.Command {
	var o operator
	var log, successor, url, reason string
	cmd := &cobra.Command{
		Use:   "freeze --ledger URL --trust DIR --key FILE --log ORIGIN --successor VKEY --url URL --reason TEXT",
		Short: "End a log, for good",
		Long: `freeze puts the last entry into a log. It names the log that follows, by its key.
From then on the ledger takes nothing more and says where to go; all that is in the
log stays, and is read and verified as before. There is no way back. A log that has
ended erases no records any more, since an erasure is an entry too.

Before that, make the log that follows: its key, its line in the trust folder, its
witnesses. After that, imaledger succeed puts the first entry into it.`,
		Example: `  imaledger freeze --ledger https://ledger.example/ --trust trust/ --key operator.key --log ledger.example/one \
      --successor "$(cat log-two.vkey)" --url https://two.ledger.example/ --reason "a log a year"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if reason == "" {
				return cli.Usagef("no --reason")
			}
			if err := o.open(cmd.Context()); err != nil {
				return err
			}
			origin, err := o.origin(cmd.Context())
			if err != nil {
				return err
			}
			f := &ledger.Freeze{Log: origin, Successor: successor, URL: url, Reason: reason, Time: uint64(time.Now().Unix())}
			switch {
			case log != origin:
				return cli.WithHint(cli.Usagef("--log %q: the ledger's log is %s", log, origin), "what ends a log for good says its name")
			case !slices.ContainsFunc(o.trust.Policy.Logs(), func(l ledger.PolicyKey) bool { return l.VKey == successor }):
				return cli.WithHint(cli.Usagef("--successor: the trust folder's policy names no log with the key %.80q", successor), "add a line \"log\" with it: who verifies both logs needs both keys")
			}
			s, err := o.freeze(cmd.Context(), f)
			if err != nil {
				return err
			}
			return o.print(cmd.OutOrStdout(), s, fmt.Sprintf("Log %s has ended with %s, and %s follows it: imaledger succeed begins that.", origin, audit.Count(s.Index+1, "entry"), f.SuccessorOrigin()))
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&log, "log", "", "origin of the log to end, to be sure")
	cmd.Flags().StringVar(&successor, "successor", "", "verifier key of the log that follows")
	cmd.Flags().StringVar(&url, "url", "", "where the log that follows is")
	cmd.Flags().StringVar(&reason, "reason", "", "the reason, for people")
	return cmd
}

// freeze ends the log, or finds that it has been ended in the same way.
func (o *operator) freeze(ctx context.Context, f *ledger.Freeze) (*stated, error) {
	before, err := o.client.Freeze(ctx)
	switch {
	case err != nil:
		return nil, unreachable(err)
	case before == nil:
		return o.state(ctx, f)
	case before.Successor.Key != f.Successor:
		return nil, cli.Contradictedf("log %s has ended already, with entry %d, and %s follows it", f.Log, before.Index, before.Successor.Log)
	}
	end, err := o.ended(ctx, o.client)
	if err != nil {
		return nil, err
	}
	return &stated{Statement: f.Format(), Leaf: fmt.Sprintf("%x", end.leaf), Index: end.receipt.Index, Witnessed: end.receipt.NotAfter}, nil
}

// An endedLog is the end of a log, verified.
type endedLog struct {
	raw     []byte // the last entry
	freeze  *ledger.Freeze
	leaf    ledger.Hash
	proof   []byte
	receipt *audit.Receipt
}

// ended reads the end of a log, and verifies it as an auditor does: an operator
// signed it, and it is the last entry of a tree that witnesses have seen.
func (o *operator) ended(ctx context.Context, c *client.Client) (*endedLog, error) {
	f, err := c.Freeze(ctx)
	if err != nil {
		return nil, unreachable(err)
	}
	if f == nil {
		return nil, cli.WithHint(cli.Undecidedf("the log at %s has not ended", c.Base), "imaledger freeze ends it, and names the log that follows")
	}
	e := &endedLog{raw: f.Entry, leaf: ledger.LeafHash(f.Entry)}
	entry, err := ledger.ParseEntry(f.Entry)
	if err != nil {
		return nil, cli.Contradictedf("the entry that ended the log: %w", err)
	}
	var ok bool
	if e.freeze, ok = entry.(*ledger.Freeze); !ok {
		return nil, cli.Contradictedf("the entry that is said to have ended the log is a %s", entry.Format())
	}
	if by, err := ledger.SignedBy(e.freeze, o.trust.Operators...); err != nil || len(by) == 0 {
		return nil, cli.Contradictedf("no operator of the trust folder has signed the entry that ended the log %v", err)
	}
	a, err := c.Proof(ctx, e.leaf, o.wait)
	if err != nil {
		return nil, unreachable(err)
	}
	if a.Proof == "" {
		return nil, cli.WithHint(cli.Undecidedf("the witnesses have not seen the end of the log in %v", o.wait), "try again: it stands")
	}
	e.proof = []byte(a.Proof)
	var findings []ledger.Finding
	e.receipt, findings = audit.CheckReceipt(o.trust, "end of the log", e.leaf, e.proof)
	switch {
	case e.receipt == nil || ledger.Worst(findings) == ledger.Contradicted:
		return nil, cli.Contradictedf("the proof that the log has ended does not verify: %v", findings)
	case e.receipt.Checkpoint.Origin != e.freeze.Log:
		return nil, cli.Contradictedf("the end of log %s stands in log %s", e.freeze.Log, e.receipt.Checkpoint.Origin)
	case e.receipt.Checkpoint.Size != e.receipt.Index+1:
		return nil, cli.Contradictedf("log %s went on: entry %d ended it, and it has %d", e.freeze.Log, e.receipt.Index, e.receipt.Checkpoint.Size)
	}
	return e, nil
}

func newSucceedCommand() *cobra.Command {
	var o operator
	var predecessor, reason, out string
	cmd := &cobra.Command{
		Use:   "succeed --ledger URL --trust DIR --key FILE --predecessor URL --reason TEXT [--out FILE]",
		Short: "Begin the log that follows one that has ended",
		Long: `succeed verifies that a log has ended (imaledger freeze) and names this one, by its
key, and puts the first entry into this one: it names the log before it, and the
final tree of that. The log must be empty. The trust folder names both logs.

--out writes a bundle of evidence with both entries, which imaledger verify checks.`,
		Example: `  imaledger succeed --ledger https://two.ledger.example/ --predecessor https://ledger.example/ \
      --trust trust/ --key operator.key --reason "a log a year" --out link.tar`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if predecessor == "" || reason == "" {
				return cli.Usagef("want --predecessor and --reason")
			}
			if err := o.open(cmd.Context()); err != nil {
				return err
			}
			end, err := o.ended(cmd.Context(), &client.Client{Base: predecessor})
			if err != nil {
				return err
			}
			s, first, err := o.succeed(cmd.Context(), end, reason)
			if err != nil {
				return err
			}
			if out != "" {
				if err := o.writeLink(cmd.Context(), out, end, first); err != nil {
					return err
				}
			}
			return o.print(cmd.OutOrStdout(), s, fmt.Sprintf("Log %s follows %s, which has ended with %s.", first.Log, end.freeze.Log, audit.Count(end.receipt.Index+1, "entry")))
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&predecessor, "predecessor", "", "URL of the ledger whose log has ended")
	cmd.Flags().StringVar(&reason, "reason", "", "the reason, for people")
	cmd.Flags().StringVar(&out, "out", "", "write a bundle of evidence of the link to this file")
	return cmd
}

// succeed puts the first entry into the log that follows, or finds it there.
func (o *operator) succeed(ctx context.Context, end *endedLog, reason string) (*stated, *ledger.Succession, error) {
	raw, err := o.client.Checkpoint(ctx)
	if err != nil {
		return nil, nil, unreachable(err)
	}
	c, err := o.trust.Policy.Verify(raw)
	if err != nil {
		return nil, nil, cli.Contradictedf("the ledger's checkpoint: %w", err)
	}
	if c.Origin != end.freeze.SuccessorOrigin() {
		return nil, nil, cli.WithHint(cli.Contradictedf("log %s names %s as the one that follows, and the ledger's is %s", end.freeze.Log, end.freeze.SuccessorOrigin(), c.Origin), "is %s the right ledger?", o.url)
	}
	signers, err := keysOf(o.trust.Policy, c)
	if err != nil {
		return nil, nil, err
	}
	if !slices.ContainsFunc(signers, func(k keyStatus) bool { return k.Key == end.freeze.Successor && k.Signs }) {
		return nil, nil, cli.Contradictedf("log %s names the one that follows by the key %s, which does not sign the ledger's checkpoint", end.freeze.Log, end.freeze.Successor)
	}
	s := &ledger.Succession{
		Log: c.Origin, Predecessor: end.freeze.Log, Freeze: end.leaf, Size: end.receipt.Checkpoint.Size, Root: end.receipt.Checkpoint.Root,
		Reason: reason, Time: uint64(time.Now().Unix()),
	}
	if c.Size > 0 {
		return o.succeeded(ctx, c, s)
	}
	st, err := o.state(ctx, s)
	return st, s, err
}

// succeeded finds that the log begins with the succession already.
func (o *operator) succeeded(ctx context.Context, c *ledger.Checkpoint, want *ledger.Succession) (*stated, *ledger.Succession, error) {
	raw, err := o.client.Entry(ctx, 0, c.Size)
	if err != nil {
		return nil, nil, unreachable(err)
	}
	entry, err := ledger.ParseEntry(raw)
	if err != nil {
		return nil, nil, cli.Contradictedf("the ledger's first entry: %w", err)
	}
	s, ok := entry.(*ledger.Succession)
	if !ok || s.Freeze != want.Freeze || s.Size != want.Size || s.Root != want.Root || s.Predecessor != want.Predecessor {
		return nil, nil, cli.Contradictedf("log %s has %s already, and the first does not say that it follows %s", c.Origin, audit.Count(c.Size, "entry"), want.Predecessor)
	}
	a, err := o.client.Proof(ctx, ledger.LeafHash(raw), o.wait)
	if err != nil {
		return nil, nil, unreachable(err)
	}
	r, findings := audit.CheckReceipt(o.trust, s.Format(), ledger.LeafHash(raw), []byte(a.Proof))
	if r == nil || ledger.Worst(findings) == ledger.Contradicted {
		return nil, nil, cli.Contradictedf("the ledger's proof does not verify: %v", findings)
	}
	return &stated{Statement: s.Format(), Leaf: fmt.Sprintf("%x", ledger.LeafHash(raw)), Index: r.Index, Witnessed: r.NotAfter}, s, nil
}

// writeLink writes the evidence that one log follows another, verified.
func (o *operator) writeLink(ctx context.Context, name string, end *endedLog, first *ledger.Succession) error {
	raw := first.Marshal()
	leaf := ledger.LeafHash(raw)
	a, err := o.client.Proof(ctx, leaf, o.wait)
	if err != nil {
		return unreachable(err)
	}
	sources := []ledger.BundleSource{
		ledger.SourceBytes(ledger.FolderLeaves, end.raw, ledger.Hash{}), ledger.SourceBytes(ledger.FolderProofs, end.proof, end.leaf),
		ledger.SourceBytes(ledger.FolderLeaves, raw, ledger.Hash{}), ledger.SourceBytes(ledger.FolderProofs, []byte(a.Proof), leaf),
	}
	var b bytes.Buffer
	if err := ledger.WriteBundle(&b, sources); err != nil {
		return err
	}
	bundle, err := ledger.OpenBundle(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		return err
	}
	report, err := audit.CheckBundle(o.trust, bundle)
	if err != nil {
		return err
	}
	if report.Class() != ledger.Noted || len(report.Successions) != 1 {
		return cli.Contradictedf("the link does not verify: %v", report.Findings)
	}
	return writeBundle(name, sources)
}
