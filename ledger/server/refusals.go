package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/internal/durable"
)

// maxRefusals bounds the list of refusals: so many of entries that a host's TPM
// has signed, and so many others. Strangers cannot push out what is of interest.
const maxRefusals = 1000

// A Refused is an entry, or a request to enrol, that was refused, and how often.
type Refused struct {
	Leaf     string           `json:"leaf,omitempty"` // leaf hash, hex; none where an enrolment was not begun
	Host     string           `json:"host,omitempty"`
	Sequence uint64           `json:"sequence"`
	Signed   bool             `json:"signed"` // whether the host's TPM has signed its head
	Conflict bool             `json:"conflict"`
	Findings []ledger.Finding `json:"findings"`
	Address  string           `json:"address"` // that it came from last
	First    time.Time        `json:"first"`
	Last     time.Time        `json:"last"`
	Count    uint64           `json:"count"`
}

// key is what a refusal is the same by when it comes again.
func (r *Refused) key() string {
	if r.Leaf == "" && len(r.Findings) > 0 {
		return "enrol " + r.Host + " " + string(r.Findings[0].Code)
	}
	return r.Leaf
}

// refusals is the list of what was refused, for the operator. It outlives the
// process as a file, which is written when the list is read or the server stops,
// and every few minutes: what a crash loses here the hosts will try again.
type refusals struct {
	file string
	now  func() time.Time

	mu    sync.Mutex
	list  map[string]*Refused // by key
	dirty bool
}

func openRefusals(file string, now func() time.Time) (*refusals, error) {
	l := &refusals{file: file, now: now, list: make(map[string]*Refused)}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	var list []*Refused
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w; it can be removed", file, err)
	}
	for _, r := range list {
		l.list[r.key()] = r
	}
	return l, nil
}

// add notes a refusal.
func (l *refusals) add(r *refusal, address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now().UTC().Truncate(time.Second)
	one := &Refused{First: now, Host: r.host, Findings: r.Findings}
	if r.leaf != (ledger.Hash{}) {
		one.Leaf = fmt.Sprintf("%x", r.leaf)
	}
	was := l.list[one.key()]
	if was == nil {
		l.makeRoom(r.signed)
		was = one
		l.list[one.key()] = was
	}
	was.Host, was.Sequence, was.Signed, was.Conflict, was.Findings = r.host, r.sequence, r.signed, r.Conflict, r.Findings
	was.Address, was.Last, l.dirty = address, now, true
	was.Count++
}

// makeRoom drops the oldest of a kind where there are too many.
func (l *refusals) makeRoom(signed bool) {
	n, oldest := 0, (*Refused)(nil)
	for _, r := range l.list {
		if r.Signed != signed {
			continue
		}
		if n++; oldest == nil || r.Last.Before(oldest.Last) {
			oldest = r
		}
	}
	if n >= maxRefusals {
		delete(l.list, oldest.key())
	}
}

// newest returns the list, the newest first.
func (l *refusals) newest() []*Refused {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]*Refused, 0, len(l.list))
	for _, r := range l.list {
		one := *r
		list = append(list, &one)
	}
	slices.SortFunc(list, func(a, b *Refused) int {
		if c := b.Last.Compare(a.Last); c != 0 {
			return c
		}
		return strings.Compare(a.key(), b.key())
	})
	return list
}

// save writes the list, if it has changed.
func (l *refusals) save() error {
	l.mu.Lock()
	dirty := l.dirty
	l.dirty = false
	l.mu.Unlock()
	if !dirty {
		return nil
	}
	b, err := json.MarshalIndent(l.newest(), "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(l.file), 0o755); err != nil {
		return err
	}
	// A ledger does not start with a file that a power cut has left empty.
	return durable.WriteFile(l.file, bytes.NewReader(append(b, '\n')), 0o600)
}

// getRefusals lists what was refused: ?host= of one host, ?signed=true only what a
// host's TPM has signed, ?limit= at most so many.
func (s *Server) getRefusals(w http.ResponseWriter, r *http.Request) error {
	if err := s.mayOperate(r); err != nil {
		return err
	}
	query := r.URL.Query()
	limit, err := pageLimit(query.Get("limit"))
	if err != nil {
		return err
	}
	list := slices.DeleteFunc(s.refused.newest(), func(x *Refused) bool {
		return query.Has("host") && x.Host != query.Get("host") || query.Has("signed") && strconv.FormatBool(x.Signed) != query.Get("signed")
	})
	if err := s.refused.save(); err != nil {
		s.config.Logger.Error("the list of refusals cannot be written", "error", err)
	}
	writeJSON(w, http.StatusOK, "application/json", map[string]any{"refusals": list[:min(limit, len(list))]})
	return nil
}
