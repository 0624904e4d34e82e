// Package gather fetches from a ledger, or from a mirror of one, the evidence that a
// question needs, and has package audit check it as it checks a bundle.
//
// Nothing that a ledger says is believed. Entries are held to the root of a
// checkpoint that the trust folder accepts, addenda to the digests that entries
// name. What a ledger does not give is absent from the evidence, and the check says
// what then is undecided; what it gives and evidence rules out is a *FindingError.
package gather

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sort"
	"sync"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
)

// A FindingError is a finding about what a ledger answered. Its class says whether
// the answer is contradicted, or evidence is missing.
type FindingError struct{ Finding ledger.Finding }

func (e *FindingError) Error() string { return e.Finding.String() }

func found(code ledger.Code, subject, format string, args ...any) error {
	return &FindingError{ledger.Finding{Code: code, Subject: subject, Text: fmt.Sprintf(format, args...)}}
}

// A Ledger is a ledger as it was at one checkpoint. Its methods may be called at the
// same time.
type Ledger struct {
	Client *client.Client
	Trust  *ledger.Trust
	*client.Tree

	mu         sync.Mutex
	enrolments map[ledger.Name]*Entry // by AK
}

// Open reads the ledger's newest checkpoint and holds it to the trust folder's
// policy. All that the Ledger reads is of that tree.
func Open(ctx context.Context, c *client.Client, trust *ledger.Trust) (*Ledger, error) {
	raw, err := c.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	at, err := trust.Policy.Verify(raw)
	if err != nil {
		return nil, found(audit.CheckpointCode(err), c.Base, "the ledger's checkpoint: %v", err)
	}
	return &Ledger{Client: c, Trust: trust, Tree: c.Tree(at), enrolments: make(map[ledger.Name]*Entry)}, nil
}

// An Entry is an entry of the log, held to its root.
type Entry struct {
	Index uint64
	Leaf  ledger.Hash
	Raw   []byte
	ledger.Entry
}

// Entry returns the entry at an index. Where entries are private, it is asked for by
// its leaf hash, since who may read some hosts' only may not read whole bundles.
func (l *Ledger) Entry(ctx context.Context, index uint64) (*Entry, error) {
	leaf, err := l.Leaf(ctx, index)
	if err != nil {
		return nil, err
	}
	raw, err := l.Client.Leaf(ctx, leaf)
	if status(err) == http.StatusNotFound { // a mirror has entries in bundles alone
		raw, err = l.Tree.Entry(ctx, index)
	}
	if err != nil {
		return nil, otherBytes(err)
	}
	return parsed(index, leaf, raw)
}

func parsed(index uint64, leaf ledger.Hash, raw []byte) (*Entry, error) {
	entry, err := ledger.ParseEntry(raw)
	if err != nil {
		return nil, found(ledger.EntryMalformed, fmt.Sprintf("entry %d", index), "%v", err)
	}
	return &Entry{index, leaf, raw, entry}, nil
}

// ByLeaf returns the entry with a leaf hash.
func (l *Ledger) ByLeaf(ctx context.Context, leaf ledger.Hash) (*Entry, error) {
	a, err := l.Client.Proof(ctx, leaf, 0)
	if err != nil {
		return nil, err
	}
	// The index is the ledger's word until the tree has that leaf there.
	at, err := l.Leaf(ctx, a.Index)
	if err != nil {
		return nil, err
	}
	if at != leaf {
		return nil, found(ledger.ProofInclusion, fmt.Sprintf("entry %x", leaf[:6]), "the ledger says that it has index %d, where another one stands", a.Index)
	}
	return l.Entry(ctx, a.Index)
}

// HostEntry returns the entry with a sequence number of a host's chain. The ledger
// says where it is, and the entry whose it is.
func (l *Ledger) HostEntry(ctx context.Context, host string, sequence uint64) (*Entry, error) {
	page, err := l.Client.HostChain(ctx, host, sequence, 1)
	if err != nil {
		return nil, err
	}
	if len(page.Entries) == 0 {
		return nil, found(ledger.EntryMissing, ledger.Subject(host, sequence), "the ledger's list of the host's chain does not have it")
	}
	return l.chained(ctx, host, sequence, page.Entries[0])
}

// chained reads an entry that a list of a chain names. One that the log took after
// the checkpoint is not known here.
func (l *Ledger) chained(ctx context.Context, host string, sequence uint64, named client.ChainEntry) (*Entry, error) {
	if named.Index >= l.Checkpoint().Size {
		return nil, found(ledger.EntryMissing, ledger.Subject(host, sequence), "it has index %d, and the tree of the checkpoint %d entries", named.Index, l.Checkpoint().Size)
	}
	e, err := l.Entry(ctx, named.Index)
	if err != nil {
		return nil, err
	}
	h, ok := e.Entry.(ledger.HostEntry)
	if ok {
		name, n, _ := h.Link()
		ok = name == host && n == sequence
	}
	if !ok {
		return nil, found(ledger.ChainBroken, ledger.Subject(host, sequence), "the ledger says that it has index %d, where another entry stands", named.Index)
	}
	return e, nil
}

// Newest returns the sequence number of the newest entry of a host's chain that the
// tree of the checkpoint has, as far as the ledger tells. That it hides newer ones
// shows in nothing but a longer chain elsewhere.
func (l *Ledger) Newest(ctx context.Context, host string) (uint64, error) {
	head, err := l.Client.HostHead(ctx, host)
	if err != nil {
		return 0, err
	}
	// Each entry of a chain stands after the one before it: so no number is as large as
	// the tree, and those that the tree has are the first.
	newest := min(head.Sequence, max(l.Checkpoint().Size, 1)-1)
	beyond := func(n uint64) bool {
		if err != nil {
			return true
		}
		var page *client.HostChain
		switch page, err = l.Client.HostChain(ctx, host, n, 1); {
		case err != nil:
		case len(page.Entries) == 0:
			err = found(ledger.EntryMissing, ledger.Subject(host, n), "the ledger's list of the host's chain does not have it")
		default:
			return page.Entries[0].Index >= l.Checkpoint().Size
		}
		return true
	}
	if beyond(newest) {
		n := uint64(sort.Search(int(newest), func(i int) bool { return beyond(uint64(i)) }))
		if n == 0 && err == nil {
			err = found(ledger.EntryMissing, host, "the tree of the checkpoint has nothing of this host yet")
		}
		newest = n - 1
	}
	if err != nil {
		return 0, err
	}
	return newest, nil
}

// subject names an entry in findings.
func (e *Entry) subject() string {
	if h, ok := e.Entry.(ledger.HostEntry); ok {
		host, sequence, _ := h.Link()
		return ledger.Subject(host, sequence)
	}
	return fmt.Sprintf("entry %d", e.Index)
}

// status returns the HTTP status of a ledger's refusal, 0 for anything else.
func status(err error) int {
	var p *client.Problem
	if errors.As(err, &p) {
		return p.Status
	}
	return 0
}

// otherBytes makes a finding of bytes that are not those an entry or a tree names.
func otherBytes(err error) error {
	var other *client.OtherBytesError
	if !errors.As(err, &other) {
		return err
	}
	return found(ledger.ProofInclusion, other.What, "the ledger gave bytes with hash %x, the log has %x", other.Got, other.Want)
}
