package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/gather"
	"github.com/imaledger/imaledger/tpm/ima"
)

func newRecordCommand() *cobra.Command {
	var r remote
	var s selection
	var short, sealed, asJSON bool
	var out string
	cmd := &cobra.Command{
		Use:   "record --ledger URL --trust DIR --host HOST … --out NAME",
		Short: "Prove one record, and disclose nothing of the others",
		Long: `record writes a proof of one record of a segment to NAME.record, and the segment
without its records, with its proof and enrolment, to NAME.tar. Whoever holds both
files verifies with imaledger verify --record NAME.record NAME.tar.

--short has the record's Merkle path, some hundred bytes: it proves what host and ledger
committed to. That the TPM's quote covers it rests on the ledger's check, or on an
auditor's cosignature. --sealed has of each other record its register and digests, about
52 bytes: that replays to the quote, so the TPM proves it, and who guesses another
record can check the guess.`,
		Example: `  imaledger record --ledger https://ledger.example/ --trust trust/ --host web1.example --path /usr/sbin/sshd --sealed --out sshd
  imaledger verify --trust trust/ --record sshd.record sshd.tar`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.noted(cmd); err != nil {
				return err
			}
			if !s.hasRecord && s.path == "" && s.digest == "" {
				return cli.WithHint(cli.Usagef("which record?"), "say --path, --digest or --record; prove takes the whole segment")
			}
			if err := r.open(); err != nil {
				return err
			}
			l, err := gather.Open(cmd.Context(), r.client, r.trust)
			if err != nil {
				return answered(err)
			}
			found, err := s.find(cmd.Context(), l)
			if err != nil {
				return err
			}
			p, evidence, err := recordProof(cmd.Context(), cmd.OutOrStdout(), l, found, sealed)
			if err != nil {
				return err
			}
			defer evidence.Close()
			if err := os.WriteFile(out+".record", p.Marshal(), 0o644); err != nil {
				return cli.Usagef("%w", err)
			}
			var rest []ledger.BundleSource
			for _, source := range evidence.Sources {
				if source.Folder != ledger.FolderPayloads {
					rest = append(rest, source)
				}
			}
			if err := writeBundle(out+".tar", rest); err != nil {
				return cli.Usagef("%w", err)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "the proof is in %s.record, what it stands on in %s.tar\n", out, out)
			checked, err := verifyFile(l.Trust, out+".tar")
			if err != nil {
				return err
			}
			return checkRecordProof(cmd.OutOrStdout(), l.Trust, out+".record", out+".tar", checked, asJSON)
		},
	}
	r.flags(cmd)
	s.flags(cmd)
	f := cmd.Flags()
	f.BoolVar(&short, "short", false, "the record's Merkle path: what was committed to (the default)")
	f.BoolVar(&sealed, "sealed", false, "the other records' digests: what the TPM quoted")
	f.StringVar(&out, "out", "", "`name` of the files, without .record and .tar (required)")
	f.BoolVar(&asJSON, "json", false, "print the report as JSON")
	cmd.MarkFlagsMutuallyExclusive("short", "sealed")
	if err := cmd.MarkFlagRequired("out"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

// A recordReport is what a record proof shows.
type recordReport struct {
	Verdict   string           `json:"verdict"`
	Host      string           `json:"host,omitempty"`
	Sequence  uint64           `json:"sequence"` // of the segment
	Index     uint64           `json:"index"`    // of the record in the segment
	Form      string           `json:"form,omitempty"`
	Statement string           `json:"statement,omitempty"`
	Bound     bool             `json:"bound"` // whether a register binds what the record says
	Path      string           `json:"path,omitempty"`
	Digests   []string         `json:"digests,omitempty"`
	PCR       uint32           `json:"pcr"`
	Template  string           `json:"template,omitempty"`
	Findings  []ledger.Finding `json:"findings"`
	Segment   *audit.Segment   `json:"segment,omitempty"`
}

// checkRecordProof verifies a record proof against the bundle that has its segment.
// Of the bundle the records alone may be missing.
func checkRecordProof(w io.Writer, trust *ledger.Trust, recordFile, bundleFile string, bundle *audit.Report, asJSON bool) error {
	raw, err := readLimited(recordFile, 2*ledger.MaxRecord+ledger.MaxSealedRecords*256)
	if err != nil {
		return err
	}
	r := &recordReport{Findings: []ledger.Finding{}}
	var claim *audit.RecordClaim
	var seg *ledger.Segment
	p, err := ledger.ParseRecordProof(raw)
	if err != nil {
		r.Findings = append(r.Findings, ledger.Finding{Code: ledger.ProofMalformed, Subject: recordFile, Text: err.Error()})
	} else if seg, err = segmentIn(bundleFile, p.Leaf); err != nil {
		return err
	} else if seg == nil {
		r.Findings = append(r.Findings, ledger.Finding{Code: ledger.EntryMissing, Subject: recordFile, Text: fmt.Sprintf("it is of segment %x, which is not in %s", p.Leaf[:6], bundleFile)})
	} else {
		var found []ledger.Finding
		claim, found = audit.CheckRecord(seg, p)
		r.Findings = append(r.Findings, found...)
	}
	for _, f := range bundle.Findings {
		if f.Code != ledger.PayloadMissing { // which is the point of it
			r.Findings = append(r.Findings, f)
		}
	}
	class := ledger.Worst(r.Findings)
	r.Verdict = verdictOf(class)
	if claim != nil && class != ledger.Contradicted {
		if err := r.fill(seg, p, claim, bundle); err != nil {
			return err
		}
	}
	if asJSON {
		err = printJSON(w, r)
	} else {
		err = r.print(w, trust, seg, p)
	}
	return exitWith(err, class)
}

func (r *recordReport) fill(seg *ledger.Segment, p *ledger.RecordProof, claim *audit.RecordClaim, bundle *audit.Report) error {
	rec, err := parseRecord(seg, claim.Raw)
	if err != nil {
		return err
	}
	facts := rec.Facts()
	r.Host, r.Sequence, r.Index, r.Statement, r.Bound = seg.Host, seg.Sequence, p.Index, claim.Statement(), claim.Bound
	r.Path, r.PCR, r.Template, r.Form = ima.Printable([]byte(facts.Path)), facts.PCR, ima.Printable(rec.Template), "short"
	if claim.Sealed {
		r.Form = "sealed"
	}
	for _, d := range facts.Digests {
		r.Digests = append(r.Digests, d.String())
	}
	for _, s := range bundle.Segments {
		if s.Host == seg.Host && s.Sequence == seg.Sequence {
			r.Segment = s
		}
	}
	return nil
}

func (r *recordReport) print(w io.Writer, trust *ledger.Trust, seg *ledger.Segment, p *ledger.RecordProof) error {
	out := &printer{w: w}
	switch ledger.Worst(r.Findings) {
	case ledger.Noted:
		out.f("VERIFIED\n\n")
	case ledger.Contradicted:
		out.f("CONTRADICTED: the evidence does not hold.\n\n")
	default:
		out.f("UNDECIDED: evidence is missing. What is said below holds as far as it goes.\n\n")
	}
	if out.err == nil && r.Statement != "" {
		out.err = describeRecord(w, seg, p)
		out.f("  %s form: %s.\n", r.Form, r.Statement)
		if r.Segment != nil {
			out.f("  the segment: boot reset %d, quoted not before %s and not after %s\n", r.Segment.ResetCount, audit.Time(r.Segment.NotBefore), audit.Time(r.Segment.NotAfter))
		}
		out.f("\n")
	}
	for _, f := range r.Findings {
		out.f("  %s\n", f)
	}
	return out.err
}

// segmentIn returns a segment of a bundle that was verified, nil where it has none.
func segmentIn(bundleFile string, leaf ledger.Hash) (*ledger.Segment, error) {
	f, err := os.Open(bundleFile)
	if err != nil {
		return nil, cli.Undecidedf("evidence: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, cli.Undecidedf("evidence: %w", err)
	}
	b, err := ledger.OpenBundle(f, info.Size())
	if err != nil {
		return nil, nil // verify has said why
	}
	raw, found, err := b.Read(ledger.FolderLeaves, leaf)
	if err != nil || !found {
		return nil, err
	}
	seg, err := ledger.ParseSegment(raw)
	if err != nil {
		return nil, nil // which the bundle's check has found
	}
	return seg, nil
}

// parseRecord reads one raw record of a segment.
func parseRecord(seg *ledger.Segment, raw []byte) (*ima.Record, error) {
	r, err := audit.NewListReader(seg, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	return r.Next()
}
