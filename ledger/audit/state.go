package audit

import (
	"cmp"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/quote"
)

// Addenda gives the bytes that entries name by digest.
type Addenda interface {
	// Open returns an addendum's bytes; found is false where it is not at hand.
	// The bytes are hashed here: a source need not be trusted.
	Open(digest ledger.Hash) (r io.ReadCloser, found bool, err error)
}

// A State is what must be remembered of a log's entries in order to judge the
// next: the end of each host's chain, which host has which AK and EK, and what
// operators have stated. It is not safe for concurrent use.
type State struct {
	trust   *ledger.Trust
	partial bool // whether chains may begin in the middle
	hosts   map[chainID]*Host
	aks     map[ledger.Name]string
	eks     map[ledger.Name]string
	ekKeys  map[[32]byte]string // by quote.EK's KeyDigest: one key can be put into areas of several names

	origin     string // of the log whose entries are judged; empty where they may be of several
	log        Log    // nil: statements are not held to what they name
	retentions map[ledger.Hash]*ledger.Retention
	policy     ledger.Hash                  // of the retention in force
	holds      map[ledger.Hash]*ledger.Hold // in force
	verdicts   map[string][]verdict         // by host, in the log's order
	erased     map[ledger.Hash]erasure      // by leaf hash of the segment
	acks       map[ledger.Hash]*ledger.Acknowledgement

	texts       map[ledger.Hash]ledger.Hash // leaf hash of each operator's statement, by the SHA-256 of what was signed
	entries     uint64                      // committed
	freezes     map[ledger.Hash]*ledger.Freeze
	successions map[ledger.Hash]*ledger.Succession

	replays sync.Pool // of *replay
}

type erasure struct {
	leaf    ledger.Hash
	by      []string
	payload ledger.Hash
	*ledger.Erasure
}

// NewState returns the state of an empty log, for one who sees all its entries.
func NewState(trust *ledger.Trust) *State {
	return &State{
		trust: trust, hosts: make(map[chainID]*Host), aks: make(map[ledger.Name]string), eks: make(map[ledger.Name]string),
		ekKeys:     make(map[[32]byte]string),
		retentions: make(map[ledger.Hash]*ledger.Retention), erased: make(map[ledger.Hash]erasure),
		acks:    make(map[ledger.Hash]*ledger.Acknowledgement),
		texts:   make(map[ledger.Hash]ledger.Hash),
		freezes: make(map[ledger.Hash]*ledger.Freeze), successions: make(map[ledger.Hash]*ledger.Succession),
		holds: make(map[ledger.Hash]*ledger.Hold), verdicts: make(map[string][]verdict),
		replays: sync.Pool{New: func() any { return newReplay() }},
	}
}

// SetLog has statements held to what they name. It must be called before the
// first of them is judged.
func (s *State) SetLog(l Log) { s.log = l }

// SetOrigin has entries found that were made for another log than the one whose
// entries are judged: an operator's word on one log must not count in another. It must
// be called before the first is judged, by one who reads one log alone.
func (s *State) SetOrigin(origin string) { s.origin = origin }

// A Host is the state of one host's chain.
type Host struct {
	Leaf      ledger.Hash // leaf hash of the newest entry
	Sequence  uint64      // of the newest entry
	Enrolment *ledger.Enrolment
	Last      *ledger.Segment // the newest segment, nil where there is none
	ak        *quote.AK       // of Enrolment; nil until a segment is judged by it
	quote     counters        // of Last
	ek        ledger.Name     // by the enrolment that Last was under
	renewed   bool            // whether an enrolment stands after Last
	skipped   bool            // whether entries before Enrolment are not part of the evidence
	begun     bool            // whether there was a segment, verified or not
}

// counters are what orders quotes of one TPM.
type counters struct {
	reset, restart uint32
	clock          uint64 // milliseconds
}

// A chainID names a host's chain: it has one in each log.
type chainID struct{ log, host string }

func (id chainID) compare(other chainID) int {
	return cmp.Or(cmp.Compare(id.log, other.log), cmp.Compare(id.host, other.host))
}

func chainOf(e ledger.HostEntry) chainID {
	host, _, _ := e.Link()
	return chainID{e.LogOrigin(), host}
}

// Host returns the state of a host's chain in a log, nil for an unknown host. It
// must not be changed.
func (s *State) Host(log, name string) *Host { return s.hosts[chainID{log, name}] }

// CountHosts returns how many hosts have a chain.
func (s *State) CountHosts() int { return len(s.hosts) }

// Hosts gives the hosts and the states of their chains, by name. They must not be
// changed.
func (s *State) Hosts() iter.Seq2[string, *Host] {
	return func(yield func(string, *Host) bool) {
		for _, id := range slices.SortedFunc(maps.Keys(s.hosts), chainID.compare) {
			if !yield(id.host, s.hosts[id]) {
				return
			}
		}
	}
}

// Boot returns the reset counter of the newest segment's quote.
func (h *Host) Boot() uint32 { return h.quote.reset }

// Head returns the newest entry of a host's chain in a log.
func (s *State) Head(log, host string) (leaf ledger.Hash, sequence uint64, ok bool) {
	h := s.Host(log, host)
	if h == nil {
		return leaf, 0, false
	}
	return h.Leaf, h.Sequence, true
}

// A Judgement is what Judge found.
type Judgement struct {
	Findings []ledger.Finding
	Segment  *Segment // what holds of a segment, nil for other entries and where the quote does not verify
	Err      error    // an addendum could not be read; the judgement is not whole

	leaf    ledger.Hash
	entry   ledger.Entry
	before  *Host // the host's state before the entry, nil for one that is not known
	next    *Host // the host's state after the entry, nil for statements
	by      []string
	ekKey   *[32]byte // of an enrolment whose evidence was at hand
	verdict *verdict  // of an appraisal whose segment is known
	fork    bool      // whether the chain has an entry in this place already
}

// By returns the key names of the operators or registrars whose signatures the
// entry has.
func (j *Judgement) By() []string { return j.by }

// subject names the entry for people.
func (j *Judgement) subject() string {
	if e, ok := j.entry.(ledger.HostEntry); ok {
		host, sequence, _ := e.Link()
		return ledger.Subject(host, sequence)
	}
	return fmt.Sprintf("entry %x", j.leaf[:6])
}

func (j *Judgement) find(code ledger.Code, format string, args ...any) {
	j.Findings = append(j.Findings, ledger.Finding{
		Code: code, Subject: j.subject(), Text: fmt.Sprintf(format, args...), Entry: fmt.Sprintf("%x", j.leaf),
	})
}

// contradicted reports whether the evidence so far rules the entry out.
func (j *Judgement) contradicted() bool { return ledger.Worst(j.Findings) == ledger.Contradicted }

// Judge holds an entry against the state and the entry's addenda. It changes
// nothing. addenda may be nil: then all that needs them is undecided.
func (s *State) Judge(leaf ledger.Hash, entry ledger.Entry, addenda Addenda) *Judgement {
	return s.judge(leaf, entry, addenda, s.before(entry))
}

// before returns the state of the chain that an entry is of, nil where there is none.
func (s *State) before(entry ledger.Entry) *Host {
	if e, ok := entry.(ledger.HostEntry); ok {
		return s.hosts[chainOf(e)]
	}
	return nil
}

// judge is Judge for an entry of a host whose chain has come as far as before says.
func (s *State) judge(leaf ledger.Hash, entry ledger.Entry, addenda Addenda, before *Host) *Judgement {
	j := &Judgement{leaf: leaf, entry: entry, before: before}
	switch e := entry.(type) {
	case *ledger.Enrolment:
		s.judgeEnrolment(j, e, addenda)
	case *ledger.Segment:
		s.judgeSegment(j, e, addenda)
	case ledger.Statement:
		s.judgeStatement(j, e)
	}
	// What the log is says nothing of the quote, so it ends no segment's
	// verification, and comes last.
	s.judgeLog(j)
	s.judgePlace(j)
	return j
}

// Commit makes a judged entry part of the state, whatever was found: one who
// audits goes on after a finding, one who admits does not come here. A fork stays
// outside: the chain is what came first.
func (s *State) Commit(j *Judgement) {
	s.entries++
	if j.fork {
		return
	}
	switch e := j.entry.(type) {
	case *ledger.Enrolment:
		s.hosts[chainOf(e)] = j.next
		if _, taken := s.aks[e.AK]; !taken {
			s.aks[e.AK] = e.Host
		}
		if _, taken := s.eks[e.EK]; !taken && e.EK != ledger.NameNone {
			s.eks[e.EK] = e.Host
		}
		if j.ekKey != nil && s.ekKeys[*j.ekKey] == "" {
			s.ekKeys[*j.ekKey] = e.Host
		}
	case *ledger.Segment:
		s.hosts[chainOf(e)] = j.next
	default:
		s.commitStatement(j)
	}
}

// judgeLog: an entry of one log proves nothing in another.
func (s *State) judgeLog(j *Judgement) {
	if s.origin != "" && j.entry.LogOrigin() != s.origin {
		j.find(ledger.EntryWrongLog, "made for log %s, stands in log %s", j.entry.LogOrigin(), s.origin)
		return
	}
	for _, l := range s.trust.Policy.Logs() {
		if l.Name == j.entry.LogOrigin() {
			return
		}
	}
	j.find(ledger.EntryWrongLog, "made for log %s, which the policy does not name", j.entry.LogOrigin())
}

// judgePlace holds an entry to where its log begins and ends, for one who sees all
// its entries in their order.
func (s *State) judgePlace(j *Judgement) {
	if s.partial {
		return // indexes tell
	}
	if len(s.freezes) > 0 {
		j.find(ledger.LogFrozen, "an entry before it ended the log")
	}
	if _, ok := j.entry.(*ledger.Succession); ok && s.entries > 0 {
		j.find(ledger.StatementInvalid, "%d entries are before it: what follows another log says so in its first entry", s.entries)
	}
}

// judgeLink holds an entry to the host's entry before it and returns a copy of
// the host's state, to be carried on.
func (s *State) judgeLink(j *Judgement, e ledger.HostEntry) *Host {
	_, sequence, previous := e.Link()
	h := j.before
	next := &Host{Leaf: j.leaf, Sequence: sequence}
	if h == nil {
		if sequence > 0 {
			next.skipped = true
			s.missingBefore(j, "nothing of this host before it is known")
		}
		return next
	}
	next.ak = h.ak
	next.Enrolment, next.Last, next.quote, next.ek, next.renewed = h.Enrolment, h.Last, h.quote, h.ek, h.renewed
	// What is missing before an enrolment is missing before the first segment
	// under it too.
	next.skipped, next.begun = h.skipped && h.Last == nil, h.begun
	switch {
	case sequence == h.Sequence+1 && previous == h.Leaf:
	case sequence == h.Sequence+1:
		j.find(ledger.ChainBroken, "names %x as the entry before it, which is %x", previous[:6], h.Leaf[:6])
	case sequence <= h.Sequence:
		j.fork = true
		j.find(ledger.ChainFork, "the host's chain has #%d already, and goes to #%d", sequence, h.Sequence)
	case !h.begun:
		next.skipped = true
		s.missingBefore(j, missing(h.Sequence+1, sequence-1))
	default:
		j.find(ledger.ChainBroken, "%s", missing(h.Sequence+1, sequence-1))
	}
	return next
}

func missing(from, to uint64) string {
	if from == to {
		return fmt.Sprintf("#%d is missing", from)
	}
	return fmt.Sprintf("#%d to #%d are missing", from, to)
}

func (s *State) missingBefore(j *Judgement, what string) {
	if s.partial {
		j.find(ledger.HistoryPartial, "%s", what)
		return
	}
	j.find(ledger.ChainBroken, "%s", what)
}
