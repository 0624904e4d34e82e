package witness

import (
	"slices"
	"strings"
	"time"
)

// A Status is what a witness knows of a log.
type Status struct {
	Origin  string
	Trusted bool // whether it is cosigned for, and not only remembered
	Contact string
	Size    uint64    // of the newest tree that was cosigned
	At      time.Time // when; zero if none was
	Hash    string    // of the origin, which names the log in paths
}

// Status gives what is known of each log, by origin.
func (w *Witness) Status() []Status {
	w.mu.RLock()
	states := make([]*logState, 0, len(w.logs))
	for _, s := range w.logs {
		states = append(states, s)
	}
	w.mu.RUnlock()
	list := make([]Status, 0, len(states))
	for _, s := range states {
		status := Status{Origin: s.origin, Hash: s.hash}
		if l := s.log.Load(); l != nil {
			status.Trusted, status.Contact = true, l.Contact
		}
		s.mu.Lock()
		if s.latest.time != 0 {
			status.Size, status.At = s.latest.size, time.Unix(int64(s.latest.time), 0).UTC()
		}
		s.mu.Unlock()
		list = append(list, status)
	}
	slices.SortFunc(list, func(a, b Status) int { return strings.Compare(a.Origin, b.Origin) })
	return list
}
