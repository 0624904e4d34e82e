package main

import (
	"bytes"
	"os"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/trustdir"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

// tokenVariable has an auditor's token, where no file is named.
const tokenVariable = "IMALEDGER_TOKEN"

// maxToken bounds a token's file in bytes.
const maxToken = 4096

// A remote is a ledger that is asked, and the trust folder that its answers are held
// to: what the commands that read a ledger have in common.
type remote struct {
	url, trustDir, tokenFile string

	client *client.Client
	trust  *ledger.Trust
}

func (r *remote) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.url, "ledger", "", "URL of the ledger, or of a mirror (required)")
	f.StringVar(&r.trustDir, "trust", "", "trust folder (required)")
	f.StringVar(&r.tokenFile, "token-file", "", "`file` with the token that lets you read what is not public; or set "+tokenVariable)
	for _, name := range []string{"ledger", "trust"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is defined above
		}
	}
}

// open reads the trust folder and the token.
func (r *remote) open() (err error) {
	if r.trust, err = trustdir.Read(r.trustDir); err != nil {
		return err
	}
	token := os.Getenv(tokenVariable)
	if r.tokenFile != "" {
		b, err := readLimited(r.tokenFile, maxToken)
		if err != nil {
			return err
		}
		if token = string(bytes.TrimSpace(b)); token == "" {
			return cli.Usagef("%s: no token in it", r.tokenFile)
		}
	}
	r.client = &client.Client{Base: r.url, Token: token}
	return nil
}
