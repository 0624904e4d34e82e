package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/witness"
)

// The kinds and algorithms of keygen.
const (
	kindLog       = "log"
	kindWitness   = "witness"
	kindRegistrar = "registrar"
	kindOperator  = "operator"
	algEd25519    = "ed25519"
	algMLDSA44    = "ml-dsa-44"
)

func newKeygenCommand() *cobra.Command {
	var kind, name, alg, out string
	command := &cobra.Command{
		Use:   "keygen --kind log|witness|registrar|operator --name NAME --out FILE",
		Short: "Make a signing key",
		Long: `Makes a signing key, writes it to a new file that only you can read, and prints
its verifier key, which is what others are given.

The file holds PRIVATE+KEY+name+id+key, the encoding of signed notes
(https://c2sp.org/signed-note). The name stands in every signature; make it a URL
without its scheme, unlike any other. A log's name is its origin, for ever.

Log, registrar and operator keys are Ed25519 note keys (type 0x01), a witness's
is an Ed25519 cosignature key (type 0x04). ML-DSA-44 keys (type 0x06), which a
quantum computer does not break, sign only checkpoints: they are for logs and
witnesses. imaledger-witness signs with one of either type, or with both.`,
		Example: `  imaledger keygen --kind log --name log.example/ima --out log.key > log.vkey
  imaledger keygen --kind witness --name witness.example/w1 --out witness.key`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			skey, vkey, err := generateKey(kind, name, alg)
			if err != nil {
				return err
			}
			if out == "" {
				return cli.Usagef("no --out: name the file to write the private key to")
			}
			// The file first: a verifier key that was handed out and has no private key is worse than none.
			if err := writeKey(out, skey); err != nil {
				return err
			}
			if kind == kindWitness {
				// A witness starts from nothing only with a key that has never signed.
				if err := os.WriteFile(out+".fence", []byte(witness.NewFence+"\n"), 0o600); err != nil {
					return cli.WithHint(cli.Usagef("write the fence: %w", err), "the key is made; imaledger-witness --new starts with it")
				}
			}
			if _, err := fmt.Fprintln(command.OutOrStdout(), vkey); err != nil {
				return fmt.Errorf("print the verifier key of %s: %w", out, err)
			}
			return nil
		},
	}
	flags := command.Flags()
	flags.StringVar(&kind, "kind", "", "who signs with it: log, witness, registrar or operator")
	flags.StringVar(&name, "name", "", "the key's name, for a log its origin")
	flags.StringVar(&alg, "alg", algEd25519, "algorithm: ed25519, or ml-dsa-44 for logs and witnesses")
	flags.StringVar(&out, "out", "", "file to write the private key to; must not exist")
	complete := func(flag string, values ...cobra.Completion) {
		// It fails only for a flag that is not defined.
		if err := command.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err)
		}
	}
	complete("kind", kindLog, kindWitness, kindRegistrar, kindOperator)
	complete("alg", algEd25519, algMLDSA44)
	return command
}

// generateKey makes a key pair in the note encoding.
func generateKey(kind, name, alg string) (skey, vkey string, err error) {
	switch kind {
	case kindLog, kindWitness, kindRegistrar, kindOperator:
	case "":
		return "", "", cli.Usagef("no --kind: want log, witness, registrar or operator")
	default:
		return "", "", cli.Usagef("--kind %q: want log, witness, registrar or operator", kind)
	}
	if !ledger.ValidKeyName(name) {
		return "", "", cli.WithHint(cli.Usagef("--name %q: must be 1 to %d bytes of UTF-8 without spaces, plus or control characters", name, ledger.MaxOrigin),
			"take a URL without its scheme, such as %s.example/2026", kind)
	}
	switch {
	case alg == algMLDSA44 && (kind == kindLog || kind == kindWitness):
		skey, vkey, err = fnote.GenerateMLDSAKey(name)
	case alg == algMLDSA44:
		// c2sp.org/signed-note assigns no type to ML-DSA signatures over other notes.
		return "", "", cli.WithHint(cli.Usagef("--alg %s: such a key signs checkpoints only, and registrars and operators sign statements", alg), "leave --alg out for Ed25519")
	case alg != algEd25519:
		return "", "", cli.Usagef("--alg %q: want %s or %s", alg, algEd25519, algMLDSA44)
	case kind == kindWitness:
		var key *witness.Key
		if key, err = witness.GenerateKey(rand.Reader, name); err == nil {
			skey, vkey = key.Secret(), key.VKey()
		}
	default:
		skey, vkey, err = note.GenerateKey(rand.Reader, name)
	}
	if err != nil {
		return "", "", fmt.Errorf("generate a %s key: %w", kind, err)
	}
	return skey, vkey, nil
}

// writeKey writes a private key to a file that must not exist, and returns once
// it is on disk. What could not be written whole is removed again.
func writeKey(name, skey string) error {
	// O_EXCL refuses a file that exists, and a symbolic link to anywhere.
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return cli.WithHint(cli.Usagef("%s exists, and a key is never overwritten", name), "name another file with --out, or move that one away")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return cli.WithHint(cli.Usagef("write the private key: %w", err), "make the folder %s first", filepath.Dir(name))
	}
	if err != nil {
		return cli.Usagef("write the private key: %w", err)
	}
	_, err = f.WriteString(skey + "\n")
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = syncDir(filepath.Dir(name))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write the private key to %s: %w", name, err), os.Remove(name))
	}
	return nil
}

// syncDir makes the names in a directory durable.
func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
