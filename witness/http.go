package witness

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
)

// sizeContentType is that of the body of a 409.
const sizeContentType = "text/x.tlog.size"

func (w *Witness) routes() {
	// SPEC: POST <submission prefix>/add-checkpoint
	// SPEC: The request MUST be an HTTP POST.
	w.mux.HandleFunc("POST /add-checkpoint", w.serve(w.addCheckpoint))
	// SPEC: It is OPTIONAL for a witness to support this API.
	// A witness without an ML-DSA-44 key has nothing to sign a subtree with.
	// SPEC: POST <submission prefix>/sign-subtree
	// SPEC: The request MUST be an HTTP POST.
	if slices.ContainsFunc(w.keys, func(k *Key) bool { return k.alg == algMLDSA44 }) {
		w.mux.HandleFunc("POST /sign-subtree", w.serve(w.signSubtree))
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
func (w *Witness) serve(sign func(body []byte) (lines string, err error)) http.HandlerFunc {
	return func(response http.ResponseWriter, r *http.Request) { w.answer(response, r, sign) }
}

func (w *Witness) answer(response http.ResponseWriter, r *http.Request, sign func(body []byte) (string, error)) {
	body, err := io.ReadAll(http.MaxBytesReader(response, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		http.Error(response, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		http.Error(response, "read the request: "+err.Error(), http.StatusBadRequest)
		return
	}
	lines, err := sign(body)
	if err != nil {
		w.refuse(response, body, err)
		return
	}
	// SPEC: The response body MUST be a sequence of one or more note signature
	// SPEC: lines, each starting with the `—` character (U+2014) and ending with a
	// SPEC: newline character (U+000A). The signatures MUST be cosignatures from the
	// SPEC: witness key(s) on the checkpoint.
	response.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(response, lines)
}

// refuse answers a request that gets no cosignature.
func (w *Witness) refuse(response http.ResponseWriter, body []byte, err error) {
	var conflict *conflictError
	status := http.StatusInternalServerError
	switch {
	case errors.As(err, &conflict):
		// SPEC: The response body MUST consist of the tree size of the latest
		// SPEC: cosigned checkpoint in decimal, followed by a newline (U+000A). The
		// SPEC: response MUST have a `Content-Type` of `text/x.tlog.size`.
		response.Header().Set("Content-Type", sizeContentType)
		response.WriteHeader(http.StatusConflict)
		io.WriteString(response, strconv.FormatUint(conflict.latest, 10)+"\n")
		w.logger.Debug("refused", "status", http.StatusConflict, "error", err)
		return
	case errors.Is(err, errMalformed):
		status = http.StatusBadRequest
	case errors.Is(err, errSignature):
		status = http.StatusForbidden
	case errors.Is(err, errUnknownLog):
		status = http.StatusNotFound
	case errors.Is(err, errInconsistent):
		// SPEC: the witness MAY log the request even if the checkpoint fails one of the
		// SPEC: consistency checks above (but MUST NOT cosign the checkpoint), as it might
		// SPEC: be proof of log misbehavior.
		// Only who has the log's key gets here, so that strangers cannot fill the disk.
		w.logger.Warn("the log signed what does not fit what it signed before", "error", err, "request", string(body))
		http.Error(response, err.Error(), http.StatusUnprocessableEntity)
		return
	case errors.Is(err, errUnavailable):
		status = http.StatusServiceUnavailable
	}
	if status >= http.StatusInternalServerError {
		// What broke is the operator's to know, not the client's.
		w.logger.Error("cannot cosign", "error", err)
		http.Error(response, "the witness cannot cosign now; its log says why", status)
		return
	}
	w.logger.Debug("refused", "status", status, "error", err)
	http.Error(response, err.Error(), status)
}
