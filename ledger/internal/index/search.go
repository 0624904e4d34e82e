package index

import (
	"context"
	"errors"
	"math"
	"slices"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
)

// A Query selects records. What is not set selects all.
type Query struct {
	ima.Filter
	Host  string
	Hosts func(host string) bool // those that may be seen; nil for all
	// Since and Until, Unix seconds, select segments whose quote may have been made
	// between them. One whose time nothing bounds may.
	Since, Until uint64
	After        *Position // of the page before
	Limit        int       // records of a page
}

// A Position is a record's place in the log.
type Position struct{ Entry, Record uint64 }

// A Hit is a record that a query selects. It is what the index says of it: the log
// proves it.
type Hit struct {
	Position
	Host     string
	Sequence uint64 // of the segment
	First    uint64 // index in the boot of the segment's first record
	ima.Facts
	// The segment was quoted not before, and not after: Unix seconds, 0 where nothing
	// that the index has bounds it.
	NotBefore, NotAfter uint64
}

// An Answer is a page of hits, by their place in the log, and what they are hits of.
type Answer struct {
	Origin string
	Size   uint64 // of the tree that the answer is for
	Root   ledger.Hash
	Hits   []Hit
	More   bool // whether there may be another page
}

// ErrBroad says that a query selects more kinds of records than one search may
// look through.
var ErrBroad = errors.New("too many different measurements are like this: name more of the path, a digest, or a host")

const (
	// maxCandidates bounds the measurements that one search selects, 16 MB of numbers.
	maxCandidates = 1 << 20
	// maxSeeks is up to how many measurements postings are looked up for each. For
	// more, the segments' lists are read from front to back.
	maxSeeks = 256
)

// Search answers a query from one moment of the index.
func (x *Index) Search(ctx context.Context, q *Query) (a *Answer, err error) {
	v, at, err := x.see(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	a = &Answer{Origin: v.Origin, Size: v.Verified}
	if at == nil {
		return a, nil
	}
	a.Root = at.Root
	wanted, err := v.candidates(q)
	if err != nil || wanted != nil && len(wanted) == 0 {
		return a, err
	}
	p := &page{view: v, q: q, wanted: wanted, a: a}
	switch {
	case q.Host != "":
		err = p.host()
	case wanted != nil && len(wanted) <= maxSeeks:
		err = p.postings()
	default:
		err = p.all()
	}
	if errors.Is(err, errEnough) {
		err = nil
	}
	return a, err
}

// candidates returns the measurements that a query's filter selects, nil for all.
func (v *view) candidates(q *Query) (map[uint64]*ima.Facts, error) {
	if q.Filter.Empty() {
		return nil, nil
	}
	wanted := make(map[uint64]*ima.Facts)
	looked := 0
	take := func(m uint64) error {
		if looked++; looked%1024 == 0 && v.ctx.Err() != nil {
			return v.ctx.Err()
		}
		facts, err := v.measurement(m)
		if err != nil {
			return err
		}
		if facts == nil || !q.Match(facts) {
			return nil
		}
		if len(wanted) == maxCandidates {
			return ErrBroad
		}
		wanted[m] = facts
		return nil
	}
	each := func(prefix []byte) error {
		return scan(v, prefix, func(k, _ []byte) error {
			m, _, err := number(k[len(prefix):])
			if err != nil {
				return err
			}
			return take(m)
		})
	}
	var err error
	switch {
	case len(q.Digest.Digest) > 0:
		err = each(digestKey(q.Digest.Digest))
	case q.Path != "":
		err = each(textKey(rowPath, q.Path))
	case q.KeyID != nil:
		err = each(key(rowKeyID, uint64(*q.KeyID)))
	case q.Glob != "":
		err = v.glob(q.Glob, take)
	case q.Template != "":
		err = each(textKey(rowTemplate, q.Template))
	default:
		err = each(key(rowPCR, uint64(*q.PCR)))
	}
	return wanted, err
}

// glob holds a pattern against each path that begins as the pattern does.
func (v *view) glob(pattern string, take func(m uint64) error) error {
	looked := 0
	return scan(v, append([]byte{rowPath}, ima.GlobPrefix(pattern)...), func(k, _ []byte) error {
		if looked++; looked%1024 == 0 && v.ctx.Err() != nil {
			return v.ctx.Err()
		}
		end := slices.Index(k, 0)
		if end < 0 {
			return errRow
		}
		if !ima.MatchGlob(pattern, string(k[1:end])) {
			return nil
		}
		m, _, err := number(k[end+1:])
		if err != nil {
			return err
		}
		return take(m)
	})
}

// A page is filled with hits in the order of the log.
type page struct {
	*view
	q      *Query
	wanted map[uint64]*ima.Facts // nil for all
	a      *Answer
	looked int
}

// from is the entry that the page may begin in.
func (p *page) from() uint64 {
	if p.q.After == nil {
		return 0
	}
	return p.q.After.Entry
}

// host goes through a host's segments.
func (p *page) host() error {
	prefix := textKey(rowHost, p.q.Host)
	return scanFrom(p, prefix, textKey(rowHost, p.q.Host, p.from()), func(k, _ []byte) error {
		entry, _, err := number(k[len(prefix):])
		if err != nil {
			return err
		}
		return p.segment(entry)
	})
}

// all goes through the segments' lists.
func (p *page) all() error {
	return scanFrom(p, []byte{rowForward}, key(rowForward, p.from()), func(k, value []byte) error {
		entry, rest, err := number(k[1:])
		if err != nil {
			return err
		}
		return p.part(entry, rest, value)
	})
}

// postings goes through the segments that have one of few measurements.
func (p *page) postings() error {
	entries := make(map[uint64]bool)
	for m := range p.wanted {
		prefix, found := key(rowPosting, m), 0
		err := scanFrom(p, prefix, key(rowPosting, m, p.from()), func(k, _ []byte) error {
			entry, _, err := number(k[len(prefix):])
			if err != nil {
				return err
			}
			if p.looked++; p.looked%1024 == 0 && p.ctx.Err() != nil {
				return p.ctx.Err()
			}
			if entries[entry] {
				found++
			} else if row, err := p.row(entry); err != nil {
				return err
			} else if row != nil {
				entries[entry] = true
				found++
			}
			if found > p.q.Limit+1 { // one more than the page has room for, and the first may have been on the page before
				return errEnough
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	sorted := make([]uint64, 0, len(entries))
	for entry := range entries {
		sorted = append(sorted, entry)
	}
	slices.Sort(sorted)
	for _, entry := range sorted {
		if err := p.segment(entry); err != nil {
			return err
		}
	}
	return nil
}

// row returns a segment's row, nil where the query does not select it, or where its
// records are being written or erased.
func (p *page) row(entry uint64) (*segmentRow, error) {
	if entry >= p.Verified {
		return nil, nil
	}
	value, found, err := get(p, key(rowSegment, entry))
	if err != nil || !found {
		return nil, err
	}
	row, err := parseSegmentRow(value)
	if err != nil || row.State != Read {
		return nil, err
	}
	selected, err := p.selects(p.q, entry, row)
	if !selected {
		return nil, err
	}
	return row, err
}

// segment adds a segment's hits.
func (p *page) segment(entry uint64) error {
	prefix := key(rowForward, entry)
	err := scan(p, prefix, func(k, value []byte) error { return p.part(entry, k[len(prefix):], value) })
	if err == nil && p.a.More {
		err = errEnough
	}
	return err
}

// part adds the hits among a segment's measurements in a row f, whose key ends with
// the number of its first record.
func (p *page) part(entry uint64, begin, list []byte) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	first, _, err := number(begin)
	if err != nil {
		return err
	}
	after := uint64(math.MaxUint64)
	if p.q.After != nil && p.q.After.Entry == entry {
		after = p.q.After.Record
	}
	var row *segmentRow
	notAfter, looked, full := uint64(0), false, false
	ferr := forward(list, func(n, m uint64) bool {
		record := first + n
		facts := p.wanted[m]
		if p.wanted != nil && facts == nil || after != math.MaxUint64 && record <= after {
			return true
		}
		if !looked {
			looked = true
			if row, err = p.row(entry); err == nil && row != nil {
				notAfter, err = p.notAfter(entry)
			}
			if row == nil || err != nil {
				return false
			}
		}
		if len(p.a.Hits) == p.q.Limit {
			full = true
			return false
		}
		if facts == nil {
			if facts, err = p.measurement(m); facts == nil || err != nil {
				return false
			}
		}
		p.a.Hits = append(p.a.Hits, Hit{Position{entry, record}, row.Host, row.Sequence, row.First, *facts, row.NotBefore, notAfter})
		return true
	})
	if full {
		p.a.More = true
		return errEnough
	}
	return errors.Join(ferr, err)
}
