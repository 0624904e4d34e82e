package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/carry"
	"github.com/imaledger/imaledger/ledger/client"
)

// submitWait is how long a ledger is asked to wait for its witnesses.
const submitWait = 20 * time.Second

func newSubmitCommand() *cobra.Command {
	var url string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "submit --ledger URL FOLDER",
		Short: "Submit what an offline host's agent wrote to a folder",
		Long: `submit does with a ledger what the agent of an offline host would have done, had
it reached the ledger: it begins or ends the host's enrolment, uploads records,
submits segments, and puts the answers into the folder. Carried back, the agent
verifies them, and deletes from its kernel what has its receipt. The folder needs
no secrecy and is trusted by nobody.`,
		Example: "  imaledger submit --ledger https://ledger.example/ /media/stick/web1",
		Args:    oneArgument("the folder that the agent wrote"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := carry.Submit(cmd.Context(), args[0], &client.Client{Base: url}, wait)
			p := &printer{w: cmd.OutOrStdout()}
			if s != nil {
				p.f("%s", audit.Count(s.Entries+s.Enrolments, "receipt"))
				if s.Challenges > 0 {
					p.f(", %s begun: the host's TPM must answer, so bring the folder back and then here again", audit.Count(s.Challenges, "enrolment"))
				}
				if s.Waiting > 0 {
					p.f(", %s in the log without its witnesses yet: submit again later", audit.Count(s.Waiting, "entry"))
				}
				p.f("\n")
			}
			if err != nil {
				return cli.WithHint(cli.Undecidedf("%w", err), "what was done stays done: submit the folder again")
			}
			return p.err
		},
	}
	cmd.Flags().StringVar(&url, "ledger", "", "URL of the ledger (required)")
	cmd.Flags().DurationVar(&wait, "wait", submitWait, "how long to wait for witnesses, each time")
	if err := cmd.MarkFlagRequired("ledger"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}
