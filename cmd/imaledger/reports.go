package main

import (
	"io"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

// A checkedBundle is a bundle and what its check gave.
type checkedBundle struct {
	File string
	*audit.Report
}

// A bundleJSON is a report as JSON: JSON.md documents it.
type bundleJSON struct {
	File       string   `json:"file,omitempty"`
	Verdict    string   `json:"verdict"`
	Statements []string `json:"statements"`
	*audit.Report
}

func (b *checkedBundle) json() *bundleJSON {
	// A list is a list also where it is empty: null breaks the reader who loops over it.
	b.Findings, b.Segments = notNull(b.Findings), notNull(b.Segments)
	j := &bundleJSON{Verdict: verdict(b.Report), Statements: []string{}, Report: b.Report}
	if b.Class() != ledger.Contradicted { // else nothing is stated
		j.Statements = notNull(b.Report.Statements())
	}
	return j
}

// across holds bundles to one another.
func across(checked []*checkedBundle) []ledger.Finding {
	var names []string
	var reports []*audit.Report
	for _, c := range checked {
		names, reports = append(names, c.File), append(reports, c.Report)
	}
	return audit.Across(names, reports)
}

// worstOf returns the verdict of several bundles.
func worstOf(checked []*checkedBundle) ledger.Class {
	found := across(checked)
	for _, c := range checked {
		found = append(found, c.Findings...)
	}
	return ledger.Worst(found)
}

// printReports prints one report, or several and what they say of one another.
func printReports(w io.Writer, trust *ledger.Trust, checked []*checkedBundle, asJSON bool) error {
	together := across(checked)
	switch {
	case len(checked) == 1 && asJSON:
		return printJSON(w, checked[0].json())
	case len(checked) == 1:
		return printReport(w, trust, checked[0].Report)
	case asJSON:
		all := struct {
			Verdict  string           `json:"verdict"`
			Findings []ledger.Finding `json:"findings"` // of bundles held to one another
			Bundles  []*bundleJSON    `json:"bundles"`
		}{Verdict: verdictOf(worstOf(checked)), Findings: notNull(together)}
		for _, c := range checked {
			one := c.json()
			one.File = c.File
			all.Bundles = append(all.Bundles, one)
		}
		return printJSON(w, all)
	}
	p := &printer{w: w}
	for _, c := range checked {
		p.f("%s: ", c.File)
		if p.err == nil {
			p.err = printReport(w, trust, c.Report)
		}
		p.f("\n")
	}
	if len(together) > 0 {
		p.f("CONTRADICTED: the bundles do not belong to one history.\n\n")
		for _, f := range together {
			p.f("  %s\n", f)
		}
	} else {
		p.f("Nothing in one of the %d bundles contradicts another.\n", len(checked))
	}
	return p.err
}
