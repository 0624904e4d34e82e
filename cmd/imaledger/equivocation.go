package main

import (
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/witness"
)

func newEquivocationCommand() *cobra.Command {
	var policyFile string
	cmd := &cobra.Command{
		Use:   "verify-equivocation [--policy FILE] EVIDENCE",
		Short: "Verify a witness's evidence that a log signed two histories",
		Long: `verify-equivocation checks a file of evidence that a witness kept (STATE/evidence):
two checkpoints that one log signed, and that cannot both be true. It needs no
network, and nobody's word: only who holds the log's key can make such a file.

It prints the key that signed. With --policy, a file of c2sp.org/tlog-policy, that
key must be one of the policy's logs; without it, whose key that is, is yours to
know.

Exit codes: 0 the log has signed two histories, 1 the file is no evidence of that,
2 wrong usage, 3 undecided: the log signed both, and the proof that was sent with
the second shows neither that they agree nor that they do not.`,
		Example: "  imaledger verify-equivocation --policy policy evidence/5f3c…-0a1b2c3d.equivocation",
		Args:    oneArgument("the file of evidence"),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := readLimited(args[0], witness.MaxEquivocation)
			if err != nil {
				return err
			}
			e, err := witness.ParseEquivocation(b)
			if err != nil {
				return cli.Contradictedf("%s: no evidence: %w", args[0], err)
			}
			if policyFile != "" {
				if err := ofPolicy(policyFile, e); err != nil {
					return err
				}
			}
			what, err := e.Verify()
			switch {
			case errors.Is(err, witness.ErrNotProven):
				return cli.Undecidedf("%w", err)
			case err != nil:
				return cli.Contradictedf("%s: no evidence: %w", args[0], err)
			}
			p := &printer{w: cmd.OutOrStdout()}
			p.f("EQUIVOCATION: %s\n\n", what)
			for _, key := range e.LogKeys {
				p.f("  log      %s\n", key)
			}
			for _, c := range e.Cosignatures() {
				p.f("  witness  %s, which cosigned the first of them at %s\n", c.Name, c.Time.Format("2006-01-02 15:04:05Z"))
			}
			return p.err
		},
	}
	cmd.Flags().StringVar(&policyFile, "policy", "", "policy `file` that must name the log's key")
	return cmd
}

// ofPolicy checks that evidence rests on keys of logs of a policy alone.
func ofPolicy(file string, e *witness.Equivocation) error {
	policy, err := readPolicy(file)
	if err != nil {
		return err
	}
	for _, vkey := range e.LogKeys {
		if !slices.ContainsFunc(policy.Logs(), func(l ledger.PolicyKey) bool { return l.VKey == vkey }) {
			return cli.Contradictedf("the evidence is against the key %s, which is no log's of %s", vkey, file)
		}
	}
	return nil
}

// readPolicy reads a policy file.
func readPolicy(file string) (*ledger.Policy, error) {
	b, err := readLimited(file, ledger.MaxPolicy)
	if err != nil {
		return nil, err
	}
	policy, err := ledger.ParsePolicy(b)
	if err != nil {
		return nil, cli.Usagef("%s: %w", file, err)
	}
	return policy, nil
}
