package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/appraise"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/export"
	"github.com/imaledger/imaledger/tpm/ima"
)

const appraisalReportFormat = "imaledger/appraisal-report/v1"

// An appraisalReport is what appraise prints with --json, and what an appraisal in the
// log has beside it. Its keys are stable.
type appraisalReport struct {
	Format   string            `json:"format"`
	Verdict  appraise.Verdict  `json:"verdict"`
	Evidence appraisedEvidence `json:"evidence"`
	Policy   *appraisalPolicy  `json:"policy"`
	appraise.Summary
	Findings  []ledger.Finding `json:"findings"`
	Statement *stated          `json:"statement,omitempty"` // in the log; not in its own report
	// Items are what was judged. They are never in memory all at once: see writeJSON.
	Items []appraisedRecord `json:"items,omitempty"`

	shown []appraisedRecord // the first that did not pass
	items *os.File          // every record, a line of JSON each
	w     *bufio.Writer
}

type appraisedEvidence struct {
	Name    string `json:"name"`
	Digest  string `json:"sha256,omitempty"`
	Verdict string `json:"verdict"` // verified, undecided, contradicted; none of a list that nothing proves
}

// An appraisedRecord is a record and the verdict on it.
type appraisedRecord struct {
	Host    string `json:"host,omitempty"`
	Boot    uint32 `json:"boot"`
	Index   uint64 `json:"index"`
	Segment string `json:"segment,omitempty"`
	PCR     uint32 `json:"pcr"`
	Path    string `json:"path,omitempty"`
	Digest  string `json:"digest,omitempty"`
	appraise.Judgement
}

// maxShown is how many records the text has that did not pass, unless all are wanted.
const maxShown = 20

// newAppraisalReport begins a report. Its records are kept in a file without a name: a
// fleet's are more than memory should hold.
func newAppraisalReport(p *appraisalPolicy) (*appraisalReport, error) {
	f, err := os.CreateTemp("", "imaledger-appraisal-")
	if err != nil {
		return nil, cli.Undecidedf("%w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, cli.Undecidedf("%w", errors.Join(err, f.Close()))
	}
	r := &appraisalReport{Format: appraisalReportFormat, Policy: p, Findings: []ledger.Finding{}, items: f, w: bufio.NewWriter(f)}
	r.Rules = []appraise.RuleCount{}
	return r, nil
}

func (r *appraisalReport) close() error { return r.items.Close() }

func (r *appraisalReport) add(rec *export.Record, j appraise.Judgement) error {
	r.Summary.Add(j)
	item := appraisedRecord{Host: rec.Host, Boot: rec.Boot, Index: rec.Number, Segment: rec.Segment, PCR: rec.PCR, Judgement: j}
	if f, err := rec.Fields(); err == nil && f.Format != nil {
		item.Path = ima.Printable(f.Path)
		if f.Digest.Algorithm != "" {
			item.Digest = ima.Printable([]byte(f.Digest.String()))
		}
	}
	if j.Verdict != appraise.Passed && len(r.shown) < maxShown {
		r.shown = append(r.shown, item)
	}
	text, err := json.Marshal(item)
	if err != nil {
		return err
	}
	_, err = r.w.Write(append(text, '\n'))
	return err
}

// decide gives the verdict on all: evidence that does not hold fails whatever the policy
// says, and where some is missing nothing has passed.
func (r *appraisalReport) decide(class ledger.Class) {
	r.Verdict = r.Summary.Verdict()
	switch {
	case class == ledger.Contradicted:
		r.Verdict = appraise.Failed
	case class == ledger.Undecided && r.Verdict == appraise.Passed:
		r.Verdict = appraise.Undecided
	}
}

// eachItem calls f for every record that was judged, with its line of JSON.
func (r *appraisalReport) eachItem(f func(line []byte, item *appraisedRecord) error) error {
	if err := r.w.Flush(); err != nil {
		return err
	}
	lines := bufio.NewReader(io.NewSectionReader(r.items, 0, 1<<62))
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var item appraisedRecord
		if err := json.Unmarshal(line, &item); err != nil {
			return err
		}
		if err := f(line[:len(line)-1], &item); err != nil {
			return err
		}
	}
}

// writeJSON writes the report with its items: those that did not pass, or all.
func (r *appraisalReport) writeJSON(w io.Writer, all bool) error {
	head, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	b := bufio.NewWriter(w)
	b.Write(head[:len(head)-2]) // without the brace; errors stay with b
	b.WriteString(",\n  \"items\": [")
	comma := "\n    "
	err = r.eachItem(func(line []byte, item *appraisedRecord) error {
		if !all && item.Verdict == appraise.Passed {
			return nil
		}
		b.WriteString(comma)
		comma = ",\n    "
		_, err := b.Write(line)
		return err
	})
	if err != nil {
		return err
	}
	if comma != "\n    " {
		b.WriteString("\n  ")
	}
	b.WriteString("]\n}\n")
	return b.Flush()
}

// addendum writes the whole report to a file without a name, and returns it with its
// size and digest.
func (r *appraisalReport) addendum() (*os.File, ledger.Addendum, error) {
	f, err := os.CreateTemp("", "imaledger-report-")
	if err != nil {
		return nil, ledger.Addendum{}, err
	}
	if err = os.Remove(f.Name()); err != nil {
		return nil, ledger.Addendum{}, errors.Join(err, f.Close())
	}
	c := &hashedCount{w: f, hash: sha256.New()}
	if err = r.writeJSON(c, true); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, ledger.Addendum{}, errors.Join(err, f.Close())
	}
	return f, ledger.Addendum{Size: c.n, Digest: ledger.Hash(c.hash.Sum(nil))}, nil
}

type hashedCount struct {
	w    io.Writer
	hash hash.Hash
	n    uint64
}

func (c *hashedCount) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.hash.Write(b[:n])
	c.n += uint64(n)
	return n, err
}

// print writes the report for people.
func (r *appraisalReport) print(w io.Writer, all bool) error {
	p := &printer{w: w}
	heading := strings.ToUpper(string(r.Verdict))
	if r.Evidence.Verdict == ledger.Contradicted.String() {
		heading = "CONTRADICTED"
	}
	p.f("%s: %s by policy %.12s…: %d passed, %d failed, %d undecided\n\n", heading, audit.Count(r.Records, "record"), r.Policy.Digest, r.Passed, r.Failed, r.Undecided)
	for _, c := range r.Rules {
		p.f("  %-28s %-9s %d\n", c.Rule, c.Verdict, c.Records)
	}
	p.f("\n")
	if all {
		if err := r.eachItem(func(_ []byte, item *appraisedRecord) error { item.print(p); return p.err }); err != nil {
			return err
		}
		p.f("\n")
	} else if len(r.shown) > 0 {
		for _, item := range r.shown {
			item.print(p)
		}
		if more := r.Failed + r.Undecided - uint64(len(r.shown)); more > 0 {
			p.f("  and %d more that did not pass; --json has them all\n", more)
		}
		p.f("\n")
	}
	for _, f := range r.Findings {
		p.f("  %s\n", f)
	}
	if r.Weak > 0 {
		p.f("  %s passed by a digest of SHA-1 or MD5 alone: two files can be made with one.\n", audit.Count(r.Weak, "record"))
	}
	switch r.Evidence.Verdict {
	case "none":
		p.f("  Nothing proves that %s is what a machine measured: replay it against a quote, or appraise evidence.\n", r.Evidence.Name)
	case "verified":
		p.f("  The evidence is verified: this is what was measured, as imaledger verify says of it.\n")
	case "contradicted":
		p.f("  The evidence is contradicted: no record of it was judged.\n")
	default:
		p.f("  The evidence is undecided: only the records that verify were judged.\n")
	}
	if r.Statement != nil {
		p.f("  On record: entry %s at index %d.\n", r.Statement.Leaf, r.Statement.Index)
	}
	return p.err
}

func (i *appraisedRecord) print(p *printer) {
	name := i.Host
	if name != "" {
		name += fmt.Sprintf(" boot %d ", i.Boot)
	}
	detail := ""
	if i.Detail != "" {
		detail = ": " + i.Detail
	}
	p.f("  %s%d  %s  %s by %s%s\n", name, i.Index, i.Path, i.Verdict, i.Rule, detail)
}
