package main

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

//go:embed report.html
var reportHTML string

var reportTemplate = template.Must(template.New("report").Parse(reportHTML))

// A htmlReport is what the page is made of.
type htmlReport struct {
	Made, Version, Verdict string
	Together               []string
	Bundles                []htmlBundle
	Logs, Witnesses        []string // verifier keys
	Registrars, Operators  []string // name and key ID
	Quorum, Grades, Reason string
	Threshold              int
}

type htmlBundle struct {
	*audit.Report
	File, Verdict, Digest, WitnessedAt string
	Bytes                              int64
	Statements                         []string
	Segments                           []htmlSegment
}

type htmlSegment struct {
	*audit.Segment
	Records, Since, Until string
}

// writeHTMLReport writes the page to a file.
func writeHTMLReport(name string, trust *ledger.Trust, checked []*checkedBundle) error {
	r := &htmlReport{Made: audit.Time(uint64(time.Now().Unix())), Version: cli.Version(), Verdict: verdictOf(worstOf(checked)), Reason: trust.Reason, Threshold: trust.Threshold}
	for _, f := range across(checked) {
		r.Together = append(r.Together, f.String())
	}
	for _, k := range trust.Policy.Logs() {
		r.Logs = append(r.Logs, k.VKey)
	}
	for _, k := range trust.Policy.Witnesses() {
		r.Witnesses = append(r.Witnesses, k.VKey)
	}
	r.Quorum = fmt.Sprintf("%d witnesses at the fewest", trust.Policy.QuorumSize())
	keyNames := func(list []note.Verifier) (names []string) {
		for _, k := range list {
			names = append(names, fmt.Sprintf("%s+%08x", k.Name(), k.KeyHash()))
		}
		return names
	}
	r.Registrars, r.Operators = keyNames(trust.Registrars), keyNames(trust.Operators)
	var grades []string
	for _, g := range trust.Grades {
		grades = append(grades, string(g))
	}
	r.Grades = strings.Join(grades, ", ")
	for _, c := range checked {
		b := htmlBundle{Report: c.Report, File: c.File, Verdict: verdict(c.Report), WitnessedAt: audit.Time(c.Witnessed), Statements: c.Statements()}
		var err error
		if b.Digest, b.Bytes, err = digestOf(c.File); err != nil {
			return err
		}
		for _, s := range c.Report.Segments {
			h := htmlSegment{Segment: s, Records: "none", Since: audit.Time(s.NotBefore), Until: audit.Time(s.NotAfter)}
			if s.Count > 0 {
				h.Records = fmt.Sprintf("%d to %d", s.First, s.First+s.Count-1)
			}
			b.Segments = append(b.Segments, h)
		}
		r.Bundles = append(r.Bundles, b)
	}
	var page bytes.Buffer
	if err := reportTemplate.Execute(&page, r); err != nil {
		return err
	}
	if err := os.WriteFile(name, page.Bytes(), 0o644); err != nil {
		return cli.Usagef("--report: %w", err)
	}
	return nil
}

func digestOf(name string) (digest string, size int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return "", 0, cli.Undecidedf("%w", err)
	}
	h := sha256.New()
	size, err = io.Copy(h, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", 0, cli.Undecidedf("%w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}
