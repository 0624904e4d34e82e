package witness

import "net/http"

// serveCheckpoint serves the newest checkpoint of a log that the witness
// cosigned, for monitors who want to see what clients are shown.
func (w *Witness) serveCheckpoint(response http.ResponseWriter, r *http.Request) {
	// SPEC: The origin hash is the SHA-256 hash of the log's origin, hex encoded, in
	// SPEC: lowercase.
	w.mu.RLock()
	log, ok := w.byHash[r.PathValue("hash")]
	w.mu.RUnlock()
	if !ok {
		http.Error(response, "no such log; the path has the SHA-256 of its origin in lower-case hex", http.StatusNotFound)
		return
	}
	// SPEC: The response body MUST be a checkpoint for the log identified by the
	// SPEC: origin, and it MUST include the cosignature(s) from the witness's key(s) that
	// SPEC: were returned from add-checkpoint and the cosignature from the log key(s)
	// SPEC: that the witness verified.
	// SPEC: The witness MAY delay updating the checkpoint, but SHOULD NOT delay for more
	// SPEC: than an hour.
	log.mu.Lock()
	raw := log.raw
	log.mu.Unlock()
	if raw == "" {
		// SPEC: If the witness has never cosigned a checkpoint for that log, it MUST
		// SPEC: respond with a "404 Not Found" HTTP status code instead.
		http.Error(response, "no checkpoint of the log "+log.origin+" was cosigned yet", http.StatusNotFound)
		return
	}
	response.Header().Set("Content-Type", "text/plain; charset=utf-8")
	response.Header().Set("Cache-Control", "no-cache")
	response.Write([]byte(raw))
}
