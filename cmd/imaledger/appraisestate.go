package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/appraise"
)

// state puts the verdict into the log, with the report beside it.
func (f *appraiseFlags) state(ctx context.Context, r *appraisalReport, e *evidence) (err error) {
	last, err := e.signable(r)
	if err != nil {
		return err
	}
	leaf, err := ledger.ParseHash(last.report.Leaf)
	if err != nil {
		return err
	}
	o := &operator{url: f.ledger, trustDir: f.trust, key: f.sign, wait: f.wait, keys: f.keys}
	if err := o.open(ctx); err != nil {
		return err
	}
	origin, err := o.origin(ctx)
	if err != nil {
		return err
	}
	if origin != last.Log {
		return cli.WithHint(cli.Usagef("the evidence is of log %s, and %s is log %s", last.Log, f.ledger, origin), "give the URL of the ledger that the evidence came from")
	}
	file, addendum, err := r.addendum()
	if err != nil {
		return cli.Undecidedf("report: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	r.Statement, err = o.stateWith(ctx, &ledger.Appraisal{
		Log: origin, Host: last.Host, Segment: leaf, Passed: r.Verdict == appraise.Passed, Policy: r.Policy.digest, Report: addendum, Time: uint64(time.Now().Unix()),
	}, addendum, file)
	return err
}

// signable returns the last segment that a statement would cover. It covers all that the
// host has measured up to there, so that is what must have been judged.
func (e *evidence) signable(r *appraisalReport) (*evidenceSegment, error) {
	hint := func(err error) error {
		return cli.WithHint(err, "nothing was put on record; verify says what the evidence lacks")
	}
	switch {
	case e.report.Class() == ledger.Contradicted:
		return nil, hint(cli.Contradictedf("%s is contradicted: nothing is put on record", e.name))
	case e.report.Class() != ledger.Noted:
		return nil, hint(cli.Undecidedf("%s is %s: a verdict on it would claim more than was seen", e.name, verdict(e.report)))
	case len(e.segments) == 0:
		return nil, hint(cli.Undecidedf("%s has no records", e.name))
	case r.Verdict == appraise.Undecided:
		return nil, cli.WithHint(cli.Undecidedf("the policy leaves records undecided, and a verdict in the log is passed or failed"), "the records are listed above")
	}
	first, last := e.segments[0], e.segments[len(e.segments)-1]
	if slices.ContainsFunc(e.segments, func(s *evidenceSegment) bool { return s.Host != last.Host || s.Log != last.Log }) {
		return nil, cli.WithHint(cli.Usagef("the evidence is of several hosts or logs, and a verdict is on one host in one log"), "give a bundle for each")
	}
	if r.Verdict == appraise.Failed {
		return last, nil // what fails fails whatever stands before it
	}
	begins := !slices.ContainsFunc(e.report.Findings, func(f ledger.Finding) bool { return f.Code == ledger.HistoryPartial })
	for entry, err := range e.entries() {
		if err != nil {
			return nil, cli.Undecidedf("%s: %w", e.name, err)
		}
		if a, ok := entry.(*ledger.Appraisal); ok && a.Log == first.Log && a.Host == first.Host && a.Passed {
			begins = begins || a.Segment == first.Previous
		}
	}
	if !begins {
		return nil, cli.WithHint(cli.Undecidedf("the evidence begins at entry #%d of host %s, and has no appraisal that passed what stands before", first.Sequence, first.Host),
			"give evidence from the host's first record on, or with the appraisal of the segment before; nothing was put on record")
	}
	return last, nil
}
