package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/gather"
)

// errNoProofs is a mirror, which makes no proofs, or a segment that is too large for
// the ledger to make one of.
var errNoProofs = errors.New("no proof of a record is made")

// recordProof gets the proof of a record, and the evidence that it stands on. Where
// the record was named by its number no payload is needed, if the ledger makes proofs.
func recordProof(ctx context.Context, w io.Writer, l *gather.Ledger, s *selected, sealed bool) (*ledger.RecordProof, *gather.Evidence, error) {
	if !s.read {
		if p, e, err := askRecord(ctx, w, l, s, sealed); !errors.Is(err, errNoProofs) {
			return p, e, err
		}
	}
	whole, err := l.Segment(ctx, s.Index, gather.Options{})
	if err != nil {
		return nil, nil, answered(err)
	}
	p, err := makeRecord(w, l, s, whole, sealed)
	if err != nil {
		return nil, nil, errors.Join(err, whole.Close())
	}
	return p, whole, nil
}

// makeRecord makes the proof from all records, which must verify: so the quote
// covers the one.
func makeRecord(w io.Writer, l *gather.Ledger, s *selected, whole *gather.Evidence, sealed bool) (*ledger.RecordProof, error) {
	if err := mustVerify(w, l, whole, false); err != nil {
		return nil, err
	}
	payload, err := whole.Open(ledger.FolderPayloads, s.segment.Payload.Digest)
	if err != nil || payload == nil {
		return nil, cli.Undecidedf("%w", errNotGiven)
	}
	defer payload.Close()
	p, err := audit.ProveRecord(s.segment, payload, s.record, sealed)
	if err != nil {
		return nil, cli.Usagef("%w", err)
	}
	return p, nil
}

// askRecord has the ledger make the proof. The sealed form replays to the quote; so
// it is asked for even where the short one is wanted, which says nothing of that,
// and must show the same record.
func askRecord(ctx context.Context, w io.Writer, l *gather.Ledger, s *selected, sealed bool) (*ledger.RecordProof, *gather.Evidence, error) {
	e, err := l.Segment(ctx, s.Index, gather.Options{NoPayloads: true})
	if err != nil {
		return nil, nil, answered(err)
	}
	p, err := askedRecord(ctx, w, l, s, e, sealed)
	if err != nil {
		return nil, nil, errors.Join(err, e.Close())
	}
	return p, e, nil
}

func askedRecord(ctx context.Context, w io.Writer, l *gather.Ledger, s *selected, e *gather.Evidence, sealed bool) (*ledger.RecordProof, error) {
	if s.record >= s.segment.Count {
		return nil, cli.Usagef("record %d: the segment has %d", s.record, s.segment.Count)
	}
	if err := mustVerify(w, l, e, true); err != nil {
		return nil, err
	}
	ask := func(sealed bool) (*ledger.RecordProof, error) {
		p, err := l.Client.RecordProof(ctx, s.segment, s.record, sealed)
		var no *client.Problem
		if errors.As(err, &no) && (no.Status == http.StatusNotFound || no.Status == http.StatusBadRequest) {
			return nil, errNoProofs
		}
		if err != nil {
			return nil, answered(err)
		}
		if _, found := audit.CheckRecord(s.segment, p); len(found) > 0 {
			return nil, answered(&gather.FindingError{Finding: found[0]})
		}
		return p, nil
	}
	p, err := ask(true)
	if err != nil || sealed {
		return p, err
	}
	short, err := ask(false)
	if err == nil {
		err = sameRecord(p, short)
	}
	return short, err
}

// sameRecord holds what the host and the ledger committed to, to what the TPM quoted.
func sameRecord(sealed, short *ledger.RecordProof) error {
	if !bytes.Equal(short.Record, sealed.Record) {
		return cli.Contradictedf("the ledger shows two records in the place of one, each with a proof: it or the host has committed to other records than the TPM has quoted")
	}
	return nil
}

// mustVerify prints what is found of evidence that does not verify, and ends the
// command; bare is evidence without the records, of which that is no finding.
func mustVerify(w io.Writer, l *gather.Ledger, e *gather.Evidence, bare bool) error {
	report, err := l.Check(e)
	if err != nil {
		return cli.Undecidedf("%w", err)
	}
	if bare {
		report.Findings = slices.DeleteFunc(report.Findings, func(f ledger.Finding) bool { return f.Code == ledger.PayloadMissing })
	}
	if report.Class() == ledger.Noted {
		return nil
	}
	if err := printReport(w, l.Trust, report); err != nil {
		return err
	}
	return cli.WithHint(cli.Exit(int(report.Class())), "no proof is made of a segment that does not verify")
}
