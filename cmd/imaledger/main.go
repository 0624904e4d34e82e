// Command imaledger is the auditor's and operator's tool: it looks into
// measurement lists, verifies quotes and evidence offline, and shows the whole
// product in one process.
package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
)

func main() { cli.Main("imaledger", run) }

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	root := &cobra.Command{
		Use:   "imaledger",
		Short: "Check what Linux machines measured, without trusting anyone's word",
		Long: `imaledger checks what Linux machines measured: kernel lists of measurements (IMA),
the TPM quotes over them, and bundles of evidence from a ledger.

Exit codes: 0 verified, 1 contradicted by evidence, 2 wrong usage, 3 undecided
because evidence is missing, erased, stale or unreachable.`,
		Example: `  imaledger demo --once                            see all of it work, in a minute
  imaledger inspect /sys/kernel/security/ima/binary_runtime_measurements
  imaledger verify --trust trust/ evidence.tar`,
		Version:       cli.Version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.AddCommand(newDemoCommand(), newInspectCommand(), newKeygenCommand(), newReplayCommand(), newVerifyCommand(), newSubmitCommand())
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}
