package witness

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// sizeContentType is that of the body of a 409.
const sizeContentType = "text/x.tlog.size"

func (w *Witness) routes() {
	// SPEC: POST <submission prefix>/add-checkpoint
	// SPEC: The request MUST be an HTTP POST.
	w.mux.HandleFunc("POST /add-checkpoint", w.serve("add-checkpoint", w.addCheckpoint))
	// SPEC: It is OPTIONAL for a witness to support this API.
	// A witness without an ML-DSA-44 key has nothing to sign a subtree with.
	// SPEC: POST <submission prefix>/sign-subtree
	// SPEC: The request MUST be an HTTP POST.
	if slices.ContainsFunc(w.keys, func(k *Key) bool { return k.alg == algMLDSA44 }) {
		w.mux.HandleFunc("POST /sign-subtree", w.serve("sign-subtree", w.signSubtree))
	}
	// SPEC: GET <monitoring prefix>/<origin hash>/checkpoint
	// SPEC: The request MUST be an HTTP GET.
	// SPEC: A witness MAY use the same value for both the submission prefix and the
	// SPEC: monitoring prefix.
	w.mux.HandleFunc("GET /{hash}/checkpoint", w.serveCheckpoint)
}

// ServeHTTP serves the submission and the monitoring prefix, which are one. Use http.StripPrefix for one that has a path.
func (w *Witness) ServeHTTP(response http.ResponseWriter, r *http.Request) {
	w.mux.ServeHTTP(response, r)
}

// serve serves a request for signatures.
func (w *Witness) serve(path string, sign func(body []byte) (lines string, err error)) http.HandlerFunc {
	return func(response http.ResponseWriter, r *http.Request) {
		w.metrics.answered(path, w.answer(response, r, sign))
	}
}

// answer answers a request for signatures, and gives the status it answered with.
func (w *Witness) answer(response http.ResponseWriter, r *http.Request, sign func(body []byte) (string, error)) (status int) {
	body, err := io.ReadAll(http.MaxBytesReader(response, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		http.Error(response, err.Error(), http.StatusRequestEntityTooLarge)
		return http.StatusRequestEntityTooLarge
	}
	if err != nil {
		http.Error(response, "read the request: "+err.Error(), http.StatusBadRequest)
		return http.StatusBadRequest
	}
	begun := time.Now()
	lines, err := sign(body)
	w.metrics.seconds.Observe(time.Since(begun).Seconds())
	if err != nil {
		return w.refuse(response, err)
	}
	// SPEC: The response body MUST be a sequence of one or more note signature
	// SPEC: lines, each starting with the `—` character (U+2014) and ending with a
	// SPEC: newline character (U+000A). The signatures MUST be cosignatures from the
	// SPEC: witness key(s) on the checkpoint.
	response.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(response, lines)
	return http.StatusOK
}

// refuse answers a request that gets no cosignature, and gives the status.
func (w *Witness) refuse(response http.ResponseWriter, err error) (status int) {
	var conflict *conflictError
	var limited *limitError
	status = http.StatusInternalServerError
	switch {
	case errors.As(err, &conflict):
		// SPEC: The response body MUST consist of the tree size of the latest
		// SPEC: cosigned checkpoint in decimal, followed by a newline (U+000A). The
		// SPEC: response MUST have a `Content-Type` of `text/x.tlog.size`.
		response.Header().Set("Content-Type", sizeContentType)
		response.WriteHeader(http.StatusConflict)
		io.WriteString(response, strconv.FormatUint(conflict.latest, 10)+"\n")
		w.logger.Debug("refused", "status", http.StatusConflict, "error", err)
		return http.StatusConflict
	case errors.As(err, &limited):
		response.Header().Set("Retry-After", strconv.Itoa(limited.retryAfter()))
		status = http.StatusTooManyRequests
	case errors.Is(err, errMalformed):
		status = http.StatusBadRequest
	case errors.Is(err, errSignature):
		status = http.StatusForbidden
	case errors.Is(err, errUnknownLog):
		status = http.StatusNotFound
	case errors.Is(err, errInconsistent):
		status = http.StatusUnprocessableEntity
	case errors.Is(err, errUnavailable):
		status = http.StatusServiceUnavailable
	}
	if status >= http.StatusInternalServerError {
		// What broke is the operator's to know, not the client's.
		w.logger.Error("cannot cosign", "error", err)
		http.Error(response, "the witness cannot cosign now; its log says why", status)
		return status
	}
	w.logger.Debug("refused", "status", status, "error", err)
	http.Error(response, err.Error(), status)
	return status
}
