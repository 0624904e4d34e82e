package server

import (
	"fmt"
	"net/http"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

// An ended log is one that has its freeze.
type ended struct {
	leaf   ledger.Hash
	index  uint64 // of the freeze, the log's last entry
	freeze *ledger.Freeze
}

// A frozenError says that the log has ended, and where it goes on.
type frozenError struct{ *ended }

func (e *frozenError) Error() string {
	return fmt.Sprintf("log %s ended with entry %d, and log %s follows it at %s: %s", e.freeze.Log, e.index, e.freeze.SuccessorOrigin(), e.freeze.URL, e.freeze.Reason)
}

func (e *ended) successor() client.Successor {
	return client.Successor{Log: e.freeze.SuccessorOrigin(), Key: e.freeze.Successor, URL: e.freeze.URL}
}

// takesEntries is nil until the log has ended.
func (s *Server) takesEntries() error {
	if e := s.chains.ended(); e != nil {
		return &frozenError{e}
	}
	return nil
}

// enter is called before an entry is judged, and leave when the log has it, or
// will not have it. A freeze goes in alone, so that nothing which was judged before
// it comes after it; a succession too, so that it is the first.
//
// The gate is taken under the locks of chains, and whoever holds it waits for none
// of them. It is this process's: the log has one writer.
func (s *Server) enter(entry ledger.Entry) (leave func(), err error) {
	leave = s.gate.RUnlock
	switch entry.(type) {
	case *ledger.Freeze, *ledger.Succession:
		s.gate.Lock()
		leave = s.gate.Unlock
	default:
		s.gate.RLock()
	}
	if err := s.takesEntries(); err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

// replayEnd: an entry that the log has stands before its end. A host's chain, which
// judges segments, knows nothing of that. A front end that took the end itself may
// read later what others had taken before.
func (s *Server) replayEnd(index uint64) error {
	if e := s.chains.ended(); e != nil && index > e.index {
		return &integrityError{fmt.Errorf("entry %d stands after entry %d, which ended the log", index, e.index)}
	}
	return nil
}

// ended returns the log's end, nil while it takes entries.
func (c *chains) ended() *ended {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end
}

// getFreeze tells the end of the log: 404 while it takes entries.
func (s *Server) getFreeze(w http.ResponseWriter, r *http.Request) error {
	e := s.chains.ended()
	if e == nil {
		return errNotFound
	}
	writeJSON(w, http.StatusOK, "application/json", client.Freeze{
		Leaf: fmt.Sprintf("%x", e.leaf), Index: e.index, Entry: e.freeze.Marshal(), Log: e.freeze.Log, Successor: e.successor(), Reason: e.freeze.Reason, Time: e.freeze.Time,
	})
	return nil
}
