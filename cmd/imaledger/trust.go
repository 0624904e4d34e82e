package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/trustdir"
	"github.com/imaledger/imaledger/ledger"
)

func newTrustCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trust",
		Short: "Make, show and change a trust folder",
		Long: `A trust folder is what a verifier believes before it sees any evidence: the log, its
witnesses and their quorum (policy), registrars, operators and grades (rules), and the
root certificates of TPM vendors (roots/). It must come to its reader by another way
than the evidence: compare the keys that trust show prints with those that the parties
publish.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTrustInitCommand(), newTrustShowCommand(), newTrustAddWitnessCommand(), newTrustAddRootCommand(), newTrustExportPolicyCommand())
	return cmd
}

func newTrustInitCommand() *cobra.Command {
	var log, logURL, reason string
	var witnesses, registrars, operators, grades []string
	var quorum, threshold int
	cmd := &cobra.Command{
		Use:   "init --log VKEY --registrar VKEY DIR",
		Short: "Make a trust folder",
		Long: `init makes a trust folder of verifier keys. Each comes from the party that holds it, and
not from the ledger that it is to be held to.

Any --quorum of the witnesses is enough, more than half of them unless it is given: with
half or fewer, two halves can be shown two histories.`,
		Example: `  imaledger trust init --log "$LOG" --witness "w1 $W1" --witness "w2 $W2" --witness "w3 $W3" --registrar "$REGISTRAR" --grade certificate trust/`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := args[0]
			if _, err := os.Stat(filepath.Join(dir, ledger.TrustPolicyFile)); !errors.Is(err, fs.ErrNotExist) {
				return cli.WithHint(cli.Usagef("%s has a policy already", dir), "add-witness and add-root change a trust folder; its files are plain text")
			}
			policy := strings.TrimSpace("log "+log+" "+logURL) + "\n"
			var names []string
			for _, w := range witnesses {
				policy += "witness " + w + "\n"
				name, _, _ := strings.Cut(w, " ")
				names = append(names, name)
			}
			switch {
			case len(names) == 0 && quorum > 0:
				return cli.Usagef("--quorum %d without a --witness", quorum)
			case len(names) == 0:
				policy += "quorum none\n"
			default:
				if quorum == 0 {
					quorum = len(names)/2 + 1
				}
				policy += fmt.Sprintf("group witnesses %d %s\nquorum witnesses\n", quorum, strings.Join(names, " "))
			}
			rules := ledger.TrustRulesFormat + "\n"
			for _, r := range registrars {
				rules += "registrar " + r + "\n"
			}
			rules += fmt.Sprintf("registrars %d\n", threshold)
			for _, o := range operators {
				rules += "operator " + o + "\n"
			}
			for _, g := range grades {
				rules += "grade " + g
				if g == string(ledger.GradeSoftware) && reason != "" {
					rules += " because " + reason
				}
				rules += "\n"
			}
			if _, err := ledger.ParseTrust([]byte(policy), []byte(rules)); err != nil {
				return cli.WithHint(cli.Usagef("%w", err), "keys are what imaledger keygen prints: NAME+ID+BASE64; a witness is \"NAME VKEY [URL]\"")
			}
			if err := os.MkdirAll(filepath.Join(dir, ledger.TrustRootsDir), 0o755); err != nil {
				return cli.Usagef("%w", err)
			}
			for name, content := range map[string]string{ledger.TrustPolicyFile: policy, ledger.TrustRulesFile: rules} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
					return cli.Usagef("%w", err)
				}
			}
			return showTrust(cmd, dir)
		},
	}
	f := cmd.Flags()
	f.StringVar(&log, "log", "", "the log's `verifier key` (required)")
	f.StringVar(&logURL, "log-url", "", "where the log is")
	f.StringArrayVar(&witnesses, "witness", nil, "a witness as `\"NAME VKEY [URL]\"`; may be given again")
	f.IntVar(&quorum, "quorum", 0, "how many witnesses are enough")
	f.StringArrayVar(&registrars, "registrar", nil, "a registrar's `verifier key` (required)")
	f.IntVar(&threshold, "registrars", 1, "how many of the registrars must have signed an enrolment")
	f.StringArrayVar(&operators, "operator", nil, "an operator's `verifier key`")
	f.StringArrayVar(&grades, "grade", []string{string(ledger.GradeCertificate)}, "`grade` of enrolment to accept: certificate, pinned, first-use, software")
	f.StringVar(&reason, "because", "", "why grade software is accepted")
	for _, name := range []string{"log", "registrar"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is defined above
		}
	}
	return cmd
}

func newTrustShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show DIR",
		Short:   "Say in words what a trust folder believes, with keys to compare",
		Example: "  imaledger trust show trust/",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return showTrust(cmd, args[0]) },
	}
}

func showTrust(cmd *cobra.Command, dir string) error {
	t, err := trustdir.Read(dir)
	if err != nil {
		return err
	}
	p := &printer{w: cmd.OutOrStdout()}
	for _, line := range t.Policy.Words() {
		p.f("%s\n", line)
	}
	if t.MaxAge > 0 {
		p.f("When evidence is checked, a quorum must have seen its newest checkpoint at most %v ago.\n", time.Duration(t.MaxAge)*time.Second)
	}
	p.f("\nAn enrolment counts if %d of these registrars signed it:\n", t.Threshold)
	for _, k := range t.Registrars {
		p.f("  %s, key ID %08x\n", k.Name(), k.KeyHash())
	}
	p.f("Grades accepted: ")
	for i, g := range t.Grades {
		if i > 0 {
			p.f(", ")
		}
		p.f("%s", g)
	}
	p.f("\n")
	if t.Reason != "" {
		p.f("Keys that no TPM holds are accepted, because: %s\n", t.Reason)
	}
	if t.AllowSHA1 {
		p.f("SHA-1 alone may bind records.\n")
	}
	if len(t.Operators) == 0 {
		p.f("No operator: no retention policy, erasure, hold or appraisal counts.\n")
	} else {
		p.f("Operators, who state retention, erasures, holds and appraisals:\n")
	}
	for _, k := range t.Operators {
		p.f("  %s, key ID %08x\n", k.Name(), k.KeyHash())
	}
	p.f("Root certificates of TPM vendors: %d\n", len(t.Roots))
	for _, c := range t.Roots {
		p.f("  %s, until %s\n", c.Subject, c.NotAfter.UTC().Format("2006-01-02"))
	}
	return p.err
}

func newTrustAddWitnessCommand() *cobra.Command {
	var group, runBy string
	cmd := &cobra.Command{
		Use:   "add-witness DIR NAME VKEY [URL]",
		Short: "Add a witness to the policy",
		Long: `add-witness adds a witness to a group of the policy, the one that the quorum names
unless --group says another. How many of the group are enough stays as it is: where that
is then half of them or fewer, which lets two halves be shown two histories, it says so.`,
		Example: `  imaledger trust add-witness trust/ w4 "$W4" https://w4.example/`,
		Args:    cobra.RangeArgs(3, 4),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := args[0]
			if _, err := trustdir.Read(dir); err != nil {
				return err
			}
			name := filepath.Join(dir, ledger.TrustPolicyFile)
			b, err := os.ReadFile(name)
			if err != nil {
				return cli.Usagef("%w", err)
			}
			content, err := addWitness(string(b), group, args[1], strings.Join(args[1:], " "))
			if err != nil {
				return err
			}
			rulesName := filepath.Join(dir, ledger.TrustRulesFile)
			rules, err := os.ReadFile(rulesName)
			if err != nil {
				return cli.Usagef("%w", err)
			}
			if runBy != "" {
				rules = fmt.Appendf(rules, "witness %s by %s\n", args[1], runBy)
			}
			// Before either is written: the rules may demand to know who runs it.
			with, err := ledger.ParseTrust([]byte(content), rules)
			if err != nil {
				return cli.WithHint(cli.Usagef("with the new witness: %w", err), "--run-by says who runs it, where the rules demand several operators")
			}
			policy := with.Policy
			if err := replaceFile(name, content); err != nil {
				return cli.Usagef("%w", err)
			}
			if runBy != "" {
				if err := replaceFile(rulesName, string(rules)); err != nil {
					return cli.Usagef("%w", err)
				}
			}
			if policy.QuorumSize() > 0 && len(policy.SmallestSplit()) == 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "two quorums can now be met by different witnesses: raise the number in the group's line of %s\n", name)
			}
			return showTrust(cmd, dir)
		},
	}
	cmd.Flags().StringVar(&group, "group", "", "`name` of the group")
	cmd.Flags().StringVar(&runBy, "run-by", "", "`operator` who runs the witness, for rules that demand several")
	return cmd
}

// addWitness puts a witness's line before the first group, and its name into a group.
func addWitness(policy, group, label, line string) (string, error) {
	lines := strings.SplitAfter(policy, "\n")
	if group == "" {
		for _, l := range lines {
			if f := strings.Fields(l); len(f) == 2 && f[0] == "quorum" {
				group = f[1]
			}
		}
	}
	var b strings.Builder
	added, joined := false, false
	for _, l := range lines {
		f := strings.Fields(l)
		if len(f) > 2 && f[0] == "group" {
			if !added {
				b.WriteString("witness " + line + "\n")
				added = true
			}
			if f[1] == group {
				l = strings.TrimRight(l, "\n") + " " + label + "\n"
				joined = true
			}
		}
		b.WriteString(l)
	}
	if !joined {
		return "", cli.WithHint(cli.Usagef("the policy has no group %q to add a witness to", group), "--group names another; a quorum of one witness is a policy to write anew")
	}
	return b.String(), nil
}

func newTrustAddRootCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "add-root DIR FILE",
		Short:   "Add a TPM vendor's root certificate",
		Long:    "add-root copies a PEM file with root certificates into the trust folder: EK certificates that lead to them give the grade certificate.",
		Example: "  imaledger trust add-root trust/ vendor-root.pem",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, file := args[0], args[1]
			if _, err := trustdir.Read(dir); err != nil {
				return err
			}
			root, err := readLimited(file, ledger.MaxRoots)
			if err != nil {
				return err
			}
			policy, err := os.ReadFile(filepath.Join(dir, ledger.TrustPolicyFile))
			if err != nil {
				return cli.Usagef("%w", err)
			}
			rules, err := os.ReadFile(filepath.Join(dir, ledger.TrustRulesFile))
			if err != nil {
				return cli.Usagef("%w", err)
			}
			if _, err := ledger.ParseTrust(policy, rules, root); err != nil {
				return cli.WithHint(cli.Usagef("%s: %w", file, err), "a DER file is made PEM by openssl x509 -inform der")
			}
			to := filepath.Join(dir, ledger.TrustRootsDir, strings.TrimSuffix(filepath.Base(file), ".pem")+".pem")
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				return cli.Usagef("%w", err)
			}
			f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if errors.Is(err, fs.ErrExist) {
				return cli.WithHint(cli.Usagef("%w", err), "it is there already; give the file another name to have both")
			}
			if err != nil {
				return cli.Usagef("%w", err)
			}
			_, err = f.Write(root)
			if err := errors.Join(err, f.Close()); err != nil {
				return cli.Usagef("%w", err)
			}
			return showTrust(cmd, dir)
		},
	}
}

func newTrustExportPolicyCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "export-policy DIR",
		Short:   "Print the policy, for verifiers of other logs",
		Long:    "export-policy prints the trust folder's c2sp.org/tlog-policy: what other verifiers need to check a proof of the log.",
		Example: "  imaledger trust export-policy trust/ > policy",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := trustdir.Read(args[0]); err != nil {
				return err
			}
			b, err := os.ReadFile(filepath.Join(args[0], ledger.TrustPolicyFile))
			if err != nil {
				return cli.Usagef("%w", err)
			}
			_, err = cmd.OutOrStdout().Write(b)
			return err
		},
	}
}
