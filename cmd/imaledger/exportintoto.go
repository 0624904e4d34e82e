package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sigstore/sigstore/pkg/signature/dsse"
	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/export"
)

// writeInToto writes what verify finds as a signed statement.
func (f *exportFlags) writeInToto(cmd *cobra.Command, e *evidence) error {
	signer, err := f.keys.Message(cmd.Context(), f.sign)
	if err != nil {
		return err
	}
	digest, err := e.digest()
	if err != nil {
		return cli.Undecidedf("%s: %w", e.name, err)
	}
	r := e.report
	v := export.Verification{
		Verdict: verdict(r), Verifier: "imaledger " + cli.Version(), Time: uint64(time.Now().Unix()), Trust: map[string]string{},
		Log: r.Log, TreeSize: r.TreeSize, Witnessed: r.Witnessed, Statements: []string{}, Findings: notNull(r.Findings),
	}
	if r.Class() != ledger.Contradicted {
		v.Statements = notNull(r.Statements())
	}
	for _, file := range []string{ledger.TrustPolicyFile, ledger.TrustRulesFile} {
		b, err := os.ReadFile(filepath.Join(f.trust, file))
		if err != nil {
			return cli.Usagef("trust folder: %w", err)
		}
		sum := sha256.Sum256(b)
		v.Trust[file] = hex.EncodeToString(sum[:])
	}
	subjects := []export.Subject{export.NewSubject(filepath.Base(e.name), digest)}
	for _, s := range e.segments {
		subjects = append(subjects, export.NewSubject(fmt.Sprintf("%s #%d records", s.Host, s.Sequence), s.Payload.Digest))
	}
	statement, err := export.NewStatement(v, subjects...)
	if err != nil {
		return err
	}
	envelope, err := dsse.WrapSigner(signer, export.StatementPayload).SignMessage(bytes.NewReader(statement))
	if err != nil {
		return cli.Undecidedf("sign the statement: %w", err)
	}
	w, done, err := create(f.out, cmd.OutOrStdout())
	if err != nil {
		return err
	}
	_, err = w.Write(append(bytes.TrimSpace(envelope), '\n'))
	if err := done(err); err != nil {
		return exportError(err, f.out)
	}
	return exitWith(nil, r.Class())
}
