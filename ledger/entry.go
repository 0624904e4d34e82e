package ledger

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
)

// An Entry is a leaf of the log: a *Segment or a Statement.
type Entry interface {
	// Format returns the entry's first line.
	Format() string
	// LogOrigin returns the origin of the log that the entry is made for.
	LogOrigin() string
	// Addenda returns the digests that the trailer names, in its order.
	Addenda() []Hash
	// Marshal returns the entry's one encoding.
	Marshal() []byte
}

// A HostEntry is an entry of a host's chain: a *Segment or an *Enrolment.
type HostEntry interface {
	Entry
	// Link returns the host, the entry's place in its chain, and the leaf hash
	// of the entry before it (zero for sequence 0).
	Link() (host string, sequence uint64, previous Hash)
}

// Format implements Entry.
func (s *Segment) Format() string { return SegmentFormat }

// LogOrigin implements Entry.
func (s *Segment) LogOrigin() string { return s.Log }

// Addenda implements Entry: the payload and the anchor.
func (s *Segment) Addenda() []Hash { return []Hash{s.Payload.Digest, s.Anchor.Note} }

// Link implements HostEntry.
func (s *Segment) Link() (string, uint64, Hash) { return s.Host, s.Sequence, s.Previous }

// EntryFormats returns the formats of entries, sorted.
func EntryFormats() []string {
	list := append(slices.Collect(maps.Keys(statements)), SegmentFormat)
	slices.Sort(list)
	return list
}

// ParseEntry reads any entry of the log.
func ParseEntry(entry []byte) (Entry, error) {
	first, _, ok := bytes.Cut(entry[:min(len(entry), 64)], []byte("\n"))
	if !ok {
		return nil, &FormatError{Format: "entry", Line: 1, What: "no entry of a ledger begins like this"}
	}
	if string(first) == SegmentFormat {
		return ParseSegment(entry)
	}
	blank, known := statements[string(first)]
	if !known {
		return nil, &FormatError{Format: "entry", Line: 1, What: fmt.Sprintf("unknown entry format %.64q", first)}
	}
	return parseStatement(blank(), entry)
}
