package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/trustdir"
	"github.com/imaledger/imaledger/ledger"
)

func newPolicyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "policy FILE|DIR",
		Short: "Say what a policy demands, and who could cheat it",
		Long: `policy reads a policy (https://c2sp.org/tlog-policy) as strictly as every check
does, and says in words what must be true for a checkpoint to count, and how few
keys it takes to cheat who believes in it.

Two ways to cheat are told apart. To show two readers two histories, honest
witnesses can be led to one each: where half of them are enough for a quorum, the
log needs none of them. To show a history that no honest witness has seen takes a
whole quorum.

Of a trust folder it says what the rules add: how many operators must stand behind
a checkpoint, how old the newest one may be, and how few operators could cheat.

Exit codes: 0 it is a policy, 1 it is none, with the line and the reason, 2 wrong
usage.`,
		Example: "  imaledger policy trust/policy\n  imaledger policy trust/",
		Args:    oneArgument("the policy file, or the trust folder"),
		RunE: func(cmd *cobra.Command, args []string) error {
			trust, err := readDemands(args[0])
			if err != nil {
				return err
			}
			policy := trust.Policy
			p := &printer{w: cmd.OutOrStdout()}
			for _, line := range policy.Words() {
				p.f("%s\n", line)
			}
			if trust.MaxAge > 0 {
				p.f("When evidence is checked, a quorum must have seen its newest checkpoint at most %v ago.\n", time.Duration(trust.MaxAge)*time.Second)
			}
			p.f("\nWho could cheat, with the key of a log and\n")
			p.f("  %s: to show two readers two histories\n", keyNumber(policy.SmallestSplit()))
			p.f("  %s: to show a history that no honest witness has seen\n", keyNumber(policy.SmallestQuorum()))
			if few, ok := trust.SmallestConspiracy(); ok {
				p.f("  the witnesses of %d of their operators (%s): the same\n", len(few), strings.Join(few, ", "))
			}
			if policy.QuorumSize() > 0 && len(policy.SmallestSplit()) == 0 {
				p.f("\nwarning: two quorums can be met by different witnesses, so that the log alone could show two histories;\n" +
					"demand more than half of the members of a group to need a witness's key, too\n")
			}
			for _, w := range policy.Unused() {
				p.f("\nwarning: the witness %s is in no group that leads to the quorum, and never counts\n", w.Label)
			}
			return p.err
		},
	}
}

// readDemands reads a policy, or a trust folder, which may demand more.
func readDemands(name string) (*ledger.Trust, error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		trust, err := trustdir.Read(name)
		var bad *ledger.FormatError
		if errors.As(err, &bad) {
			return nil, cli.Contradictedf("%w", err)
		}
		return trust, err
	}
	b, err := readLimited(name, ledger.MaxPolicy)
	if err != nil {
		return nil, err
	}
	policy, err := ledger.ParsePolicy(b)
	if err != nil {
		return nil, cli.Contradictedf("%s: %w", name, err)
	}
	return &ledger.Trust{Policy: policy}, nil
}

// keyNumber names keys of witnesses, as few as do.
func keyNumber(keys []ledger.PolicyKey) string {
	switch len(keys) {
	case 0:
		return "no other key"
	case 1:
		return "1 witness's key (" + ledger.Labels(keys) + ", for one)"
	}
	return fmt.Sprintf("%d witnesses' keys (%s, for some)", len(keys), ledger.Labels(keys))
}
