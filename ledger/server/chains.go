package server

import (
	"sync"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

// chains is what the ledger knows of its log: a cache that rebuild makes anew.
//
// Each host's chain has an audit state and a lock of its own, so that a host
// with a large payload, good or bad, keeps no other one waiting. What holds
// between hosts (an AK or an EK is one host's) and what operators state is in
// fleet, which sees every entry.
//
// Locks are taken in this order: rare, then a host's, then mu.
type chains struct {
	trust  *ledger.Trust
	origin string // of the log

	// rare is held from judgement to commit of every entry but segments: they
	// are judged against fleet, and are few.
	rare sync.Mutex

	mu     sync.Mutex // guards what follows
	fleet  *audit.State
	hosts  map[string]*chain
	index  map[ledger.Hash]uint64 // in the log, by leaf hash
	kept   kept
	roster roster
	end    *ended      // nil while the log takes entries
	last   ledger.Hash // of the entries that are judged under rare
}

// A chain is one host's. Its lock is held from judgement to commit, so of two
// entries that follow the same one, one is judged after the other was committed,
// and refused.
type chain struct {
	mu    sync.Mutex
	state *audit.State // of a log with this host's entries only
	index []uint64     // in the log, by sequence; guarded by chains.mu
}

func newChains(trust *ledger.Trust, origin string) *chains {
	return &chains{trust: trust, origin: origin, fleet: audit.NewState(trust), hosts: make(map[string]*chain), index: make(map[ledger.Hash]uint64), kept: newKept(), roster: newRoster()}
}

// find returns the index of a leaf.
func (c *chains) find(leaf ledger.Hash) (index uint64, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	index, found = c.index[leaf]
	return index, found
}

// host returns a host's chain, nil for an unknown host: a chain exists from its
// first enrolment on, so that strangers cannot fill memory with names.
func (c *chains) host(name string) *chain {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hosts[name]
}

// head returns the newest entry of a host's chain.
func (c *chains) head(name string) (leaf ledger.Hash, sequence, index uint64, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	leaf, sequence, found = c.fleet.Head(c.origin, name)
	if found {
		index = c.hosts[name].index[sequence]
	}
	return leaf, sequence, index, found
}

// enrolment returns a host's newest enrolment, nil for an unknown host.
func (c *chains) enrolment(name string) *ledger.Enrolment {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.fleet.Host(c.origin, name); h != nil {
		return h.Enrolment
	}
	return nil
}

// at returns the index of the entry with the given sequence of a host's chain.
func (c *chains) at(name string, sequence uint64) (index uint64, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.hosts[name]
	if h == nil || sequence >= uint64(len(h.index)) {
		return 0, false
	}
	return h.index[sequence], true
}

// lock takes what an entry is to be judged under. unlock must be called once.
func (c *chains) lock(entry ledger.Entry) (h *chain, unlock func()) {
	_, segment := entry.(*ledger.Segment)
	if !segment {
		c.rare.Lock()
	}
	if e, ok := entry.(ledger.HostEntry); ok {
		name, _, _ := e.Link()
		if h = c.host(name); h != nil {
			h.mu.Lock()
		}
	}
	return h, func() {
		if h != nil {
			h.mu.Unlock()
		}
		if !segment {
			c.rare.Unlock()
		}
	}
}

// judge holds an entry against the host's chain h, nil if there is none, or
// against the fleet, a statement to what it refers to. The entry is locked.
func (c *chains) judge(h *chain, leaf ledger.Hash, entry ledger.Entry, addenda audit.Addenda, f facts) *audit.Judgement {
	if _, segment := entry.(*ledger.Segment); segment {
		if h == nil {
			return audit.NewState(c.trust).Judge(leaf, entry, addenda)
		}
		return h.state.Judge(leaf, entry, addenda)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fleet.SetLog(f)
	return c.fleet.Judge(leaf, entry, addenda)
}

// commit makes a judged entry, which the log has at index, part of what is known.
// A judgement carries the host's next state with it, so one that was made
// against the host's chain goes into the fleet as it is. The entry is locked.
func (c *chains) commit(j *audit.Judgement, leaf ledger.Hash, entry ledger.Entry, index uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fleet.Commit(j)
	c.index[leaf] = index
	if _, segment := entry.(*ledger.Segment); !segment {
		c.last = leaf
	}
	at := func(leaf ledger.Hash) (uint64, bool) { i, found := c.index[leaf]; return i, found }
	c.kept.commit(leaf, entry, index, at)
	c.roster.commit(leaf, entry, index, at)
	if f, ok := entry.(*ledger.Freeze); ok {
		c.end = &ended{leaf, index, f}
	}
	e, ok := entry.(ledger.HostEntry)
	if !ok {
		return
	}
	name, _, _ := e.Link()
	h := c.hosts[name]
	if h == nil {
		h = &chain{state: audit.NewState(c.trust)}
		c.hosts[name] = h
	}
	h.state.Commit(j)
	h.index = append(h.index, index)
}
