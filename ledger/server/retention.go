package server

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

func (s *Server) retentionRoutes(handle func(string, func(http.ResponseWriter, *http.Request) error)) {
	handle("GET /retention", s.getRetention)
	handle("GET /retention/segments", s.getKept)
}

// getRetention tells the policy and the holds in force, and what time it is by the
// witnesses.
func (s *Server) getRetention(w http.ResponseWriter, r *http.Request) error {
	if err := s.mayReadEntries(r, ""); err != nil {
		return err
	}
	answer := client.Retention{Time: s.witnessed(), Holds: s.chains.holds()}
	if leaf, p := s.chains.policy(); p != nil {
		answer.Leaf, answer.Policy, answer.Days, answer.Appraisal, answer.Statement = fmt.Sprintf("%x", leaf), p.Policy, p.Days, p.Appraisal, p.Statement
	}
	writeJSON(w, http.StatusOK, "application/json", answer)
	return nil
}

// getKept lists segments whose records are not erased, in the order of the log,
// and why they must be kept: ?from= an index, ?limit= at most so many, ?host= of one
// host only. No page is empty but the last: see client.KeptSegments.
func (s *Server) getKept(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	host := query.Get("host")
	if err := s.mayReadEntries(r, host); err != nil {
		return err
	}
	limit, err := pageLimit(query.Get("limit"))
	if err != nil {
		return err
	}
	from := uint64(0)
	if text := query.Get("from"); text != "" {
		if from, err = strconv.ParseUint(text, 10, 63); err != nil {
			return badRequest("from: %.32q is no index of the log", text)
		}
	}
	size, err := s.log.reader.IntegratedSize(r.Context())
	if err != nil {
		return err
	}
	live := s.chains.live(from, size)
	if host != "" {
		live = s.chains.liveOf(host, from, size)
	}
	page, now := client.KeptSegments{Segments: []client.KeptSegment{}}, s.witnessed()
	segments := segmentReader{Server: s, size: size}
	for index := range live {
		if len(page.Segments) == limit {
			page.Next = index
			break
		}
		seg, leaf, err := segments.at(r.Context(), index)
		if err != nil {
			return err
		}
		page.Segments = append(page.Segments, client.KeptSegment{
			Host: seg.Host, Sequence: seg.Sequence, Index: index, Leaf: fmt.Sprintf("%x", leaf), Payload: fmt.Sprintf("%x", seg.Payload.Digest),
			Size: seg.Payload.Size, NotAfter: seg.NotAfter, Keeps: s.chains.keeps(seg, leaf, now),
		})
	}
	writeJSON(w, http.StatusOK, "application/json", page)
	return nil
}

// holds returns the holds in force.
func (c *chains) holds() []client.HoldInForce {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := []client.HoldInForce{}
	c.fleet.Holds(func(leaf ledger.Hash, h *ledger.Hold) {
		list = append(list, client.HoldInForce{Leaf: fmt.Sprintf("%x", leaf), Host: h.Host, From: h.From, To: h.To, Reason: h.Reason, Time: h.Time})
	})
	return list
}
