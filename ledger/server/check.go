package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

// A CheckReport is what Check found in a ledger's directory.
type CheckReport struct {
	Origin    string           `json:"origin"`
	Size      uint64           `json:"size"`      // entries
	Published uint64           `json:"published"` // entries that the newest cosigned checkpoint includes
	Hosts     int              `json:"hosts"`
	Segments  uint64           `json:"segments"`
	Erased    uint64           `json:"erased"`   // segments whose records were erased
	Erasures  []CheckErasure   `json:"erasures"` // in the order of the log
	Addenda   uint64           `json:"addenda"`  // files that entries name, and that are there
	Unnamed   uint64           `json:"unnamed"`  // files that no entry names, or none yet
	Findings  []ledger.Finding `json:"findings"`
	// Damage are files of the log that do not fit the others.
	Damage []string `json:"damage"`
	// Unknown are checkpoints with signatures by keys that the trust folder does not
	// name, so that nothing says whether their bytes are as they were.
	Unknown []string `json:"unknown"`
}

// A CheckErasure is an erasure that stands in the log: when, by whom, under which
// policy.
type CheckErasure struct {
	audit.ErasedSegment
	Segments int `json:"segments"` // that it names
}

// Class returns the report's verdict.
func (r *CheckReport) Class() ledger.Class {
	if len(r.Damage) > 0 {
		return ledger.Contradicted
	}
	worst := ledger.Worst(r.Findings)
	if worst == ledger.Noted && len(r.Unknown) > 0 {
		return ledger.Undecided
	}
	return worst
}

// Check reads everything in a ledger's directory: every tile and entry against the
// published checkpoint, every entry as an auditor judges it, every addendum against
// its digest, the checkpoints that are kept of each day. It changes nothing, and
// the ledger may be running. An error means that the check could not be made.
func Check(ctx context.Context, dir string, trust *ledger.Trust, progress Progress) (*CheckReport, error) {
	return Directory(dir).Check(ctx, trust, progress)
}

// Check is the function Check for any storage.
func (s *Storage) Check(ctx context.Context, trust *ledger.Trust, progress Progress) (*CheckReport, error) {
	a, err := viewArchive(ctx, s, trust)
	if err != nil {
		return nil, fmt.Errorf("check %s: %w", s.Name, err)
	}
	c := &check{
		CheckReport: &CheckReport{Erasures: []CheckErasure{}, Findings: []ledger.Finding{}, Damage: []string{}, Unknown: []string{}}, archive: a, addenda: s.Addenda, ctx: ctx, progress: progress, state: audit.NewState(trust),
		index: make(map[ledger.Hash]uint64), missing: make(map[ledger.Hash][]ledger.Finding), named: make(map[ledger.Hash]bool), hosts: make(map[string]bool),
		tree: (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0),
	}
	c.state.SetLog(c)
	for _, step := range []func() error{c.checkpoint, c.tiles, c.days, c.entries, c.root, c.files} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("check %s: %w", s.Name, err)
		}
	}
	c.Hosts = len(c.hosts)
	for _, findings := range c.missing {
		c.Findings = append(c.Findings, findings...)
	}
	slices.SortFunc(c.Findings, func(a, b ledger.Finding) int {
		return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Text, b.Text))
	})
	return c.CheckReport, nil
}

// check is one run of Check. It implements audit.Log.
type check struct {
	*CheckReport
	*archive
	addenda  Addenda
	ctx      context.Context
	progress Progress
	state    *audit.State
	newest   *ledger.Checkpoint // the published one, if the policy accepts it
	anchors  anchors
	history  *history
	tree     *compact.Range
	index    map[ledger.Hash]uint64
	missing  map[ledger.Hash][]ledger.Finding // of payloads that no erasure accounts for yet, by segment
	named    map[ledger.Hash]bool
	hosts    map[string]bool
}

func (c *check) damage(format string, args ...any) {
	c.Damage = append(c.Damage, fmt.Sprintf(format, args...))
}

func (c *check) checkpoint() error {
	err := c.readPublished(c.ctx)
	if errors.Is(err, ledger.ErrCheckpoint) {
		c.damage("%v; %s", err, publishAgain)
		return nil
	}
	if err != nil || c.published == nil {
		return err
	}
	c.Origin, c.Published = c.published.Origin, c.published.Size
	c.state.SetOrigin(c.Origin)
	c.newest = c.signed("checkpoint", c.published.Raw, publishAgain)
	return nil
}

// publishAgain is what mends the published checkpoint.
const publishAgain = "remove the file, and the ledger publishes another when it is started"

// signed judges a checkpoint that the ledger keeps, and returns it if the policy
// accepts it.
func (c *check) signed(name string, raw []byte, mend string) *ledger.Checkpoint {
	cp, err := c.trust.Policy.Verify(raw)
	switch {
	case err != nil:
		c.Findings = append(c.Findings, ledger.Finding{Code: audit.CheckpointCode(err), Subject: name, Text: err.Error()})
	case cp.Unknown > 0:
		// A reader passes over such lines. The ledger wrote none: it asks nobody whom
		// its trust folder does not name.
		c.Unknown = append(c.Unknown, fmt.Sprintf("%s: %d signature lines name no key of the trust folder: either the folder lacks keys that it had, which it keeps though no quorum counts them, or they were altered: %s", name, cp.Unknown, mend))
	}
	return cp
}

// tiles holds every tile to the entries, and all to the checkpoint.
func (c *check) tiles() error {
	if c.published == nil || c.published.Size == 0 {
		return nil
	}
	var v note.Verifier
	for _, l := range c.trust.Policy.Logs() {
		// A log of several keys signs with each; the first that is a note key will do.
		if k, err := note.NewVerifier(l.VKey); err == nil && l.Name == c.Origin && v == nil {
			v = k
		}
	}
	if v == nil {
		return nil // the checkpoint's finding says so
	}
	hashes := func(bundle []byte) ([][]byte, error) {
		var b api.EntryBundle
		if err := b.UnmarshalText(bundle); err != nil {
			return nil, err
		}
		list := make([][]byte, 0, len(b.Entries))
		for _, e := range b.Entries {
			h := ledger.LeafHash(e)
			list = append(list, h[:])
		}
		return list, nil
	}
	c.progress("tiles", 0, c.published.Size)
	if err := fsck.New(c.Origin, v, c.log.reader, hashes, fsck.Opts{N: 2}).Check(c.ctx); err != nil {
		if c.ctx.Err() != nil {
			return c.ctx.Err()
		}
		c.damage("tiles: %v; imaledgerd rebuild makes them again from the entries", err)
	}
	return nil
}

// days reads the checkpoints that are kept of each day.
func (c *check) days() (err error) {
	names, err := c.archive.Files.List(c.ctx, historyDir+"/")
	if err != nil {
		return err
	}
	for _, name := range names {
		raw, err := c.archive.Files.Read(c.ctx, name)
		if err != nil {
			return err
		}
		day := c.signed(name, raw, "copy the file from a backup")
		if day == nil {
			continue
		}
		root, found, err := c.log.root(c.ctx, day.Size)
		if err != nil || found && root != day.Root {
			c.damage("%s: the checkpoint has size %d and root %x, the log %x %v", name, day.Size, day.Root, root, errors.Join(err))
		}
	}
	c.history, err = openHistory(c.ctx, c.archive.Files, c.trust.Policy, c.Origin)
	return err
}

// root holds the entries to the tree as far as it is durable.
func (c *check) root() error {
	size := c.tree.End()
	if c.published != nil && c.published.Size > size {
		c.damage("the checkpoint is of %d entries, and there are %d", c.published.Size, size)
		return nil
	}
	if size == 0 {
		return nil
	}
	root, found, err := c.log.root(c.ctx, size)
	if err != nil || !found {
		c.damage("the tiles of the tree of size %d are not whole: %v; imaledgerd rebuild makes them again from the entries", size, err)
		return nil
	}
	if err := checkRoot(c.tree, &ledger.Checkpoint{Size: size, Root: root}); err != nil {
		c.damage("%v", err)
	}
	return nil
}

// files counts what no entry names.
func (c *check) files() error {
	for digest, err := range c.addenda.List() {
		if err != nil {
			return err
		}
		if !c.named[digest] {
			c.Unnamed++
		}
	}
	return nil
}
