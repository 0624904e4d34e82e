package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

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
	)
	p := &client.Problem{Detail: err.Error()}
	switch {
	case errors.As(err, &refused) && refused.Conflict:
		p.Status, p.Title = http.StatusConflict, "the host's chain went another way"
	case errors.As(err, &refused):
		p.Status, p.Title = http.StatusUnprocessableEntity, "the evidence does not bear this out"
	case errors.As(err, &request):
		p.Status, p.Title = http.StatusBadRequest, "bad request"
	case errors.Is(err, payload.ErrDigest):
		p.Status, p.Title = http.StatusBadRequest, "the body is not what the path names"
	case errors.As(err, &tooBig), errors.Is(err, payload.ErrTooLarge):
		p.Status, p.Title = http.StatusRequestEntityTooLarge, "too large"
	case errors.Is(err, errSession), errors.Is(err, errActivation):
		p.Status, p.Title = http.StatusForbidden, "not activated"
	case errors.Is(err, errToken):
		p.Status, p.Title = http.StatusUnauthorized, "not this registrar's ledger"
	case errors.Is(err, errRegistrars):
		p.Status, p.Title = http.StatusServiceUnavailable, "registrars"
	case errors.Is(err, errNoRegistrar):
		p.Status, p.Title = http.StatusNotImplemented, "no registrar"
	case errors.Is(err, errNotFound):
		p.Status, p.Title = http.StatusNotFound, "not found"
	case errors.Is(err, errBusy):
		p.Status, p.Title = http.StatusServiceUnavailable, "busy"
	case errors.Is(err, ErrStopped):
		p.Status, p.Title, p.Detail = http.StatusServiceUnavailable, ErrStopped.Error(), ""
	default:
		p.Status, p.Title, p.Detail = http.StatusInternalServerError, "the ledger has a problem of its own", ""
	}
	if refused != nil {
		p.Findings, p.Detail = refused.Findings, refused.Detail
	}
	return p
}

// writeError answers with a problem.
func (s *Server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	writeProblem(w, r, err, s.config.Logger)
}

func writeProblem(w http.ResponseWriter, r *http.Request, err error, logger *slog.Logger) {
	p := problemOf(err)
	if p.Status == http.StatusInternalServerError {
		logger.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, p.Status, client.ProblemType, p)
}

func writeJSON(w http.ResponseWriter, status int, media string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // every type here can be marshalled
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(append(b, '\n'))
}

// acceptedOf is what is told of an entry that is durable.
func acceptedOf(leaf ledger.Hash, index uint64) *client.Accepted {
	return &client.Accepted{Leaf: fmt.Sprintf("%x", leaf), Index: index}
}
