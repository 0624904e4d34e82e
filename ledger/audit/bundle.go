package audit

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/imaledger/imaledger/ledger"
)

// A Report is what the check of a bundle gives: what holds, and what was found.
type Report struct {
	Findings []ledger.Finding `json:"findings"`
	Segments []*Segment       `json:"segments"` // by host and sequence
	Entries  int              `json:"entries"`
	// The newest checkpoint of the bundle: what the log held when the evidence
	// was taken. Whether newer entries exist, no bundle can say.
	Log       string `json:"log,omitempty"`
	TreeSize  uint64 `json:"treeSize,omitempty"`
	Witnessed uint64 `json:"witnessed,omitempty"` // Unix seconds
	// Vouched is the latest time at which a quorum saw a checkpoint of the bundle, in
	// Unix seconds; 0 if none states one.
	Vouched uint64 `json:"vouched,omitempty"`
	// Successions are logs of the bundle that follow one another.
	Successions []Succession `json:"successions,omitempty"`

	trees  map[treeID]ledger.Hash // roots, of every checkpoint that verified
	nodes  map[nodeID]ledger.Hash
	chains map[chainPlace]ledger.Hash
	ends   map[string]uint64 // size of the final tree, by origin
}

// Class returns the report's verdict.
func (r *Report) Class() ledger.Class { return ledger.Worst(r.Findings) }

func (r *Report) find(code ledger.Code, subject string, format string, args ...any) {
	r.Findings = append(r.Findings, ledger.Finding{Code: code, Subject: subject, Text: fmt.Sprintf(format, args...)})
}

// CheckAge adds a finding if the newest checkpoint of the bundle is older than the
// trust folder allows at the time of the check, in Unix seconds. It is apart from
// CheckBundle, which gives the same answer everywhere, twice.
func (r *Report) CheckAge(trust *ledger.Trust, now uint64) {
	if r.Entries == 0 {
		return // nothing is claimed of any time
	}
	if err := trust.Fresh(r.Vouched, now); err != nil {
		r.find(ledger.CheckpointStale, "bundle", "%v", err)
	}
}

// item is an entry of a bundle with its receipt.
type item struct {
	leaf    ledger.Hash
	entry   ledger.Entry
	receipt *Receipt
	subject string
}

// bundleAddenda serves a bundle's files to Judge.
type bundleAddenda struct{ b *ledger.Bundle }

func (a bundleAddenda) Open(digest ledger.Hash) (io.ReadCloser, bool, error) {
	for _, folder := range []string{ledger.FolderPayloads, ledger.FolderEvidence} {
		if r := a.b.Open(folder, digest); r != nil {
			return io.NopCloser(r), true, nil
		}
	}
	return nil, false, nil
}

// CheckBundle checks a bundle as a stranger does: with the trust folder alone.
// An error means that the bundle could not be read, not that it is wrong. It
// follows FORMAT.md, "Verifying a bundle".
func CheckBundle(trust *ledger.Trust, b *ledger.Bundle) (*Report, error) {
	r := &Report{Entries: 0}
	c := &bundleCheck{Report: r, trust: trust, b: b, state: NewState(trust), roots: make(map[treeID]ledger.Hash), nodes: make(map[nodeID]ledger.Hash), used: make(map[string]bool), index: make(map[chainID]uint64), known: make(map[ledger.Hash]*item)}
	c.state.partial = true
	items, err := c.items()
	if err != nil {
		return nil, err
	}
	c.state.SetLog(c)
	// SPEC: 4. Statements of operators first: an erasure is logged after the
	// segment whose records it accounts for. Then each host's chain in order.
	for _, statements := range []bool{true, false} {
		for _, it := range items {
			if _, host := it.entry.(ledger.HostEntry); host == statements {
				continue
			}
			if err := c.judge(it); err != nil {
				return nil, err
			}
		}
	}
	c.oneTree()
	r.trees, r.nodes, r.chains, r.ends = c.roots, c.nodes, make(map[chainPlace]ledger.Hash), make(map[string]uint64)
	for _, it := range items {
		if _, ok := it.entry.(ledger.HostEntry); ok {
			chain, n := it.place()
			r.chains[chainPlace{chain, n}] = it.leaf
		}
	}
	c.acknowledge()
	c.unreferenced()
	c.frozen(items)
	c.successions(items)
	return r, nil
}

type bundleCheck struct {
	*Report
	trust  *ledger.Trust
	b      *ledger.Bundle
	state  *State
	roots  map[treeID]ledger.Hash // of every checkpoint seen
	nodes  map[nodeID]ledger.Hash // of the logs' trees, as far as proofs tell
	used   map[string]bool        // files that an entry names
	index  map[chainID]uint64     // of each chain's entry before
	known  map[ledger.Hash]*item  // by leaf hash
	last   *Segment               // of the host, the one before
	before *ledger.Segment        // the same
}

// items reads the entries and their proofs, and puts them in order.
func (c *bundleCheck) items() ([]item, error) {
	var items []item
	for _, f := range c.b.Files {
		if f.Folder != ledger.FolderLeaves {
			continue
		}
		raw, _, err := c.b.Read(f.Folder, f.Hash)
		if err != nil {
			return nil, err
		}
		c.Entries++
		// SPEC: 2. Each leaf is an entry in its one form.
		entry, err := ledger.ParseEntry(raw)
		if err != nil {
			c.find(ledger.EntryMalformed, f.Name(), "%v", err)
			continue
		}
		it := item{leaf: f.Hash, entry: entry, subject: f.Name()}
		if e, ok := entry.(ledger.HostEntry); ok {
			host, sequence, _ := e.Link()
			it.subject = ledger.Subject(host, sequence)
		}
		c.use(it)
		c.known[f.Hash] = &it
		if it.receipt, err = c.receipt(it); err != nil {
			return nil, err
		}
		if it.receipt != nil {
			c.climb(it)
		}
		items = append(items, it)
	}
	slices.SortStableFunc(items, func(a, b item) int {
		x, xs := a.place()
		y, ys := b.place()
		return cmp.Or(cmp.Compare(x.host, y.host), cmp.Compare(x.log, y.log), cmp.Compare(xs, ys), cmp.Compare(a.index(), b.index()))
	})
	return items, nil
}

// Segment implements Log with the bundle's segments. One without a proof is not
// known to stand in the log.
func (c *bundleCheck) Segment(leaf ledger.Hash) (*Placed, bool, error) {
	it := c.known[leaf]
	if it == nil || it.receipt == nil {
		return nil, false, nil
	}
	seg, ok := it.entry.(*ledger.Segment)
	if !ok {
		return nil, false, nil
	}
	p := &Placed{Segment: seg, NotAfter: it.receipt.NotAfter}
	note, found, err := c.b.Read(ledger.FolderAnchors, seg.Anchor.Note)
	if found && err == nil {
		_, p.NotBefore, _ = checkAnchor(c.trust, it.subject, leaf, seg, note) // its findings are place's
	}
	return p, true, err
}

// NotAfter implements Log.
func (c *bundleCheck) NotAfter(leaf ledger.Hash) uint64 {
	if it := c.known[leaf]; it != nil && it.receipt != nil {
		return it.receipt.NotAfter
	}
	return 0
}

// index returns the entry's index in the log, and after all others where no proof
// tells it.
func (it item) index() uint64 {
	if it.receipt == nil {
		return math.MaxUint64
	}
	return it.receipt.Index
}

// place orders entries: statements by index, since one refers to another before
// it, then each host's chains by sequence.
func (it item) place() (chain chainID, n uint64) {
	if e, ok := it.entry.(ledger.HostEntry); ok {
		_, n, _ = e.Link()
		return chainOf(e), n
	}
	return chain, it.index()
}

// use notes which files an entry vouches for.
func (c *bundleCheck) use(it item) {
	name := func(folder string, h ledger.Hash) { c.used[ledger.File{Folder: folder, Hash: h}.Name()] = true }
	name(ledger.FolderLeaves, it.leaf)
	name(ledger.FolderProofs, it.leaf)
	switch e := it.entry.(type) {
	case *ledger.Segment:
		name(ledger.FolderPayloads, e.Payload.Digest)
		name(ledger.FolderAnchors, e.Anchor.Note)
	default:
		for _, h := range e.Addenda() {
			name(ledger.FolderEvidence, h)
		}
	}
}

// receipt: SPEC: 3. Each leaf has a proof that leads to a checkpoint which the
// policy accepts.
func (c *bundleCheck) receipt(it item) (*Receipt, error) {
	proof, found, err := c.b.Read(ledger.FolderProofs, it.leaf)
	if err != nil {
		return nil, err
	}
	if !found {
		c.find(ledger.ProofMissing, it.subject, "the bundle has no proof for it")
		return nil, nil
	}
	r, findings := CheckReceipt(c.trust, it.subject, it.leaf, proof)
	c.Findings = append(c.Findings, findings...)
	if r != nil {
		c.seen(it.subject, r.Checkpoint)
		if r.Checkpoint.Size > c.TreeSize {
			c.Log, c.TreeSize, c.Witnessed = r.Checkpoint.Origin, r.Checkpoint.Size, r.NotAfter
		}
		c.Vouched = max(c.Vouched, c.trust.Policy.NotBefore(r.Checkpoint))
		if r.Checkpoint.Origin != it.entry.LogOrigin() {
			c.find(ledger.EntryWrongLog, it.subject, "made for log %s, stands in log %s", it.entry.LogOrigin(), r.Checkpoint.Origin)
		}
	}
	return r, nil
}

// seen holds each checkpoint against all others of its size.
func (c *bundleCheck) seen(subject string, cp *ledger.Checkpoint) {
	tree := treeID{cp.Origin, cp.Size}
	if root, found := c.roots[tree]; found && root != cp.Root {
		c.find(ledger.LogSplit, subject, "the log signed two trees of size %d: %x and %x", cp.Size, root, cp.Root)
	}
	c.roots[tree] = cp.Root
}

// judge holds one entry to the chain, to its addenda and to its place and time.
func (c *bundleCheck) judge(it item) error {
	j := c.state.Judge(it.leaf, it.entry, bundleAddenda{c.b})
	if j.Err != nil {
		return fmt.Errorf("%s: %w", it.subject, j.Err)
	}
	c.Findings = append(c.Findings, j.Findings...)
	c.state.Commit(j)
	if seg, ok := it.entry.(*ledger.Segment); ok {
		// An anchor is held to its segment whatever was found of the quote.
		s := cmp.Or(j.Segment, &Segment{Log: seg.Log, Host: seg.Host})
		if err := c.place(it, seg, s); err != nil {
			return err
		}
		if j.Segment != nil {
			s.Base, s.End = registers(seg.Base), registers(seg.End)
			c.Segments = append(c.Segments, s)
			if !j.fork {
				c.last, c.before = s, seg
			}
		}
	}
	if _, host := it.entry.(ledger.HostEntry); host && it.receipt != nil && !j.fork {
		c.order(it)
	}
	return nil
}

// order: SPEC: 6. A host's entries stand in the log in the order of its chain.
func (c *bundleCheck) order(it item) {
	chain, _ := it.place()
	if before, found := c.index[chain]; found && it.receipt.Index <= before {
		c.find(ledger.IndexOrder, it.subject, "has index %d in the log, the host's entry before it has %d", it.receipt.Index, before)
	}
	c.index[chain] = it.receipt.Index
}

// place: SPEC: 5. The anchor is a checkpoint that the policy accepts, of a tree
// that did not have the segment yet, and not newer than the receipt.
func (c *bundleCheck) place(it item, seg *ledger.Segment, s *Segment) error {
	note, found, err := c.b.Read(ledger.FolderAnchors, seg.Anchor.Note)
	if err != nil {
		return err
	}
	if !found {
		c.find(ledger.AnchorMissing, it.subject, "the bundle has no checkpoint %x", seg.Anchor.Note[:6])
	} else {
		anchor, notBefore, findings := checkAnchor(c.trust, it.subject, it.leaf, seg, note)
		c.Findings = append(c.Findings, findings...)
		if anchor != nil {
			c.seen(it.subject+", anchor", anchor)
			s.NotBefore = notBefore
		}
	}
	if it.receipt != nil {
		s.Index, s.NotAfter = &it.receipt.Index, it.receipt.NotAfter
		if seg.Anchor.Size > it.receipt.Index {
			c.find(ledger.AnchorAfterLeaf, it.subject, "has index %d in the log and is anchored to a tree of %d leaves", it.receipt.Index, seg.Anchor.Size)
		}
	}
	if s.NotAfter > 0 && s.NotBefore > s.NotAfter {
		c.find(ledger.TimeOrder, it.subject, "witnessed by %s, anchored to a checkpoint witnessed at %s", Time(s.NotAfter), Time(s.NotBefore))
	}
	if c.last != nil && c.last.Log == s.Log && c.last.Host == s.Host && seg.Join.Kind == ledger.JoinContinues && covers(c.before, seg.Base) {
		s.RecordsNotBefore = c.last.NotBefore
	}
	return nil
}

// covers reports whether the segment quotes each of the registers: a record of one
// that it does not quote can be older than its quote.
func covers(s *ledger.Segment, registers []ledger.PCR) bool {
	return !slices.ContainsFunc(registers, func(p ledger.PCR) bool { return s.Quoted(p.Bank, p.Index) == nil })
}

// acknowledge: SPEC: 7. A gap that an operator has acknowledged is noted.
func (c *bundleCheck) acknowledge() {
	acked := make(map[string]*ledger.Acknowledgement)
	for leaf, ack := range c.state.acks {
		acked[fmt.Sprintf("%x", leaf)] = ack
	}
	for i, f := range c.Findings {
		if ack := acked[f.Entry]; f.Code == ledger.Gap && ack != nil {
			c.Findings[i].Code = ledger.GapAcknowledged
			c.Findings[i].Text += "; an operator: " + ack.Statement
		}
	}
}

// unreferenced: SPEC: 8. No file stands beside the evidence unvouched for.
func (c *bundleCheck) unreferenced() {
	for _, f := range c.b.Files {
		if !c.used[f.Name()] {
			c.find(ledger.BundleUnreferenced, f.Name(), "no entry of the bundle names it")
		}
	}
	if c.Entries == 0 {
		c.find(ledger.EntryMissing, "bundle", "it holds no entry, so it proves nothing")
	}
}
