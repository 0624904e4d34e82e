package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/keys"
	"github.com/imaledger/imaledger/cmd/internal/trustdir"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/export"
	"github.com/imaledger/imaledger/tpm/ima"
)

// Formats that are of the evidence and not of its records alone.
const (
	formatKeylime = "keylime"
	formatInToto  = "in-toto"
)

type exportFlags struct {
	trust, format, host, bank, out, policy, sign string
	boot                                         int64
	partial                                      bool
	keys                                         keys.Reader
}

func newExportCommand() *cobra.Command {
	var f exportFlags
	cmd := &cobra.Command{
		Use:   "export --trust DIR --format FORMAT [--host HOST] [--boot N] [--out FILE] EVIDENCE",
		Short: "Hand on what evidence proves, in formats that others read",
		Long: `export verifies a bundle of evidence as verify does, and writes the records that it
proves in another format. What contradicts is never exported; where evidence is
missing nothing is, unless --partial asks for the rest.

  binary    the kernel's binary_runtime_measurements, of --bank (sha1): where the
            records were read in that bank, the kernel's bytes
  ascii     the kernel's ascii_runtime_measurements. The kernel escapes nothing:
            a file name with a line break makes two lines of one record
  cel-json  the TCG's Canonical Event Log, version 1.1, with each record's digest
  cel-tlv   in every quoted bank
  cel-cbor
  jsonl     JSON Lines: all that is known of a record, and how far it is proven
  csv       a table, for spreadsheets: no name is a formula in it
  keylime   quote, AK, EK and list as Keylime's verifier takes them (POST
            /verify/evidence); with --policy, its runtime policy too. The host's
            agent must have "quote all" in its configuration
  in-toto   what verify finds, as an in-toto statement in a DSSE envelope that
            --sign signs, whatever the verdict is

All but jsonl, csv and in-toto are lists of one boot, from its first record on:
--host and --boot (the TPM's reset count) say which, where there are several.

Exit codes: 0 all of it, 1 contradicted, 2 wrong usage, 3 evidence is missing, or
the format has no form for it.`,
		Example: `  imaledger export --trust trust/ --format csv evidence.tar
  imaledger export --trust trust/ --format binary --out list evidence.tar
  imaledger export --trust trust/ --format in-toto --sign key.pem evidence.tar`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.trust, "trust", "", "trust folder (required)")
	flags.StringVar(&f.format, "format", "", "binary, ascii, cel-json, cel-tlv, cel-cbor, jsonl, csv, keylime or in-toto (required)")
	flags.StringVar(&f.host, "host", "", "records of this host alone")
	flags.Int64Var(&f.boot, "boot", -1, "records of the boot with this reset count of the TPM alone")
	flags.StringVar(&f.bank, "bank", "sha1", "whose digests the kernel's formats have")
	flags.StringVar(&f.out, "out", "", "file to write; standard output if there is none")
	flags.StringVar(&f.policy, "policy", "", "runtime policy to hand to Keylime with the evidence, a file")
	flags.BoolVar(&f.partial, "partial", false, "export what verifies, although evidence is missing; the exit code is 3")
	flags.StringVar(&f.sign, "sign", "", "private key that signs the statement: a file, or URI of a KMS")
	flags.StringVar(&f.keys.PasswordFile, "password-file", "", "file with the password of an encrypted key; or set "+keys.PasswordVariable)
	for _, name := range []string{"trust", "format"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is defined above
		}
	}
	return cmd
}

func (f *exportFlags) run(cmd *cobra.Command, name string) (err error) {
	format, err := f.find()
	if err != nil {
		return err
	}
	trust, err := trustdir.Read(f.trust)
	if err != nil {
		return err
	}
	e, err := openEvidence(trust, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if f.format == formatInToto {
		return f.writeInToto(cmd, e)
	}
	class, err := e.usable(cmd.ErrOrStderr(), f.partial)
	if err != nil {
		return err
	}
	segments, err := f.choose(e, format)
	if err != nil {
		return err
	}
	if format.Whole && !boot(segments).whole() {
		class = ledger.Undecided
		if !f.partial || f.format == formatKeylime {
			return cli.WithHint(cli.Undecidedf("%s: the evidence begins in the middle of the boot, and who reads %s replays it from the first record", boot(segments), f.format),
				"get evidence from the boot's begin; or --partial, or --format jsonl, which says where each record stands")
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: it does not replay from zero\n", boot(segments))
	}
	if format.Binary && f.out == "" && onTerminal(cmd.OutOrStdout()) {
		return cli.WithHint(cli.Usagef("%s is not for a terminal", f.format), "give --out FILE, or a pipe")
	}
	w, done, err := create(f.out, cmd.OutOrStdout())
	if err != nil {
		return err
	}
	if err := done(f.write(w, e, format, segments)); err != nil {
		return exportError(err, f.out)
	}
	return exitWith(nil, class)
}

// find checks what can be wrong with the flags before anything is read.
func (f *exportFlags) find() (format export.Format, err error) {
	if (f.sign != "") != (f.format == formatInToto) {
		return format, cli.WithHint(cli.Usagef("--format %s goes with --sign, and no other format does", formatInToto), "imaledger keygen makes a key; any PEM key does")
	}
	if f.policy != "" && f.format != formatKeylime {
		return format, cli.Usagef("--policy goes with --format %s alone; imaledger appraise judges by a policy", formatKeylime)
	}
	switch f.format {
	case formatKeylime, formatInToto:
		return export.Format{Name: f.format, Whole: f.format == formatKeylime}, nil
	}
	if format, err = export.Find(f.format); err != nil {
		return format, cli.Usagef("--format: %w, %s or %s", err, formatKeylime, formatInToto)
	}
	bank, err := ima.ParseBank(f.bank)
	if err == nil && !bank.Available() {
		err = fmt.Errorf("bank %s: %w", bank, ima.ErrUnavailable)
	}
	if err != nil {
		return format, cli.Usagef("--bank: %w", err)
	}
	return format, nil
}

// usable tells whether records may be taken from the evidence. What verify would say is
// said on stderr.
func (e *evidence) usable(stderr io.Writer, partial bool) (ledger.Class, error) {
	class := e.report.Class()
	if class == ledger.Noted {
		return class, nil
	}
	p := &printer{w: stderr}
	for _, finding := range e.report.Findings {
		if finding.Class() != ledger.Noted {
			p.f("%s\n", finding)
		}
	}
	switch {
	case p.err != nil:
		return class, p.err
	case class == ledger.Contradicted:
		return class, cli.WithHint(cli.Contradictedf("%s is contradicted: nothing of it is handed on", e.name), "imaledger verify says all that was found")
	case !partial:
		return class, cli.WithHint(cli.Undecidedf("%s is undecided: evidence is missing", e.name), "--partial goes on with the records that verify")
	}
	return class, nil
}

// choose returns the segments that are asked for: of one boot, where the format is a
// list.
func (f *exportFlags) choose(e *evidence, format export.Format) ([]*evidenceSegment, error) {
	segments := slices.DeleteFunc(slices.Clone(e.segments), func(s *evidenceSegment) bool {
		return f.host != "" && s.Host != f.host || f.boot >= 0 && uint64(s.report.ResetCount) != uint64(f.boot)
	})
	if len(segments) == 0 {
		return nil, cli.WithHint(cli.Undecidedf("%s has no records that verify and were asked for", e.name), "imaledger verify says which hosts and boots are in it")
	}
	list := divide(segments)
	if !format.Whole || len(list) == 1 {
		return segments, nil
	}
	var texts []string
	for _, b := range list {
		texts = append(texts, b.String())
	}
	return nil, cli.WithHint(cli.Usagef("%s is one list, and the evidence has %d: %s", f.format, len(list), strings.Join(texts, "; ")), "choose one with --host and --boot; a gap begins a new one")
}

// write writes the records in a format.
func (f *exportFlags) write(out io.Writer, e *evidence, format export.Format, segments []*evidenceSegment) error {
	var w export.Writer
	if f.format == formatKeylime {
		k, err := f.keylime(e, segments[len(segments)-1])
		if err == nil {
			w, err = export.NewKeylime(out, k)
		}
		if err != nil {
			return err
		}
	} else {
		bank, err := ima.ParseBank(f.bank)
		if err != nil {
			return err
		}
		w = format.New(out, export.Options{Bank: bank, Records: boot(segments).records()})
	}
	if err := e.each(segments, w.Write); err != nil {
		return err
	}
	return w.Close()
}

// exportError classes what kept a format from being written.
func exportError(err error, out string) error {
	var unfit *export.UnfitError
	switch {
	case errors.As(err, &unfit):
		return cli.WithHint(cli.Undecidedf("%w", err), "--format jsonl has a form for every record")
	case errors.Is(err, export.ErrKeylime):
		return cli.WithHint(cli.Undecidedf("%w", err), "the evidence is as good as before: --format ascii gives Keylime's policies the list alone")
	}
	return cli.Undecidedf("%s: %w", cmp.Or(out, "standard output"), err)
}

// create opens what is written to. done keeps the file if all went well, and else
// removes it: half a list must not be taken for one.
func create(name string, stdout io.Writer) (w io.Writer, done func(error) error, err error) {
	if name == "" {
		b := bufio.NewWriter(stdout)
		return b, func(err error) error { return errors.Join(err, b.Flush()) }, nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, nil, cli.WithHint(cli.Usagef("--out: %w", err), "give the name of a file that is not there yet")
	}
	b := bufio.NewWriter(f)
	return b, func(err error) error {
		if err = errors.Join(err, b.Flush(), f.Close()); err != nil {
			err = errors.Join(err, os.Remove(name))
		}
		return err
	}, nil
}
