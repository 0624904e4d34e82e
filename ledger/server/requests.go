package server

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"time"
)

// requestHeader names a request, for the log of who made it and that of the ledger.
const requestHeader = "X-Request-Id"

const maxRequestID = 64 // bytes

type requestKey struct{}

// identify gives a request its name: the one that it brings, if that can stand in a
// log as it is, or one that nobody else has.
func identify(w http.ResponseWriter, r *http.Request) *http.Request {
	id := r.Header.Get(requestHeader)
	if !validRequestID(id) {
		id = rand.Text()
	}
	w.Header().Set(requestHeader, id)
	return r.WithContext(context.WithValue(r.Context(), requestKey{}, id))
}

func validRequestID(id string) bool {
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return 8 <= len(id) && len(id) <= maxRequestID
}

// requestID returns a request's name, empty where it has none.
func requestID(r *http.Request) string {
	id, _ := r.Context().Value(requestKey{}).(string)
	return id
}

// logged serves a request and logs it, where the logger takes records of level
// debug. What a query or a header says is not logged: it may be a secret.
func logged(logger *slog.Logger, address string, w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter, *http.Request)) {
	if !logger.Enabled(r.Context(), slog.LevelDebug) {
		serve(w, r)
		return
	}
	answer := &answerWriter{ResponseWriter: w}
	began := time.Now()
	serve(answer, r)
	logger.Debug("request", "request", requestID(r), "method", r.Method, "path", r.URL.Path, "status", answer.status, "bytes", answer.bytes,
		"took", time.Since(began).Round(time.Microsecond), "address", address)
}

// answerWriter counts what is answered.
type answerWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (a *answerWriter) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *answerWriter) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(b)
	a.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (a *answerWriter) Unwrap() http.ResponseWriter { return a.ResponseWriter }
