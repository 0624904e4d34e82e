package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/internal/payload"
)

var (
	errBusy     = errors.New("too many submissions at once; try again in a moment")
	errNotFound = errors.New("not found")
)

// A requestError is a request that is wrong by itself, whatever the log holds.
type requestError struct{ text string }

func (e *requestError) Error() string { return e.text }

func badRequest(format string, args ...any) error {
	return &requestError{fmt.Sprintf(format, args...)}
}

// problemOf is the one place where errors become HTTP statuses. What is not
// foreseen is the server's own trouble and tells a stranger nothing.
func problemOf(err error) *client.Problem {
	var (
		refused *refusal
		request *requestError
		tooBig  *http.MaxBytesError
		late    *limitError
		hole    *offsetError
		coding  *codingError
		erased  *erasedError
		frozen  *frozenError
	)
	p := &client.Problem{Detail: err.Error()}
	defer func() { p.Type = problemBase + p.Type }()
	switch {
	case errors.As(err, &refused) && len(refused.Missing) > 0:
		p.Type, p.Status, p.Title = "incomplete", http.StatusUnprocessableEntity, "the entry names what was not uploaded"
	case errors.As(err, &refused) && refused.Conflict:
		p.Type, p.Status, p.Title = "conflict", http.StatusConflict, "the host's chain went another way"
	case errors.As(err, &refused):
		p.Type, p.Status, p.Title = "contradicted", http.StatusUnprocessableEntity, "the evidence does not bear this out"
	case errors.As(err, &request):
		p.Type, p.Status, p.Title = "bad-request", http.StatusBadRequest, "bad request"
	case errors.Is(err, payload.ErrDigest):
		p.Type, p.Status, p.Title = "digest", http.StatusBadRequest, "the body is not what the path names"
	case errors.As(err, &tooBig), errors.Is(err, payload.ErrTooLarge):
		p.Type, p.Status, p.Title = "too-large", http.StatusRequestEntityTooLarge, "too large"
	case errors.Is(err, errSession), errors.Is(err, errActivation):
		p.Type, p.Status, p.Title = "not-activated", http.StatusForbidden, "not activated"
	case errors.Is(err, errToken):
		p.Type, p.Status, p.Title = "unauthorized", http.StatusUnauthorized, "not this registrar's ledger"
	case errors.Is(err, errNoCredentials), errors.Is(err, errUploadToken):
		p.Type, p.Status, p.Title = "unauthorized", http.StatusUnauthorized, "credentials are needed"
	case errors.Is(err, errToldNobody):
		p.Type, p.Status, p.Title = "forbidden", http.StatusForbidden, "not allowed"
	case errors.As(err, &late):
		p.Type, p.Status, p.Title = "too-many", http.StatusTooManyRequests, "too many requests"
	case errors.As(err, &hole):
		p.Type, p.Status, p.Title = "offset", http.StatusRequestedRangeNotSatisfiable, "the upload would leave a hole"
	case errors.As(err, &coding):
		p.Type, p.Status, p.Title = "coding", http.StatusUnsupportedMediaType, "unknown content coding"
	case errors.As(err, &erased):
		p.Type, p.Status, p.Title = "erased", http.StatusGone, "erased by policy"
	case errors.As(err, &frozen):
		p.Type, p.Status, p.Title = "frozen", http.StatusGone, "the log has ended"
	case errors.Is(err, errTooSlow):
		p.Type, p.Status, p.Title = "too-slow", http.StatusRequestTimeout, "too slow"
	case errors.Is(err, errRegistrars):
		p.Type, p.Status, p.Title = "registrars", http.StatusServiceUnavailable, "registrars"
	case errors.Is(err, errNoRegistrar):
		p.Type, p.Status, p.Title = "no-registrar", http.StatusNotImplemented, "no registrar"
	case errors.Is(err, errNotFound):
		p.Type, p.Status, p.Title = "not-found", http.StatusNotFound, "not found"
	case errors.Is(err, errBusy):
		p.Type, p.Status, p.Title = "busy", http.StatusServiceUnavailable, "busy"
	case isAway(err):
		p.Type, p.Status, p.Title, p.Detail = "busy", http.StatusServiceUnavailable, "busy", "the ledger's storage does not answer"
	case errors.Is(err, ErrStopped):
		p.Type, p.Status, p.Title, p.Detail = "stopped", http.StatusServiceUnavailable, ErrStopped.Error(), ""
	default:
		p.Type, p.Status, p.Title, p.Detail = "internal", http.StatusInternalServerError, "the ledger has a problem of its own", ""
	}
	if frozen != nil {
		successor := frozen.successor()
		p.Successor = &successor
	}
	if erased != nil {
		p.Erasure = fmt.Sprintf("%x", erased.by)
	}
	if refused != nil {
		p.Findings, p.Detail = refused.Findings, refused.Detail
		for _, digest := range refused.Missing {
			p.Missing = append(p.Missing, "/"+ledger.AddendumPath(digest))
		}
	}
	return p
}

// problemBase begins the type of a problem: API.md has a section for each.
const problemBase = "https://github.com/imaledger/imaledger/blob/main/ledger/API.md#problem-"

// writeError answers with a problem.
func (s *Server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	s.blame(r, err)
	writeProblem(w, r, err, s.config.Logger)
}

func writeProblem(w http.ResponseWriter, r *http.Request, err error, logger *slog.Logger) {
	p := problemOf(err)
	p.Request = requestID(r)
	if p.Status == http.StatusInternalServerError || isAway(err) {
		logger.Error("request failed", "request", p.Request, "method", r.Method, "path", r.URL.Path, "error", err)
	}
	var (
		late *limitError
		hole *offsetError
	)
	switch {
	case errors.As(err, &late):
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(late.after/time.Second))))
	case errors.As(err, &hole):
		w.Header().Set("Upload-Offset", strconv.FormatInt(hole.have, 10))
	case p.Status == http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	case p.Status == http.StatusUnsupportedMediaType:
		w.Header().Set("Accept-Encoding", "zstd") // RFC 7694
	case p.Status == http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="imaledger"`)
	}
	writeJSON(w, p.Status, client.ProblemType, p)
}

func writeJSON(w http.ResponseWriter, status int, media string, v any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // it is read by programs, as JSON
	if err := e.Encode(v); err != nil {
		panic(err) // every type here can be marshalled
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

// acceptedOf is what is told of an entry that is durable.
func acceptedOf(leaf ledger.Hash, index uint64) *client.Accepted {
	return &client.Accepted{Leaf: fmt.Sprintf("%x", leaf), Index: index}
}

// noRoute answers a request for what is not there, as the multiplexer would, but
// with a problem.
func (s *Server) noRoute(w http.ResponseWriter, r *http.Request) {
	answer := &noBody{header: w.Header()}
	s.mux.ServeHTTP(answer, r)
	p := &client.Problem{Type: problemBase + "not-found", Status: http.StatusNotFound, Title: "not found", Request: requestID(r)}
	switch answer.status {
	case http.StatusNotFound:
	case http.StatusMethodNotAllowed:
		p.Type, p.Status, p.Title = problemBase+"method", http.StatusMethodNotAllowed, "this path has other methods"
	default: // a redirect to the path as it should be written
		w.WriteHeader(answer.status)
		return
	}
	writeJSON(w, p.Status, client.ProblemType, p)
}

// noBody takes a status and headers.
type noBody struct {
	header http.Header
	status int
}

func (n *noBody) Header() http.Header         { return n.header }
func (n *noBody) Write(b []byte) (int, error) { return len(b), nil }
func (n *noBody) WriteHeader(status int)      { n.status = status }
