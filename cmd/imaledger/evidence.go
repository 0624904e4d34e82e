package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/export"
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
)

// An evidence is a bundle that was checked, and from which records are handed on.
type evidence struct {
	name     string
	file     *os.File
	bundle   *ledger.Bundle // nil where no byte of it can be believed
	report   *audit.Report
	segments []*evidenceSegment // whose records are at hand and verify, by host and sequence
}

type evidenceSegment struct {
	*ledger.Segment
	report    *audit.Segment
	enrolment *ledger.Enrolment
}

// openEvidence checks a bundle. The caller closes it.
func openEvidence(trust *ledger.Trust, name string) (*evidence, error) {
	f, bundle, report, err := checkFile(trust, name)
	if err != nil {
		return nil, err
	}
	e := &evidence{name: name, file: f, bundle: bundle, report: report}
	if bundle != nil && report.Class() != ledger.Contradicted {
		if err := e.read(); err != nil {
			return nil, errors.Join(cli.Undecidedf("%s: %w", name, err), f.Close())
		}
	}
	return e, nil
}

func (e *evidence) Close() error { return e.file.Close() }

// entry reads an entry of the bundle.
func (e *evidence) entry(leaf ledger.Hash) (ledger.Entry, error) {
	raw, found, err := e.bundle.Read(ledger.FolderLeaves, leaf)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("the bundle has no entry %x", leaf)
	}
	return ledger.ParseEntry(raw)
}

// read finds the segments that the report vouches for, with the enrolment of each.
func (e *evidence) read() error {
	enrolments := make(map[ledger.Name]*ledger.Enrolment)
	for entry, err := range e.entries() {
		if err != nil {
			return err
		}
		if enrolment, ok := entry.(*ledger.Enrolment); ok {
			enrolments[enrolment.AK] = enrolment
		}
	}
	for _, s := range e.report.Segments {
		if !s.Replayed {
			continue
		}
		leaf, err := ledger.ParseHash(s.Leaf)
		if err != nil {
			return err
		}
		entry, err := e.entry(leaf)
		if err != nil {
			return err
		}
		if seg, ok := entry.(*ledger.Segment); ok {
			e.segments = append(e.segments, &evidenceSegment{seg, s, enrolments[seg.AK]})
		}
	}
	return nil
}

// entries yields every entry of the bundle.
func (e *evidence) entries() func(yield func(ledger.Entry, error) bool) {
	return func(yield func(ledger.Entry, error) bool) {
		for _, f := range e.bundle.Files {
			if f.Folder != ledger.FolderLeaves {
				continue
			}
			if entry, err := e.entry(f.Hash); !yield(entry, err) || err != nil {
				return
			}
		}
	}
}

// digest returns the SHA-256 of the bundle.
func (e *evidence) digest() (ledger.Hash, error) {
	h := sha256.New()
	info, err := e.file.Stat()
	if err == nil {
		_, err = io.Copy(h, io.NewSectionReader(e.file, 0, info.Size()))
	}
	return ledger.Hash(h.Sum(nil)), err
}

// each calls f for every record of some segments.
func (e *evidence) each(segments []*evidenceSegment, f func(*export.Record) error) error {
	for _, s := range segments {
		if err := e.eachOf(s, f); err != nil {
			return fmt.Errorf("%s #%d: %w", s.Host, s.Sequence, err)
		}
	}
	return nil
}

func (e *evidence) eachOf(s *evidenceSegment, f func(*export.Record) error) error {
	r := export.Record{
		Host: s.Host, Boot: s.report.ResetCount, Restart: s.report.RestartCount, Segment: s.report.Leaf, Quoted: true, Styles: ima.Styles{},
	}
	for _, t := range s.Styles {
		bank := ima.Bank(t.Bank.Alg())
		style, err := ima.ParseStyle(t.Style)
		if err != nil {
			return err
		}
		r.Banks, r.Styles[bank] = append(r.Banks, bank), style
	}
	payload := e.bundle.Open(ledger.FolderPayloads, s.Payload.Digest)
	if payload == nil {
		return errors.New("the bundle has its records no more")
	}
	list, err := audit.NewListReader(s.Segment, payload)
	if err != nil {
		return err
	}
	for {
		rec, err := list.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		r.Record, r.Number = rec, s.First+rec.Index
		if err := f(&r); err != nil {
			return err
		}
	}
}

// quoted returns the value that a segment's quote has of a register.
func (s *evidenceSegment) quoted(slot ima.Slot) []byte {
	return s.Quoted(ledger.Bank(slot.Bank.String()), slot.PCR)
}

// ak returns the key that quoted the segment.
func (s *evidenceSegment) ak() (*quote.AK, error) {
	if s.enrolment == nil {
		return nil, errors.New("the evidence has no enrolment of its AK")
	}
	return quote.ParseAK(s.enrolment.AKPublic)
}

// A boot is a run of segments of one host, each of which goes on where the one before
// it ended.
type boot []*evidenceSegment

// divide divides segments, which are sorted.
func divide(segments []*evidenceSegment) []boot {
	var list []boot
	for i, s := range segments {
		if i > 0 && s.continues(segments[i-1]) {
			list[len(list)-1] = append(list[len(list)-1], s)
			continue
		}
		list = append(list, boot{s})
	}
	return list
}

func (s *evidenceSegment) continues(before *evidenceSegment) bool {
	return s.Log == before.Log && s.Host == before.Host && s.Join.Kind == ledger.JoinContinues && s.report.ResetCount == before.report.ResetCount && s.First == before.First+before.Count
}

// whole reports whether the boot is there from its first record on.
func (b boot) whole() bool { return b[0].Join.Kind == ledger.JoinBoot }

func (b boot) records() (n uint64) {
	for _, s := range b {
		n += s.Count
	}
	return n
}

func (b boot) String() string {
	first, last := b[0], b[len(b)-1]
	text := fmt.Sprintf("host %s, boot %d, segments #%d to #%d", first.Host, first.report.ResetCount, first.Sequence, last.Sequence)
	if !b.whole() {
		text += fmt.Sprintf(", from record %d on", first.First)
	}
	return text
}
