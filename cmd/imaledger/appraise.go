package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/keys"
	"github.com/imaledger/imaledger/cmd/internal/trustdir"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/appraise"
	"github.com/imaledger/imaledger/ledger/export"
	"github.com/imaledger/imaledger/tpm/ima"
)

type appraiseFlags struct {
	policies, certificates  []string
	trust, violations, bank string
	sign, ledger            string
	records, asJSON         bool
	wait                    time.Duration
	keys                    keys.Reader
}

func newAppraiseCommand() *cobra.Command {
	var f appraiseFlags
	cmd := &cobra.Command{
		Use:   "appraise [--policy FILE...] [--key FILE...] [--trust DIR] EVIDENCE|LIST...",
		Short: "Judge what machines measured by a policy",
		Long: `appraise judges each record by policies, and says which rule decided. With --trust
it takes a bundle of evidence, which it verifies first as verify does; without, a
kernel's list in one or several files, which nothing proves.

  --policy  a runtime policy of Keylime (JSON), or a list of digests: what sha256sum
            and its like write, a package's md5sums, or digests alone
  --key     X.509 certificates or public keys (PEM or DER): whose signatures on
            files are good (security.ima, versions 2 and 3)

Both may be given several times: a record passes that one of them passes. Nothing
else does, but a boot_aggregate that is that of the quoted registers. Violations
fail, as what was measured is not known; --violations pass is what Keylime does
unless told otherwise. What Keylime cannot take (templates such as ima-ngv2, registers
other than PCR 10) is judged by its file digest here.

With --sign and --ledger the verdict goes into the log, signed by an operator of the
trust folder, with a report of every record beside it: a retention policy can demand
that before records are erased. Only a verdict on all that the host has measured so
far is signed: on evidence from its first record on, or from where an appraisal in
the evidence ends that passed the rest.

Exit codes: 0 passed, 1 failed or contradicted, 2 wrong usage, 3 undecided.`,
		Example: `  sha256sum /usr/bin/* > reference
  imaledger appraise --policy reference /sys/kernel/security/ima/binary_runtime_measurements
  imaledger appraise --policy policy.json --key vendor.pem --trust trust/ evidence.tar`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.policies, "policy", nil, "policy, a file; may be repeated")
	flags.StringArrayVar(&f.certificates, "key", nil, "certificates or public keys of those who sign files; may be repeated")
	flags.StringVar(&f.trust, "trust", "", "trust folder, for a bundle of evidence")
	flags.StringVar(&f.violations, "violations", "fail", "whether violations pass or fail")
	flags.StringVar(&f.bank, "bank", "", "whose digests a list stores; found out if not given")
	flags.BoolVar(&f.records, "records", false, "print every record, not only those that did not pass")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON")
	flags.StringVar(&f.sign, "sign", "", "operator's private key, to put the verdict into the log")
	flags.StringVar(&f.ledger, "ledger", "", "URL of the ledger, for that")
	flags.StringVar(&f.keys.PasswordFile, "password-file", "", "file with the password of an encrypted key; or set "+keys.PasswordVariable)
	flags.DurationVar(&f.wait, "wait", submitWait, "how long to wait for witnesses")
	cmd.MarkFlagsRequiredTogether("sign", "ledger")
	cmd.MarkFlagsOneRequired("policy", "key")
	return cmd
}

func (f *appraiseFlags) run(cmd *cobra.Command, args []string) (err error) {
	if f.sign != "" && f.trust == "" {
		return cli.WithHint(cli.Usagef("--sign without --trust: a verdict on a list that nothing proves is not put on record"), "give the trust folder and a bundle of evidence")
	}
	if f.trust != "" && len(args) > 1 {
		return cli.Usagef("with --trust, want one bundle of evidence, have %d files", len(args))
	}
	policy, appraiser, err := f.policy()
	if err != nil {
		return err
	}
	r, err := newAppraisalReport(policy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if f.trust == "" {
		if err := f.judgeList(r, appraiser, args); err != nil {
			return err
		}
		return f.finish(cmd, r, nil)
	}
	trust, err := trustdir.Read(f.trust)
	if err != nil {
		return err
	}
	e, err := openEvidence(trust, args[0])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if err := judgeEvidence(r, appraiser, e); err != nil {
		return err
	}
	return f.finish(cmd, r, e)
}

// judgeEvidence judges the records that verify, each boot for itself.
func judgeEvidence(r *appraisalReport, a *appraise.Appraiser, e *evidence) error {
	digest, err := e.digest()
	if err != nil {
		return cli.Undecidedf("%s: %w", e.name, err)
	}
	r.Evidence = appraisedEvidence{filepath.Base(e.name), fmt.Sprintf("%x", digest), verdict(e.report)}
	r.Findings = notNull(e.report.Findings)
	for _, b := range divide(e.segments) {
		fresh := a.Fresh()
		for _, s := range b {
			fresh.Quoted = s.quoted
			err := e.eachOf(s, func(rec *export.Record) error { return r.add(rec, fresh.Judge(rec.Record)) })
			if err != nil {
				return cli.Undecidedf("%s #%d: %w", s.Host, s.Sequence, err)
			}
		}
	}
	r.decide(e.report.Class())
	return nil
}

// judgeList judges a list that nothing proves. Its stored digests are checked.
func (f *appraiseFlags) judgeList(r *appraisalReport, a *appraise.Appraiser, names []string) error {
	list, err := openJoinedList(names, f.bank)
	if err != nil {
		return err
	}
	stored, err := ima.NewReplayer(nil, nil, ima.KernelStyles())
	if err != nil {
		return err
	}
	r.Evidence = appraisedEvidence{Name: filepath.Base(names[0]), Verdict: "none"}
	class := ledger.Noted
	err = list.each(func(rec *ima.Record) error {
		if err := stored.Extend(rec); err != nil {
			return err
		}
		return r.add(&export.Record{Record: rec, Number: rec.Index}, a.Judge(rec))
	})
	if err != nil {
		finding, ok := list.finding(err)
		if !ok {
			return cli.Undecidedf("%w", err)
		}
		r.Findings = append(r.Findings, finding)
		class = finding.Class()
	}
	r.decide(class)
	return nil
}

// finish puts the verdict on record, if that is asked for, and prints it.
func (f *appraiseFlags) finish(cmd *cobra.Command, r *appraisalReport, e *evidence) error {
	if f.sign != "" {
		if err := f.state(cmd.Context(), r, e); err != nil {
			return errors.Join(f.print(cmd.OutOrStdout(), r), err)
		}
	}
	if err := f.print(cmd.OutOrStdout(), r); err != nil {
		return err
	}
	switch r.Verdict {
	case appraise.Passed:
		return nil
	case appraise.Failed:
		return cli.Exit(cli.ExitContradicted)
	}
	return cli.Exit(cli.ExitUndecided)
}

func (f *appraiseFlags) print(w io.Writer, r *appraisalReport) error {
	if f.asJSON {
		return r.writeJSON(w, f.records)
	}
	return r.print(w, f.records)
}
