package server

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/internal/payload"
)

const (
	// maxRecordProofs bounds the record proofs that are made at once: each reads all
	// of a segment's records, for an answer that may be short.
	maxRecordProofs = 2
	// maxProvedRecords bounds the segment that a proof is made of. It keeps a hash of
	// each record, or about 52 bytes: 55 MB. Who wants one of a larger segment reads
	// the payload, as everyone may who may ask for a proof.
	maxProvedRecords = 1 << 20
)

// getRecord answers with the proof of one record (FORMAT.md, section 5), short or
// sealed. It says nothing that the payload does not, so it is for those who may read
// that; and it need not be believed: who asks holds it to the entry.
func (s *Server) getRecord(w http.ResponseWriter, r *http.Request) error {
	leaf, ok := parseHash(r.PathValue("leaf"))
	index, err := strconv.ParseUint(r.PathValue("index"), 10, 64)
	if !ok || err != nil || r.PathValue("index") != strconv.FormatUint(index, 10) {
		return errNotFound
	}
	sealed := r.URL.Query().Get("sealed")
	if sealed != "" && sealed != "true" {
		return badRequest("sealed: %.32q; want true, or nothing for the short form", sealed)
	}
	_, entry, missing := s.loggedEntry(r.Context(), leaf)
	segment, _ := entry.(*ledger.Segment)
	if !s.config.PublicPayloads {
		host := "" // of an entry that is not there, which only he learns who may read all
		if segment != nil {
			host = segment.Host
		}
		if err := s.mayRead(r, host); err != nil {
			return err
		}
	}
	switch {
	case missing != nil:
		return missing
	case segment == nil || index >= segment.Count:
		return errNotFound
	case segment.Count > maxProvedRecords:
		return badRequest("the segment has %d records, and proofs are made of at most %d: read its payload", segment.Count, maxProvedRecords)
	}
	if by, erased := s.chains.erasedBy(segment.Payload.Digest); erased {
		return &erasedError{by}
	}
	select {
	case s.recordProofs <- struct{}{}:
		defer func() { <-s.recordProofs }()
	default:
		return errBusy
	}
	content, found, err := s.addenda.Open(segment.Payload.Digest)
	if err != nil || !found {
		return errors.Join(err, errNotFound)
	}
	defer content.Close()
	proof, err := audit.ProveRecord(segment, content, index, sealed != "")
	if errors.Is(err, payload.ErrDigest) { // elsewhere an upload's fault, here the disk's
		return fmt.Errorf("addendum %x has decayed on disk; upload it again: %v", segment.Payload.Digest[:6], err)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", cachePrivate)
	if s.config.PublicPayloads {
		w.Header().Set("Cache-Control", cacheAddendum)
	}
	_, err = w.Write(proof.Marshal())
	return ignore(err)
}
