package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/keys"
)

func newKeyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Show and rotate keys",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(newKeyShowCommand(), newKeyRotateCommand(), newKeyStatusCommand())
	return cmd
}

func newKeyShowCommand() *cobra.Command {
	var r keys.Reader
	cmd := &cobra.Command{
		Use:   "show FILE|NAME=FILE|NAME=URI",
		Short: "Print a key's verifier key",
		Long: `show prints the verifier key of a private key, which is what others are given: of
a file in the note encoding or in PEM, or of a key that never leaves its KMS.

A PEM file and a KMS know no name, so it is given: for a log its origin. For a URI
SCHEME://… this program runs sigstore-kms-SCHEME, sigstore's plugin for that KMS.
The formats have Ed25519 keys, and ML-DSA-44 keys for logs.`,
		Example: `  imaledger key show log.key
  imaledger key show registrar.example=registrar.pem
  imaledger key show registrar.example=hashivault://registrar`,
		Args: oneArgument("the key"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := r.Signer(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), s.VerifierKey())
			return err
		},
	}
	cmd.Flags().StringVar(&r.PasswordFile, "password-file", "", "file with the password of an encrypted key; or set "+keys.PasswordVariable)
	return cmd
}
