package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/imaledger/imaledger/ledger"
)

// maxWitnessAnswer bounds a witness's answer in bytes: a few signature lines,
// of 3.3 kB each if they are post-quantum.
const maxWitnessAnswer = 64 << 10

// A witness that does not cosign is asked again after a second, then after twice
// as long each time, up to half a minute, less up to a half of it by chance, so
// that logs which lost it together do not come back together.
const (
	firstBackoff = time.Second
	maxBackoff   = 30 * time.Second
)

var errBackoff = errors.New("the witness failed a moment ago and is not asked yet")

// witnesses are those of the policy that have a URL, and how each has fared. It
// is the transport of requests to them.
type witnesses struct {
	list   []*witnessState
	logger *slog.Logger
	// suspects has witnesses that say that they have seen more of this log than
	// there is, or something else. Whoever reads it looks into that.
	suspects chan *witnessState
}

// A witnessState is how a witness has fared.
type witnessState struct {
	name     string // in the policy
	url      *url.URL
	endpoint string // that cosigns

	mu       sync.Mutex
	cosigned time.Time // when it last did; zero for never since the start
	problem  string    // why it does not cosign, empty where it does
	failures int       // since then
	total    uint64    // failures since the start
	until    time.Time // not asked before
}

// newWitnesses takes the witnesses of a policy whose URLs can be read: witnessGroup
// refuses the others.
func newWitnesses(policy *ledger.Policy, logger *slog.Logger) *witnesses {
	w := &witnesses{logger: logger, suspects: make(chan *witnessState, 1)}
	for _, k := range policy.Witnesses() {
		u, err := url.Parse(k.URL)
		if err != nil || u.Host == "" {
			continue
		}
		w.list = append(w.list, &witnessState{name: k.Label, url: u, endpoint: addCheckpointURL(u)})
	}
	return w
}

// client is the HTTP client for witnesses, whom the log need not trust: no
// redirects, no endless answers.
func (w *witnesses) client() *http.Client {
	return &http.Client{
		Transport: w, Timeout: witnessTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// RoundTrip implements http.RoundTripper. Tessera asks every witness at each
// checkpoint; those that fail are asked less often.
func (w *witnesses) RoundTrip(req *http.Request) (*http.Response, error) {
	state := w.find(req.URL.String())
	if state == nil {
		return nil, fmt.Errorf("%s is no witness of the policy", req.URL.Redacted())
	}
	if err := state.resting(time.Now()); err != nil {
		return nil, err
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		if !errors.Is(err, context.Canceled) { // else the others were quicker and made the quorum
			w.failed(state, err.Error())
		}
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxWitnessAnswer))
	resp.Body.Close()
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			w.failed(state, err.Error())
		}
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	w.answered(state, req, resp.StatusCode, body)
	return resp, nil
}

// answered notes what a witness said to a request.
func (w *witnesses) answered(state *witnessState, req *http.Request, status int, body []byte) {
	switch status {
	case http.StatusOK:
		w.cosigned(state)
	case http.StatusConflict:
		// It tells the size that it has seen, which a log learns this way after
		// each start. One above the size that was offered is another matter.
		size, err := strconv.ParseUint(strings.TrimSpace(string(body)), 10, 63)
		offered, known := offeredSize(req)
		if err != nil || !known {
			w.failed(state, fmt.Sprintf("409 with the body %.40q", body))
		} else if size > offered {
			w.failed(state, fmt.Sprintf("it has seen %d entries of this log, which has %d: was the log restored from an older copy?", size, offered))
			w.suspect(state)
		}
	case http.StatusUnprocessableEntity:
		w.failed(state, "what it has seen of this log does not fit: "+strings.TrimSpace(string(body[:min(len(body), 200)])))
		w.suspect(state)
	default:
		w.failed(state, strings.TrimSpace(fmt.Sprintf("%d %.200s", status, body)))
	}
}

func (w *witnesses) suspect(s *witnessState) {
	select {
	case w.suspects <- s:
	default: // one is being looked into; this one says so again after its backoff
	}
}

// offeredSize returns the size of the checkpoint in a request's body.
func offeredSize(req *http.Request) (uint64, bool) {
	if req.GetBody == nil {
		return 0, false
	}
	r, err := req.GetBody()
	if err != nil {
		return 0, false
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return 0, false
	}
	_, checkpoint, ok := bytes.Cut(b, []byte("\n\n"))
	if !ok {
		return 0, false
	}
	c, err := ledger.ParseCheckpoint(checkpoint)
	if err != nil {
		return 0, false
	}
	return c.Size, true
}

func (w *witnesses) find(endpoint string) *witnessState {
	for _, s := range w.list {
		if s.endpoint == endpoint {
			return s
		}
	}
	return nil
}

func (s *witnessState) resting(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.until) {
		return fmt.Errorf("%s: %s: %w", s.name, s.problem, errBackoff)
	}
	return nil
}

func (w *witnesses) cosigned(s *witnessState) {
	s.mu.Lock()
	was := s.problem
	s.cosigned, s.problem, s.failures, s.until = time.Now(), "", 0, time.Time{}
	s.mu.Unlock()
	if was != "" {
		w.logger.Info("witness cosigns again", "witness", s.name)
	}
}

// failed notes that a witness did not cosign. It is logged once until it does.
func (w *witnesses) failed(s *witnessState, problem string) {
	s.mu.Lock()
	was := s.problem
	rest := min(firstBackoff<<min(s.failures, 10), maxBackoff)
	s.problem, s.failures, s.total = problem, s.failures+1, s.total+1
	s.until = time.Now().Add(rest - rand.N(rest/2))
	s.mu.Unlock()
	if was == "" {
		w.logger.Warn("witness does not cosign", "witness", s.name, "problem", problem)
	}
}

// WitnessHealth is how a witness of the policy fares.
type WitnessHealth struct {
	Name     string     `json:"name"`               // in the policy
	Cosigned *time.Time `json:"cosigned,omitempty"` // when it last did, since the start
	Problem  string     `json:"problem,omitempty"`  // why it does not
	Next     *time.Time `json:"next,omitempty"`     // when it is asked again, then
}

func (w *witnesses) health() []WitnessHealth {
	list := make([]WitnessHealth, 0, len(w.list))
	for _, s := range w.list {
		s.mu.Lock()
		h := WitnessHealth{Name: s.name, Problem: s.problem}
		if !s.cosigned.IsZero() {
			t := s.cosigned.UTC().Truncate(time.Second)
			h.Cosigned = &t
		}
		if s.problem != "" {
			t := s.until.UTC().Truncate(time.Second)
			h.Next = &t
		}
		s.mu.Unlock()
		list = append(list, h)
	}
	return list
}
