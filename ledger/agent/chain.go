package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/imaledger/imaledger/ledger"
)

// Files of one entry of the host's chain: its sequence and one of these.
const (
	entrySuffix  = ".entry"  // the entry, as it is or will be in the log
	anchorSuffix = ".anchor" // of a segment: the checkpoint it is anchored to
	placeSuffix  = ".place"  // of a segment: where its records stand
	proofSuffix  = ".proof"  // the receipt, once it verified
)

const maxPlace = 256 // bytes

// A place is where a segment's records begin in the lists.
type place struct {
	List   int
	Offset int64
	Record uint64 // records before it in the list's file
}

// marshal writes the place of a segment, with the hash of its leaf, which tells
// whether the entry's file is still what was written.
func (p place) marshal(leaf ledger.Hash) []byte {
	return fmt.Appendf(nil, "list %d\noffset %d\nrecord %d\nleaf %x\n", p.List, p.Offset, p.Record, leaf)
}

func parsePlace(b []byte) (p place, leaf ledger.Hash, err error) {
	var sum []byte
	n, err := fmt.Sscanf(string(b), "list %d\noffset %d\nrecord %d\nleaf %x\n", &p.List, &p.Offset, &p.Record, &sum)
	if err == nil && n == 4 && len(sum) == len(leaf) {
		leaf = ledger.Hash(sum)
		if string(p.marshal(leaf)) == string(b) {
			return p, leaf, nil
		}
	}
	return p, leaf, fmt.Errorf("no place of a segment: %.64q", b)
}

// errDamaged is a file that is not what was written, and cannot be had again.
var errDamaged = errors.New("the file is damaged: move the agent's directory away, and it goes on from what the log has and the kernel lists")

// A chain is the host's chain as far as it is needed: its newest entries and
// those that have no receipt.
type chain struct {
	spool     *spool
	sequence  uint64 // of the newest entry
	leaf      ledger.Hash
	empty     bool
	enrolment *ledger.Enrolment
	last      *ledger.Segment // the newest segment, nil before the first
	lastPlace place
	pending   []uint64 // entries without a receipt, ascending
}

func entryName(sequence uint64, suffix string) string {
	return filepath.Join(chainDir, fmt.Sprintf("%010d%s", sequence, suffix))
}

// loadChain reads the chain from its end until it has the newest segment and
// enrolment. Each entry must be named by the next.
func loadChain(s *spool) (*chain, error) {
	c := &chain{spool: s, empty: true}
	var entries, proofs []uint64
	err := s.names(chainDir, func(name string) error {
		stem, suffix, _ := strings.Cut(name, ".")
		n, err := strconv.ParseUint(stem, 10, 63)
		if err != nil {
			return nil
		}
		switch "." + suffix {
		case entrySuffix:
			entries = append(entries, n)
		case proofSuffix:
			proofs = append(proofs, n)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(entries)
	slices.Sort(proofs)
	for _, n := range entries {
		if _, found := slices.BinarySearch(proofs, n); !found {
			c.pending = append(c.pending, n)
		}
	}
	var wanted ledger.Hash
	for i := len(entries) - 1; i >= 0 && (c.last == nil || c.enrolment == nil); i-- {
		n := entries[i]
		raw, entry, err := c.entry(n)
		if err != nil {
			return nil, err
		}
		leaf := ledger.LeafHash(raw)
		if c.empty {
			c.sequence, c.leaf, c.empty = n, leaf, false
		} else if leaf != wanted || n != entries[i+1]-1 {
			return nil, fmt.Errorf("%s: entry %d does not name the one before it: %w", s.path(chainDir), entries[i+1], errDamaged)
		}
		_, _, wanted = entry.Link()
		if err := c.note(n, leaf, entry); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// note takes an entry in, if it is the newest of its kind.
func (c *chain) note(n uint64, leaf ledger.Hash, entry ledger.HostEntry) error {
	switch e := entry.(type) {
	case *ledger.Enrolment:
		if c.enrolment == nil {
			c.enrolment = e
		}
	case *ledger.Segment:
		if c.last == nil {
			c.last = e
			at, written, err := c.placeOf(n)
			if err == nil && written != leaf {
				err = fmt.Errorf("%s: %w", c.spool.path(entryName(n, entrySuffix)), errDamaged)
			}
			c.lastPlace = at
			return err
		}
	}
	return nil
}

func (c *chain) place(n uint64) (place, error) {
	p, _, err := c.placeOf(n)
	return p, err
}

func (c *chain) placeOf(n uint64) (p place, leaf ledger.Hash, err error) {
	name := entryName(n, placeSuffix)
	b, err := c.spool.read(name, maxPlace)
	if err == nil {
		p, leaf, err = parsePlace(b)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w: %w", c.spool.path(name), err, errDamaged)
	}
	return p, leaf, err
}

func (c *chain) entry(n uint64) ([]byte, ledger.HostEntry, error) {
	name := entryName(n, entrySuffix)
	raw, err := c.spool.read(name, ledger.MaxStatement)
	if err != nil {
		return nil, nil, err
	}
	entry, err := ledger.ParseEntry(raw)
	if err == nil {
		if host, ok := entry.(ledger.HostEntry); ok {
			if _, sequence, _ := host.Link(); sequence == n {
				return raw, host, nil
			}
		}
		err = errors.New("it is another entry")
	}
	return nil, nil, fmt.Errorf("%s: %w: %w", c.spool.path(name), err, errDamaged)
}

// add appends a segment to the chain. The entry is written last: with it, the
// rest is there.
func (c *chain) add(s *ledger.Segment, anchor []byte, p place) error {
	raw := s.Marshal()
	for name, content := range map[string][]byte{anchorSuffix: anchor, placeSuffix: p.marshal(ledger.LeafHash(raw))} {
		if err := c.spool.write(entryName(s.Sequence, name), content); err != nil {
			return err
		}
	}
	if err := c.addEntry(s.Sequence, raw, s); err != nil {
		return err
	}
	c.last, c.lastPlace = s, p
	return nil
}

func (c *chain) addEntry(n uint64, raw []byte, entry ledger.HostEntry) error {
	if err := c.spool.write(entryName(n, entrySuffix), raw); err != nil {
		return err
	}
	c.sequence, c.leaf, c.empty = n, ledger.LeafHash(raw), false
	c.pending = append(c.pending, n)
	if e, ok := entry.(*ledger.Enrolment); ok {
		c.enrolment = e
	}
	return nil
}

// next returns the sequence of the next entry.
func (c *chain) next() uint64 {
	if c.empty {
		return 0
	}
	return c.sequence + 1
}

// receipted keeps a receipt that verified.
func (c *chain) receipted(n uint64, proof []byte) error {
	if err := c.spool.write(entryName(n, proofSuffix), proof); err != nil {
		return err
	}
	c.pending = slices.DeleteFunc(c.pending, func(p uint64) bool { return p == n })
	return nil
}

// hasReceipt reports whether a receipt of an entry was kept. Of one that waits it does
// not verify any more.
func (c *chain) hasReceipt(n uint64) bool {
	_, err := os.Stat(c.spool.path(entryName(n, proofSuffix)))
	return err == nil
}
