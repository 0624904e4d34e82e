package audit

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/imaledger/imaledger/ledger"
)

// snapshotFormat is the first line of a state that was written down.
const snapshotFormat = "imaledger/audit-state/v1"

// maxSnapshotLine bounds a line in bytes: it has a segment, an enrolment and their
// names, or a statement, in base64.
const maxSnapshotLine = 256 << 10

// A snapshotLine is one line of a written state, a JSON object: what is known of a
// host, whose a key is, or what an operator has stated.
type snapshotLine struct {
	Host      *snapshotHost      `json:"host,omitempty"`
	Key       *snapshotKey       `json:"key,omitempty"`
	Statement *snapshotStatement `json:"statement,omitempty"`
	Text      *snapshotText      `json:"text,omitempty"`
	Verdict   *snapshotVerdict   `json:"verdict,omitempty"`
	End       *snapshotEnd       `json:"end,omitempty"`
}

type snapshotHost struct {
	Log       string `json:"log"`
	Name      string `json:"name"`
	Leaf      string `json:"leaf"`
	Sequence  uint64 `json:"sequence"`
	Enrolment []byte `json:"enrolment,omitempty"` // the entry
	Segment   []byte `json:"segment,omitempty"`   // the newest, the entry
	Reset     uint32 `json:"reset"`
	Restart   uint32 `json:"restart"`
	Clock     uint64 `json:"clock"`
	EK        []byte `json:"ek,omitempty"`
	Renewed   bool   `json:"renewed"`
	Skipped   bool   `json:"skipped"`
	Begun     bool   `json:"begun"`
}

type snapshotKey struct {
	Kind string `json:"kind"` // ak, ek, ek-key
	Key  []byte `json:"key"`
	Host string `json:"host"`
}

type snapshotStatement struct {
	Entry []byte   `json:"entry"`
	By    []string `json:"by,omitempty"` // of an erasure
}

type snapshotText struct {
	Digest string `json:"digest"`
	Leaf   string `json:"leaf"`
}

type snapshotVerdict struct {
	Host     string `json:"host"`
	Sequence uint64 `json:"sequence"`
	Passed   bool   `json:"passed"`
}

// snapshotEnd is the last line: without it the state is not whole.
type snapshotEnd struct {
	Entries uint64 `json:"entries"`
	Policy  string `json:"policy"` // leaf hash of the retention in force
}

// Write writes the state down, so that one who audits a log in parts goes on where
// he was. It is for his own eyes: ReadState believes what it reads.
func (s *State) Write(w io.Writer) error {
	b := bufio.NewWriter(w)
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	b.WriteString(snapshotFormat + "\n") // bufio keeps the first error
	for _, id := range slices.SortedFunc(maps.Keys(s.hosts), chainID.compare) {
		h := s.hosts[id]
		line := &snapshotHost{Log: id.log, Name: id.host, Leaf: hex.EncodeToString(h.Leaf[:]), Sequence: h.Sequence,
			Reset: h.quote.reset, Restart: h.quote.restart, Clock: h.quote.clock, EK: []byte(h.ek), Renewed: h.renewed, Skipped: h.skipped, Begun: h.begun}
		if h.Enrolment != nil {
			line.Enrolment = h.Enrolment.Marshal()
		}
		if h.Last != nil {
			line.Segment = h.Last.Marshal()
		}
		if err := e.Encode(snapshotLine{Host: line}); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.verdicts)) {
		for _, v := range s.verdicts[name] {
			if err := e.Encode(snapshotLine{Verdict: &snapshotVerdict{name, v.sequence, v.passed}}); err != nil {
				return err
			}
		}
	}
	for _, keys := range []struct {
		kind string
		of   map[ledger.Name]string
	}{{"ak", s.aks}, {"ek", s.eks}} {
		for _, name := range slices.Sorted(maps.Keys(keys.of)) {
			if err := e.Encode(snapshotLine{Key: &snapshotKey{keys.kind, []byte(name), keys.of[name]}}); err != nil {
				return err
			}
		}
	}
	for _, digest := range sortedHashes(s.ekKeys) {
		if err := e.Encode(snapshotLine{Key: &snapshotKey{"ek-key", digest[:], s.ekKeys[digest]}}); err != nil {
			return err
		}
	}
	if err := s.writeStatements(e); err != nil {
		return err
	}
	if err := e.Encode(snapshotLine{End: &snapshotEnd{s.entries, hex.EncodeToString(s.policy[:])}}); err != nil {
		return err
	}
	return b.Flush()
}

// writeStatements writes what operators have stated and is in force still.
func (s *State) writeStatements(e *json.Encoder) error {
	list := make(map[ledger.Hash]snapshotStatement) // by leaf hash
	add := func(entry ledger.Entry, by []string) {
		raw := entry.Marshal()
		list[ledger.LeafHash(raw)] = snapshotStatement{raw, by}
	}
	for _, x := range s.retentions {
		add(x, nil)
	}
	for _, x := range s.holds {
		add(x, nil)
	}
	for _, x := range s.erased { // of up to 256 segments each: once
		if _, done := list[x.leaf]; !done {
			add(x.Erasure, x.by)
		}
	}
	for _, x := range s.acks {
		add(x, nil)
	}
	for _, x := range s.freezes {
		add(x, nil)
	}
	for _, x := range s.successions {
		add(x, nil)
	}
	for _, leaf := range sortedHashes(list) {
		line := list[leaf]
		if err := e.Encode(snapshotLine{Statement: &line}); err != nil {
			return err
		}
	}
	for _, digest := range sortedHashes(s.texts) {
		leaf := s.texts[digest]
		if err := e.Encode(snapshotLine{Text: &snapshotText{hex.EncodeToString(digest[:]), hex.EncodeToString(leaf[:])}}); err != nil {
			return err
		}
	}
	return nil
}

func sortedHashes[V any](m map[ledger.Hash]V) []ledger.Hash {
	return slices.SortedFunc(maps.Keys(m), func(a, b ledger.Hash) int { return bytes.Compare(a[:], b[:]) })
}

// ReadState reads a state that Write wrote, for one who sees all entries of a log.
func ReadState(trust *ledger.Trust, r io.Reader) (*State, error) {
	s := NewState(trust)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxSnapshotLine)
	ended := false
	for n := 1; lines.Scan(); n++ {
		if n == 1 {
			if lines.Text() != snapshotFormat {
				return nil, fmt.Errorf("audit state: begins with %.40q, want %s", lines.Text(), snapshotFormat)
			}
			continue
		}
		if ended {
			return nil, fmt.Errorf("audit state: line %d comes after the end", n)
		}
		var line snapshotLine
		d := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		d.DisallowUnknownFields()
		err := d.Decode(&line)
		if err == nil {
			err = s.take(&line)
		}
		if err != nil {
			return nil, fmt.Errorf("audit state: line %d: %w", n, err)
		}
		ended = line.End != nil
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("audit state: %w", err)
	}
	if !ended {
		return nil, errors.New("audit state: it ends early")
	}
	return s, nil
}

func (s *State) take(line *snapshotLine) (err error) {
	switch {
	case line.Host != nil:
		return s.takeHost(line.Host)
	case line.Verdict != nil:
		v := line.Verdict
		s.verdicts[v.Host] = append(s.verdicts[v.Host], verdict{v.Sequence, v.Passed})
	case line.Key != nil:
		return s.takeKey(line.Key)
	case line.Statement != nil:
		return s.takeStatement(line.Statement)
	case line.Text != nil:
		digest, err := ledger.ParseHash(line.Text.Digest)
		leaf, leafErr := ledger.ParseHash(line.Text.Leaf)
		s.texts[digest] = leaf
		return cmp.Or(err, leafErr)
	case line.End != nil:
		s.entries = line.End.Entries
		s.policy, err = ledger.ParseHash(line.End.Policy)
		return err
	default:
		return errors.New("it says nothing")
	}
	return nil
}

func (s *State) takeHost(line *snapshotHost) (err error) {
	h := &Host{Sequence: line.Sequence, quote: counters{line.Reset, line.Restart, line.Clock}, ek: ledger.Name(line.EK), renewed: line.Renewed, skipped: line.Skipped, begun: line.Begun}
	if h.Leaf, err = ledger.ParseHash(line.Leaf); err != nil {
		return err
	}
	if line.Enrolment != nil {
		if h.Enrolment, err = parseAs[*ledger.Enrolment](line.Enrolment); err != nil {
			return err
		}
	}
	if line.Segment != nil {
		if h.Last, err = parseAs[*ledger.Segment](line.Segment); err != nil {
			return err
		}
	}
	s.hosts[chainID{line.Log, line.Name}] = h
	return nil
}

func parseAs[E ledger.Entry](raw []byte) (e E, err error) {
	entry, err := ledger.ParseEntry(raw)
	if err != nil {
		return e, err
	}
	e, ok := entry.(E)
	if !ok {
		return e, fmt.Errorf("%s stands where another entry should", entry.Format())
	}
	return e, nil
}

func (s *State) takeKey(line *snapshotKey) error {
	switch line.Kind {
	case "ak":
		s.aks[ledger.Name(line.Key)] = line.Host
	case "ek":
		s.eks[ledger.Name(line.Key)] = line.Host
	case "ek-key":
		if len(line.Key) != len(ledger.Hash{}) {
			return fmt.Errorf("a key's digest of %d bytes", len(line.Key))
		}
		s.ekKeys[ledger.Hash(line.Key)] = line.Host
	default:
		return fmt.Errorf("a key of kind %.20q", line.Kind)
	}
	return nil
}

func (s *State) takeStatement(line *snapshotStatement) error {
	entry, err := ledger.ParseEntry(line.Entry)
	if err != nil {
		return err
	}
	leaf := ledger.LeafHash(line.Entry)
	switch e := entry.(type) {
	case *ledger.Retention:
		s.retentions[leaf] = e
	case *ledger.Hold:
		s.holds[leaf] = e
	case *ledger.Erasure:
		for _, x := range e.Erased {
			s.erased[x.Leaf] = erasure{leaf, line.By, x.Payload, e}
		}
	case *ledger.Acknowledgement:
		s.acks[e.Entry] = e
	case *ledger.Freeze:
		s.freezes[leaf] = e
	case *ledger.Succession:
		s.successions[leaf] = e
	default:
		return fmt.Errorf("%s is not kept as a statement", entry.Format())
	}
	return nil
}
