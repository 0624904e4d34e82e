package main

import (
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/imaledger/imaledger/cmd/internal/cli"
)

// newManCommand writes the manual's pages from the commands' own help: make install
// calls it.
func newManCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "Write the manual's pages to a folder",
		Long:    "man writes a manual page of each command to a folder: man1 of a manpath.",
		Example: "  imaledger man /usr/local/share/man/man1",
		Args:    cobra.ExactArgs(1),
		Hidden:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return cli.Usagef("%w", err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true // the pages say the same whenever they are made
			header := &doc.GenManHeader{Title: "IMALEDGER", Section: "1", Source: "imaledger " + cli.Version(), Manual: "imaledger"}
			if err := doc.GenManTree(root, header, args[0]); err != nil {
				return cli.Usagef("%w", err)
			}
			return nil
		},
	}
}
