// Command imaledger is the auditor's and operator's tool: it looks into
// measurement lists, verifies quotes and evidence offline, and shows the whole
// product in one process.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
)

func main() { cli.Main("imaledger", run) }

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	root := newRoot()
	// Cobra adds this one itself, and answers an unknown shell with help and exit code 0.
	root.InitDefaultCompletionCmd(args...)
	if completion, _, err := root.Find([]string{"completion"}); err == nil && completion != root {
		completion.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return execute(ctx, root, args)
}

// newRoot makes the tool with all its commands.
func newRoot() *cobra.Command {
	var version bool
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
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if version {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "imaledger", cli.Version())
				return err
			}
			return cmd.Help()
		},
	}
	// Cobra's own flag prints it by a template, which costs five megabytes: what calls
	// methods by their names keeps all of them.
	root.Flags().BoolVarP(&version, "version", "v", false, "version for imaledger")
	root.SuggestionsMinimumDistance = 2 // letters that a mistyped command may differ in from a suggested one
	root.AddCommand(newDemoCommand(), newInspectCommand(), newKeygenCommand(), newKeyCommand(), newReplayCommand(), newVerifyCommand(), newPolicyCommand(), newEquivocationCommand(), newSubmitCommand(),
		newRetentionCommand(), newHoldCommand(), newReleaseCommand(), newEraseCommand(), newAcknowledgeCommand(), newFreezeCommand(), newSucceedCommand(),
		newBundleCommand(), newProveCommand(), newRecordCommand(), newHostsCommand(), newEnrolmentsCommand(), newTrustCommand(), newDoctorCommand(), newManCommand(),
		newAuditCommand(), newFollowCommand(), newCosignCommand())
	root.AddCommand(newExportCommand(), newAppraiseCommand(), newImportCommand())
	root.AddCommand(newSearchCommand(), newFirstSeenCommand(), newHostsWithCommand(), newDiffCommand(), newTimelineCommand(), newIndexCommand(), newWebCommand())
	root.SetHelpCommand(newHelpCommand())
	return root
}

// execute runs the command. An error of the call itself, which cobra found and
// our code did not, gets the hint that cobra would print before it.
func execute(ctx context.Context, root *cobra.Command, args []string) error {
	started := false
	for _, cmd := range root.Commands() {
		if inner := cmd.RunE; inner != nil {
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				started = true
				return inner(cmd, args)
			}
		}
	}
	cmd, err := root.ExecuteContextC(ctx)
	var ours *cli.Error
	switch {
	case err == nil || started || errors.As(err, &ours):
		return err
	case cmd == root && len(args) > 0 && len(root.SuggestionsFor(args[0])) > 0:
		return cli.WithHint(cli.Usagef("%w", err), "is it %q? imaledger --help lists the commands", root.SuggestionsFor(args[0])[0])
	case cmd == root:
		return cli.WithHint(cli.Usagef("%w", err), "imaledger --help lists the commands")
	}
	return cli.WithHint(cli.Usagef("%w", err), "usage: %s; with --help, all of it", cmd.UseLine())
}

// oneArgument is cobra.ExactArgs(1), and its error says what is wanted.
func oneArgument(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			return fmt.Errorf("%s is missing", what)
		case 1:
			return nil
		}
		return fmt.Errorf("%s is wanted, and %d arguments are given", what, len(args))
	}
}

// someArguments is cobra.MinimumNArgs(1), and its error says what is wanted.
func someArguments(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("%s is missing", what)
		}
		return nil
	}
}

// newHelpCommand is cobra's help, but for an unknown command, which is an error.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Help about a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return cli.WithHint(cli.Usagef("no help on %q", strings.Join(args, " ")), "imaledger --help lists the commands")
			}
			of.InitDefaultHelpFlag() // as --help does, which lists it
			return of.Help()
		},
	}
}
