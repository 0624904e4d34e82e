package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/trustdir"
	"github.com/imaledger/imaledger/ledger"
)

// initOptions are what a new ledger is made of.
type initOptions struct {
	witnesses, grades cli.Strings
	quorum            int
}

func (i *initOptions) flags(fs *flag.FlagSet) {
	fs.Var(&i.grades, "grade", "`grade` of enrolment to accept: certificate, pinned or first-use; may be repeated")
	fs.Var(&i.witnesses, "witness", "a `witness`, as \"NAME VKEY URL\"; may be repeated")
	fs.IntVar(&i.quorum, "quorum", 0, "`number` of witnesses that must cosign; by default more than half")
}

// initLedger is the command init.
func initLedger(_ context.Context, o *options, stdout io.Writer) error {
	switch {
	case o.origin == "":
		return cli.WithHint(cli.Usagef("no --origin"), "the log's name, for ever and unlike any other: a URL without its scheme, such as ledger.example/2026")
	case !ledger.ValidOrigin(o.origin):
		return cli.WithHint(cli.Usagef("--origin %q", o.origin), "a URL without its scheme, such as ledger.example/2026")
	case len(o.init.grades) == 0:
		return cli.WithHint(cli.Usagef("no --grade"), "certificate: TPMs of vendors whose roots you put into %s; pinned: TPMs that you list; first-use: any TPM", filepath.Join(o.trust, ledger.TrustRootsDir))
	}
	// The configuration is read from anywhere.
	for _, path := range []*string{&o.configFile, &o.trust, &o.dir} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = absolute
	}
	made, err := o.makeLedger()
	if err != nil {
		return err
	}
	// All is looked at before anything is written, and nothing is overwritten.
	for _, f := range made.files {
		if _, err := os.Lstat(f.name); !errors.Is(err, fs.ErrNotExist) {
			return cli.WithHint(cli.Usagef("%s is there already", f.name), "a ledger's keys are made once; move what is there away if it is nobody's")
		}
	}
	for _, f := range made.files {
		if err := f.write(); err != nil {
			return cli.Usagef("%w", err)
		}
	}
	if _, err := trustdir.Read(o.trust); err != nil {
		return err
	}
	fmt.Fprintf(o.stderr, "The trust folder is %s: give it to auditors and hosts by a way of its own.\nThe keys are in %s: keep a copy where the ledger is not.\n", o.trust, filepath.Dir(o.configFile))
	if made.quorum == 0 {
		fmt.Fprintln(o.stderr, "No witness: nobody but you can say that the log was not rewritten, and no time is proven.")
	}
	_, err = fmt.Fprintln(stdout, made.vkey)
	return err
}

// A newLedger is the files of a ledger that is being made.
type newLedger struct {
	files  []newFile
	vkey   string // of the log
	quorum int
}

type newFile struct {
	name    string
	content string
	mode    os.FileMode
}

func (f newFile) write() (err error) {
	if err := os.MkdirAll(filepath.Dir(f.name), 0o755); err != nil {
		return err
	}
	w, err := os.OpenFile(f.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, f.content)
	return errors.Join(err, w.Sync(), w.Close())
}

func (o *options) makeLedger() (*newLedger, error) {
	m := &newLedger{}
	dir := filepath.Dir(o.configFile)
	vkeys := make(map[string]string)
	for kind, name := range map[string]string{"log": o.origin, "registrar": o.origin + "/registrar", "operator": o.origin + "/operator"} {
		skey, vkey, err := note.GenerateKey(rand.Reader, name)
		if err != nil {
			return nil, err
		}
		vkeys[kind] = vkey
		m.files = append(m.files, newFile{filepath.Join(dir, kind+".key"), skey + "\n", 0o600})
	}
	m.vkey = vkeys["log"]
	policy, err := o.init.policy(m)
	if err != nil {
		return nil, err
	}
	rules := ledger.TrustRulesFormat + "\nregistrar " + vkeys["registrar"] + "\nregistrars 1\noperator " + vkeys["operator"] + "\n"
	for _, g := range o.init.grades {
		rules += "grade " + g + "\n"
	}
	if _, err := ledger.ParseTrust([]byte(policy), []byte(rules)); err != nil {
		return nil, cli.WithHint(cli.Usagef("%w", err), "--witness \"NAME VKEY URL\"; --grade certificate, pinned or first-use")
	}
	m.files = append(m.files,
		newFile{filepath.Join(o.trust, ledger.TrustPolicyFile), policy, 0o644},
		newFile{filepath.Join(o.trust, ledger.TrustRulesFile), rules, 0o644},
		newFile{o.configFile, configText(map[string]string{
			"dir": o.dir, "trust": o.trust, "listen": o.listen,
			"key": filepath.Join(dir, "log.key"), "registrar": filepath.Join(dir, "registrar.key"),
		}), 0o644})
	slices.SortFunc(m.files, func(a, b newFile) int { return strings.Compare(a.name, b.name) })
	return m, nil
}

// policy writes the policy's file.
func (i *initOptions) policy(m *newLedger) (string, error) {
	text := "log " + m.vkey + "\n"
	var names []string
	for _, w := range i.witnesses {
		fields := strings.Fields(w)
		if len(fields) != 3 {
			return "", cli.WithHint(cli.Usagef("--witness %q", w), "three fields: a name of your choice, the witness's verifier key, its URL")
		}
		names = append(names, fields[0])
		text += "witness " + strings.Join(fields, " ") + "\n"
	}
	m.quorum = i.quorum
	if m.quorum == 0 && len(names) > 0 {
		m.quorum = len(names)/2 + 1
	}
	switch {
	case m.quorum < 0 || m.quorum > len(names):
		return "", cli.Usagef("--quorum %d of %d witnesses", i.quorum, len(names))
	case m.quorum == 0:
		return text + "quorum none\n", nil
	}
	return fmt.Sprintf("%sgroup quorum %d %s\nquorum quorum\n", text, m.quorum, strings.Join(names, " ")), nil
}

// configText is a configuration file with every option, what it is and what it is
// by default; those that are given are set.
func configText(set map[string]string) string {
	var b strings.Builder
	b.WriteString("# Configuration of imaledgerd. A line is an option's name, a space, and its value.\n# What stands behind a # is what holds without the line.\n")
	all := flag.NewFlagSet("", flag.ContinueOnError)
	new(options).flags(all, "")
	all.VisitAll(func(f *flag.Flag) {
		_, usage := flag.UnquoteUsage(f)
		fmt.Fprintf(&b, "\n# %s\n", usage)
		if v, given := set[f.Name]; given {
			fmt.Fprintf(&b, "%s %s\n", f.Name, v)
		} else {
			fmt.Fprintf(&b, "#%s\n", strings.TrimRight(" "+f.Name+" "+f.DefValue, " "))
		}
	})
	return b.String()
}
