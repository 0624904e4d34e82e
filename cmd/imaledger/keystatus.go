package main

import (
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/trustdir"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
)

// A keyStatus says of a log's key of the trust folder whether the newest
// checkpoint has its signature.
type keyStatus struct {
	Log   string `json:"log"`
	Key   string `json:"key"` // verifier key
	Signs bool   `json:"signs"`
}

func newKeyStatusCommand() *cobra.Command {
	var url, dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status --trust DIR --ledger URL",
		Short: "Show which of a log's keys sign",
		Long: `status verifies the ledger's newest checkpoint by the trust folder, and shows which
of the log's keys that the folder names have signed it, and who has cosigned it:
while keys are rotated, it says when the next step can be taken.`,
		Example: "  imaledger key status --trust trust/ --ledger https://ledger.example/",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			trust, err := trustdir.Read(dir)
			if err != nil {
				return err
			}
			raw, err := (&client.Client{Base: url}).Checkpoint(cmd.Context())
			if err != nil {
				return unreachable(err)
			}
			c, err := trust.Policy.Verify(raw)
			var few *ledger.QuorumError
			switch {
			case errors.As(err, &few):
				return cli.Undecidedf("the ledger's checkpoint: %w", err)
			case err != nil:
				return cli.WithHint(cli.Contradictedf("the ledger's checkpoint: %w", err), "is %s the ledger of this trust folder? If it has got a new key, the folder must name it", url)
			}
			list, err := keysOf(trust.Policy, c)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), list)
			}
			return printKeys(cmd.OutOrStdout(), c, list)
		},
	}
	cmd.Flags().StringVar(&url, "ledger", "", "URL of the ledger (required)")
	cmd.Flags().StringVar(&dir, "trust", "", "trust folder (required)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	for _, name := range []string{"ledger", "trust"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is defined above
		}
	}
	return cmd
}

// keysOf says which keys of the policy have signed a checkpoint that it accepts.
func keysOf(p *ledger.Policy, c *ledger.Checkpoint) ([]keyStatus, error) {
	var list []keyStatus
	for _, l := range p.Logs() {
		if l.Name != c.Origin {
			continue
		}
		alone, err := ledger.ParsePolicy([]byte("log " + l.VKey + "\nquorum none\n"))
		if err != nil {
			return nil, err
		}
		_, err = alone.Verify(c.Raw)
		list = append(list, keyStatus{l.Name, l.VKey, err == nil})
	}
	return list, nil
}

func printKeys(w io.Writer, c *ledger.Checkpoint, list []keyStatus) error {
	p := &printer{w: w}
	p.f("%s, %s\n", c.Origin, audit.Count(c.Size, "entry"))
	for _, k := range list {
		f := strings.SplitN(k.Key, "+", 3)
		kind, does := "Ed25519", "does not sign"
		if len(f[2]) > 100 {
			kind = "ML-DSA-44"
		}
		if k.Signs {
			does = "signs"
		}
		p.f("  %s+%s (%s) %s\n", f[0], f[1], kind, does)
	}
	var witnesses []string
	for _, cs := range c.Cosignatures {
		witnesses = append(witnesses, cs.Label)
	}
	if len(witnesses) > 0 {
		p.f("cosigned by %s\n", strings.Join(witnesses, ", "))
	}
	if c.Unknown > 0 {
		p.f("%d more signatures are by keys that the trust folder does not name\n", c.Unknown)
	}
	return p.err
}
