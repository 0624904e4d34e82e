package server

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

const (
	// DefaultWait is how long an answer waits for witnesses when the request
	// does not say; MaxWait the longest that it may ask for.
	DefaultWait = 10 * time.Second
	MaxWait     = client.MaxWait

	// maxEnrolRequest bounds an enrolment request in bytes: its public areas and
	// certificates in base64.
	maxEnrolRequest = 128 << 10
)

// routes sets up the handlers. What is named here is all there is.
func (s *Server) routes() {
	s.mux = http.NewServeMux()
	handle := func(pattern string, h func(http.ResponseWriter, *http.Request) error) {
		s.patterns = append(s.patterns, pattern)
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := h(w, r); err != nil {
				s.writeError(w, r, err)
			}
		})
	}
	handle("PUT /addenda/{s0}/{s1}/{digest}", s.putAddendum)
	handle("POST /leaf", s.postLeaf)
	handle("GET /proof/{leaf}", s.getProof)
	handle("GET /proof/index/{index}", s.getProofByIndex)
	handle("GET /leaf/{leaf}", s.getLeaf)
	handle("GET /hosts", s.getHosts)
	handle("GET /host/{host}/head", s.getHead)
	handle("GET /host/{host}/chain", s.getChain)
	handle("GET /refusals", s.getRefusals)
	handle("POST /enrol", s.postEnrol)
	handle("POST /enrol/activate", s.postActivate)
	handle("GET /checkpoint", s.getCheckpoint)
	handle("GET /tile/{path...}", s.getTile)
	handle("GET /addenda.v1", s.getAddendaMarker)
	handle("GET /addenda/{s0}/{s1}/{digest}", s.getAddendum)
	handle("GET /record/{leaf}/{index}", s.getRecord)
	s.retentionRoutes(handle)
	handle("GET /search", s.getSearch)
	handle("GET /freeze", s.getFreeze)
	handle("GET /healthz", s.getHealth)
	handle("GET /readyz", s.getReady)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	r = identify(w, r)
	logged(s.config.Logger, s.address(r), w, r, func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := s.mux.Handler(r); pattern == "" {
			s.noRoute(w, r)
			return
		}
		s.mux.ServeHTTP(w, r)
	})
}

// addendumDigest reads the path of an addendum: ledger.AddendumPath and nothing
// else.
func addendumDigest(r *http.Request) (ledger.Hash, error) {
	digest, ok := parseHash(r.PathValue("digest"))
	if !ok || r.URL.Path != "/"+ledger.AddendumPath(digest) {
		return digest, errNotFound
	}
	return digest, nil
}

// parseHash reads 64 lower-case hex digits.
func parseHash(s string) (h ledger.Hash, ok bool) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(h) || hex.EncodeToString(b) != s {
		return h, false
	}
	return ledger.Hash(b), true
}

func (s *Server) postLeaf(w http.ResponseWriter, r *http.Request) error {
	if err := s.throttle(r); err != nil {
		return err
	}
	raw, err := readBody(w, r, ledger.MaxStatement)
	if err != nil {
		return err
	}
	a, err := s.admission(raw)
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		s.offerToken(w, refused.uploader)
		return err
	case err != nil:
		return err
	}
	s.offerToken(w, a.uploader)
	return s.answer(w, r, a.leaf, a.index)
}

func (s *Server) getProof(w http.ResponseWriter, r *http.Request) error {
	leaf, ok := parseHash(r.PathValue("leaf"))
	if !ok {
		return errNotFound
	}
	index, found, err := s.find(r.Context(), leaf)
	if err != nil {
		return err
	}
	if !found {
		return errNotFound
	}
	return s.answer(w, r, leaf, index)
}

// answer gives an entry's proof, or, where the witnesses take longer than the
// request would wait, says where to ask for it.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, leaf ledger.Hash, index uint64) error {
	proof, err := s.awaitProof(r, leaf, index)
	if err != nil {
		return err
	}
	a := acceptedOf(leaf, index)
	if proof == nil {
		a.Status = client.NotWitnessed
		w.Header().Set("Location", "/proof/"+a.Leaf)
		writeJSON(w, http.StatusAccepted, "application/json", a)
		return nil
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", cacheProof)
	_, err = w.Write(proof)
	return ignore(err)
}

// ignore drops the error of an answer that its reader did not wait for.
func ignore(error) error { return nil }

func (s *Server) awaitProof(r *http.Request, leaf ledger.Hash, index uint64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(r.Context(), preferredWait(r.Header))
	defer cancel()
	return s.proof(ctx, leaf, index)
}

// preferredWait reads "Prefer: wait=N" (RFC 7240). Preferences that are not
// understood are passed over, as it demands.
func preferredWait(h http.Header) time.Duration {
	for _, line := range h.Values("Prefer") {
		for _, preference := range strings.Split(line, ",") {
			preference, _, _ = strings.Cut(preference, ";")
			name, value, _ := strings.Cut(preference, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			n, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 32)
			if err != nil {
				continue
			}
			return min(time.Duration(n)*time.Second, MaxWait)
		}
	}
	return DefaultWait
}

func (s *Server) getHead(w http.ResponseWriter, r *http.Request) error {
	host := r.PathValue("host")
	if err := s.mayReadEntries(r, host); err != nil {
		return err
	}
	if err := s.upToDate(r.Context(), host); err != nil {
		return err
	}
	leaf, sequence, index, found := s.chains.head(host)
	if !found {
		return errNotFound
	}
	a := acceptedOf(leaf, index)
	writeJSON(w, http.StatusOK, "application/json", client.HostHead{Host: host, Leaf: a.Leaf, Sequence: sequence, Index: index})
	return nil
}

func (s *Server) postEnrol(w http.ResponseWriter, r *http.Request) error {
	if err := s.addressRate.take(s.address(r), "too many enrolments begun from this address"); err != nil {
		return err
	}
	var request client.EnrolRequest
	if err := readJSON(w, r, &request); err != nil {
		return err
	}
	challenge, made, err := s.beginEnrolment(r.Context(), request)
	if err != nil {
		return err
	}
	if challenge != nil {
		writeJSON(w, http.StatusOK, "application/json", challenge)
		return nil
	}
	return s.answerEnrolled(w, r, made)
}

func (s *Server) postActivate(w http.ResponseWriter, r *http.Request) error {
	if err := s.throttle(r); err != nil {
		return err
	}
	var request client.Activation
	if err := readJSON(w, r, &request); err != nil {
		return err
	}
	made, err := s.endEnrolment(r.Context(), request)
	if err != nil {
		return err
	}
	return s.answerEnrolled(w, r, made)
}

func (s *Server) answerEnrolled(w http.ResponseWriter, r *http.Request, e *enrolled) error {
	proof, err := s.awaitProof(r, e.leaf, e.index)
	if err != nil {
		return err
	}
	a := acceptedOf(e.leaf, e.index)
	a.Entry, a.Proof = e.entry, string(proof)
	s.offerToken(w, e.uploader)
	status := http.StatusCreated
	if proof == nil {
		status, a.Status = http.StatusAccepted, client.NotWitnessed
	}
	w.Header().Set("Location", "/proof/"+a.Leaf)
	writeJSON(w, status, "application/json", a)
	return nil
}

func readBody(w http.ResponseWriter, r *http.Request, max int64) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, max))
	var tooBig *http.MaxBytesError
	if err != nil && !errors.As(err, &tooBig) {
		return nil, badRequest("the body broke off: %v", err)
	}
	return b, err
}

// readJSON reads one value and nothing else: an unknown field is a request that
// this server does not understand.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	b, err := readBody(w, r, maxEnrolRequest)
	if err != nil {
		return err
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return badRequest("JSON: %v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return badRequest("JSON: more than one value")
	}
	return nil
}
