package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/keys"
	"github.com/imaledger/imaledger/cmd/internal/trustdir"
	"github.com/imaledger/imaledger/ledger"
)

// A rotation puts a new key beside an old one.
type rotation struct {
	trustDir, key, next, out, name, alg string
	keys                                keys.Reader
}

func newKeyRotateCommand() *cobra.Command {
	var r rotation
	cmd := &cobra.Command{
		Use:   "rotate --trust DIR --key OLD (--out FILE [--alg ALG] | --new KEY) [--name NAME]",
		Short: "Put a new key beside an old one",
		Long: `rotate makes a key that takes the place of another, or takes one that is there
(--new), and adds its line to the trust folder after the old one's. It prints the
new verifier key. The old line stays: what the old key has signed is verified by it.

A log's new key has the log's name. Then, in this order:
  1. The trust folder goes to the ledger, and the new verifier key to the witnesses
     (imaledger-witness --log OLD --log NEW), to hosts and to auditors.
  2. imaledgerd serve --key OLD --additional-key NEW signs with both. Who has the
     old trust folder and who has the new one verify what it publishes.
  3. When all have the new one: imaledgerd serve --key NEW. imaledger key status
     shows which keys sign.
An ML-DSA-44 key stays an --additional-key beside an Ed25519 one.

A registrar's or an operator's new key has a name of its own (--name), and signs as
soon as those who verify have the trust folder.`,
		Example: `  imaledger key rotate --trust trust/ --key log.key --out log-2027.key
  imaledger key rotate --trust trust/ --key log.key --new ledger.example/one=hashivault://log-2027
  imaledger key rotate --trust trust/ --key operator.key --name operator.example/2027 --out operator-2027.key`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			vkey, err := r.rotate(cmd)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), vkey)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.trustDir, "trust", "", "trust folder, which names the old key (required)")
	f.StringVar(&r.key, "key", "", "the old key: its verifier key, or the private one in a file, NAME=FILE for PEM, or NAME=URI of a KMS (required)")
	f.StringVar(&r.next, "new", "", "the new private key, where it is there already, given as --key is")
	f.StringVar(&r.out, "out", "", "file to write a new private key to; must not exist")
	f.StringVar(&r.name, "name", "", "the new key's name, for a registrar and an operator")
	f.StringVar(&r.alg, "alg", algEd25519, "algorithm: ed25519, or ml-dsa-44 for a log")
	f.StringVar(&r.keys.PasswordFile, "password-file", "", "file with the password of encrypted keys; or set "+keys.PasswordVariable)
	for _, name := range []string{"trust", "key"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is defined above
		}
	}
	return cmd
}

func (r *rotation) rotate(cmd *cobra.Command) (vkey string, err error) {
	if (r.out == "") == (r.next == "") {
		return "", cli.WithHint(cli.Usagef("want one of --out and --new"), "--out names the file of a key that is made now; --new a key that is there")
	}
	if _, err := trustdir.Read(r.trustDir); err != nil {
		return "", err
	}
	old, err := r.old(cmd)
	if err != nil {
		return "", err
	}
	line, err := findKey(r.trustDir, old)
	if err != nil {
		return "", err
	}
	name, _, _ := strings.Cut(old, "+")
	switch {
	case line.kind == kindLog && r.name != "" && r.name != name:
		return "", cli.WithHint(cli.Usagef("--name %s: a log's name is its origin, %s, for ever", r.name, name), "imaledger freeze ends a log, and names the one that follows")
	case line.kind != kindLog && r.next == "" && (r.name == "" || r.name == name):
		return "", cli.WithHint(cli.Usagef("no --name: the new key of this %s has a name of its own", line.kind), "such as %s/2", name)
	case line.kind != kindLog && r.next == "":
		name = r.name
	}
	var skey string
	if r.next != "" {
		next, err := r.keys.Signer(cmd.Context(), r.next)
		if err != nil {
			return "", err
		}
		vkey = next.VerifierKey()
	} else if skey, vkey, err = generateKey(line.kind, name, r.alg); err != nil {
		return "", err
	}
	content, err := line.with(r.trustDir, vkey)
	if err != nil {
		return "", err
	}
	// The key first: a trust folder that names a key that nobody has is worse
	// than a key that no trust folder names.
	if skey != "" {
		if err := writeKey(r.out, skey); err != nil {
			return "", err
		}
	}
	if err := replaceFile(line.file, content); err != nil {
		return "", cli.WithHint(cli.Usagef("%w", err), "the key is made; imaledger key rotate --new %s goes on", r.out)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s has the new %s key; imaledger key rotate --help says what comes next\n", line.file, line.kind)
	return vkey, nil
}

// old returns the verifier key of the old key. Whoever keeps the trust folder need
// not have the private one.
func (r *rotation) old(cmd *cobra.Command) (vkey string, err error) {
	if f := strings.SplitN(r.key, "+", 3); len(f) == 3 && len(f[1]) == 8 {
		return r.key, nil
	}
	s, err := r.keys.Signer(cmd.Context(), r.key)
	if err != nil {
		return "", err
	}
	return s.VerifierKey(), nil
}

// A keyLine is the line of a file of a trust folder that names a key.
type keyLine struct {
	file    string
	content string
	begin   int // of the line in the content
	end     int // of the line, its LF included
	kind    string
	rest    string // what follows the key: a log's URL
}

// findKey finds the line that names a log's, a registrar's or an operator's key.
func findKey(dir, vkey string) (*keyLine, error) {
	for _, name := range []string{ledger.TrustPolicyFile, ledger.TrustRulesFile} {
		file := filepath.Join(dir, name)
		b, err := os.ReadFile(file) // trustdir has read it, and seen to its size
		if err != nil {
			return nil, cli.Usagef("%w", err)
		}
		at := 0
		for line := range strings.SplitAfterSeq(string(b), "\n") {
			f := strings.Fields(line)
			if len(f) >= 2 && f[1] == vkey && slices.Contains([]string{kindLog, kindRegistrar, kindOperator}, f[0]) {
				return &keyLine{file: file, content: string(b), begin: at, end: at + len(line), kind: f[0], rest: strings.Join(f[2:], " ")}, nil
			}
			at += len(line)
		}
	}
	return nil, cli.WithHint(cli.Usagef("the trust folder %s does not name the key %s", dir, vkey), "is --key the old key, and %s the folder that names it as a log's, a registrar's or an operator's?", dir)
}

// with returns the file's content with a line more, for another key, as far as it
// makes a trust folder that can be read.
func (l *keyLine) with(dir, vkey string) (string, error) {
	added := l.kind + " " + vkey
	if l.rest != "" {
		added += " " + l.rest
	}
	content := l.content[:l.end] + added + "\n" + l.content[l.end:]
	read := func(name string) []byte {
		file := filepath.Join(dir, name)
		if file == l.file {
			return []byte(content)
		}
		b, _ := os.ReadFile(file) // trustdir has read it
		return b
	}
	trust, err := ledger.ParseTrust(read(ledger.TrustPolicyFile), read(ledger.TrustRulesFile))
	if err != nil {
		return "", cli.Usagef("with the new key: %w", err)
	}
	if name, _, _ := strings.Cut(vkey, "+"); l.kind == kindLog && !slices.ContainsFunc(trust.Policy.Logs(), func(k ledger.PolicyKey) bool { return k.Name == name && k.VKey != vkey }) {
		return "", cli.Usagef("the new key's name %s is not the log's: a log's name is its origin, for ever", name)
	}
	return content, nil
}

// replaceFile puts content in the place of a file, in one step, with its mode.
func replaceFile(name, content string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-")
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	err = errors.Join(err, f.Chmod(info.Mode().Perm()), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(name))
}
