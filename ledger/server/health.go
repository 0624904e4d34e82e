package server

import (
	"net/http"
	"os"
	"sync"
	"time"
)

// The states of a ledger.
const (
	healthOK          = "ok"
	healthUnwitnessed = "unwitnessed" // entries are durable; receipts wait for the witnesses
	healthUnsigned    = "unsigned"    // the same, and it is a key of the log that fails
	healthDraining    = "draining"    // about to end
	healthFrozen      = "frozen"      // the log has ended, and is read
	healthStopped     = "stopped"     // it cannot go on
	healthStorage     = "storage"     // nothing can be written, or storage elsewhere does not answer
)

// health is what /healthz and /readyz tell.
type health struct {
	Status    string          `json:"status"`
	Tree      uint64          `json:"tree"`      // entries that are durable
	Published uint64          `json:"published"` // entries that the newest cosigned checkpoint includes
	Witnesses []WitnessHealth `json:"witnesses"`
	Unsigned  []string        `json:"unsigned,omitempty"` // keys of the log that do not sign; its own log says why
}

func (s *Server) health(r *http.Request) (health, error) {
	h := health{Status: healthOK, Witnesses: s.log.witnesses.health()}
	if c := s.log.newest.checkpoint(); c != nil {
		h.Published = c.Size
	}
	if s.Err() != nil {
		h.Status = healthStopped
		return h, nil
	}
	var err error
	if h.Tree, err = s.log.reader.IntegratedSize(r.Context()); isAway(err) {
		h.Status = healthStorage // to start this front end again mends nothing
		return h, nil
	}
	if err != nil {
		return h, err
	}
	if s.chains.ended() != nil {
		h.Status = healthFrozen
	}
	if !s.log.newest.witnessed() {
		h.Status = healthUnwitnessed
	}
	if h.Unsigned = s.log.unsigned(); len(h.Unsigned) > 0 {
		h.Status = healthUnsigned
	}
	return h, nil
}

// getHealth says whether the process does its work. Only a stopped ledger is
// unhealthy: witnesses that are away, or a disk that is full, are not mended by
// starting it again.
func (s *Server) getHealth(w http.ResponseWriter, r *http.Request) error {
	h, err := s.health(r)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if h.Status == healthStopped {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, "application/json", h)
	return nil
}

// getReady says whether the ledger takes entries now: whether a balancer should
// send it any. Without its witnesses it does, and says so.
func (s *Server) getReady(w http.ResponseWriter, r *http.Request) error {
	h, err := s.health(r)
	if err != nil {
		return err
	}
	status := http.StatusOK
	switch {
	case h.Status == healthStopped:
		status = http.StatusServiceUnavailable
	case s.isDraining():
		h.Status, status = healthDraining, http.StatusServiceUnavailable
	case h.Status == healthStorage || s.writable.check() != nil:
		h.Status, status = healthStorage, http.StatusServiceUnavailable
	}
	writeJSON(w, status, "application/json", h)
	return nil
}

func (s *Server) isDraining() bool {
	select {
	case <-s.draining:
		return true
	default:
		return false
	}
}

// writableInterval is how often at most a file is written to find out: anyone may
// ask for readiness.
const writableInterval = 2 * time.Second

// A writable tells whether a directory can be written to.
type writable struct {
	dir string

	mu      sync.Mutex
	err     error
	checked time.Time
}

func (w *writable) check() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.checked) < writableInterval {
		return w.err
	}
	w.err, w.checked = w.try(), time.Now()
	return w.err
}

func (w *writable) try() (err error) {
	f, err := os.CreateTemp(w.dir, ".writable-")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 4096))
	for _, step := range []func() error{f.Sync, f.Close, func() error { return os.Remove(f.Name()) }} {
		if e := step(); err == nil {
			err = e
		}
	}
	return err
}
