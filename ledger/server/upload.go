package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/internal/payload"
)

const (
	// spoolFrom is the size in bytes from which on an upload that breaks off can
	// be resumed. A smaller one is sent again sooner than it is asked about.
	spoolFrom = 256 << 10

	// maxUploads bounds the uploads under way, of all hosts together. They have
	// slots of their own, so that slow ones keep no entry waiting.
	maxUploads = 512

	// zstdWindow is what RFC 9659 lets a decoder of the content coding ask for.
	zstdWindow = 8 << 20
)

// A span is the part of an addendum that an upload brings, in bytes of the
// addendum as it is stored: what RFC 9110, section 14.5, calls a partial PUT.
// end and total are -1 where the request does not say.
type span struct{ start, end, total int64 }

// parseSpan reads "Content-Range: bytes 5-9/10". There is one spelling.
func parseSpan(r *http.Request, max int64) (s span, err error) {
	s = span{0, -1, -1}
	encoded := r.Header.Get("Content-Encoding") != ""
	if header := r.Header.Get("Content-Range"); header != "" {
		if _, err := fmt.Sscanf(header, "bytes %d-%d/%d", &s.start, &s.end, &s.total); err != nil || header != s.String() ||
			s.start < 0 || s.end < s.start || s.end >= s.total {
			return s, badRequest("Content-Range %.64q: want bytes FIRST-LAST/SIZE", header)
		}
		if s.end++; !encoded && r.ContentLength >= 0 && r.ContentLength != s.end-s.start {
			return s, badRequest("Content-Range %q, but the body has %d bytes", header, r.ContentLength)
		}
	} else if r.ContentLength >= 0 && !encoded {
		s.end, s.total = r.ContentLength, r.ContentLength
	}
	if s.total > max {
		return s, &http.MaxBytesError{Limit: max}
	}
	return s, nil
}

func (s span) String() string { return fmt.Sprintf("bytes %d-%d/%d", s.start, s.end, s.total) }

// putAddendum stores an addendum, or a part of it.
func (s *Server) putAddendum(w http.ResponseWriter, r *http.Request) error {
	digest, err := addendumDigest(r)
	if err != nil {
		return err
	}
	uploader, err := s.mayUpload(r)
	if err != nil {
		return err
	}
	if err := s.throttle(r); err != nil {
		return err
	}
	if err := s.takesEntries(); err != nil {
		return err
	}
	at, err := parseSpan(r, s.config.MaxPayload)
	if err != nil {
		return err
	}
	leave, err := s.uploads.enter(uploader, "this host has uploads under way")
	if err != nil {
		return err
	}
	defer leave()
	if err := s.beginIn(s.uploadSlots); err != nil {
		return err
	}
	defer s.endIn(s.uploadSlots)
	control := http.NewResponseController(w)
	body, closeBody, err := s.decode(r, &patientReader{body: r.Body, control: control, stall: s.config.Stall})
	if err != nil {
		return err
	}
	defer closeBody()
	// Nobody removes it while it comes, nor says that it is there and then not.
	defer s.pending.claim(digest)()
	var created bool
	if at.start == 0 && at.end == at.total && at.total >= 0 && at.total < spoolFrom && s.spool.size(uploader, digest) == 0 {
		created, err = s.storeWhole(uploader, digest, body, at.total)
	} else {
		abort := func() { _ = control.SetReadDeadline(time.Now()) }
		var have int64
		have, created, err = s.storePart(uploader, digest, body, at, abort)
		if err == nil && have > 0 {
			w.Header().Set("Upload-Offset", strconv.FormatInt(have, 10))
			w.WriteHeader(http.StatusAccepted)
			return nil
		}
	}
	if err != nil {
		return uploadError(err)
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	w.WriteHeader(status)
	return nil
}

// decode returns a body without its content coding. What it comes to is bounded
// by whoever reads it, the memory for it by the window.
func (s *Server) decode(r *http.Request, body io.Reader) (decoded io.Reader, close func(), err error) {
	switch coding := r.Header.Get("Content-Encoding"); coding {
	case "", "identity":
		return body, func() {}, nil
	case "zstd":
		z, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, nil, err
		}
		return &zstdReader{z}, z.Close, nil
	default:
		return nil, nil, &codingError{coding}
	}
}

// A zstdReader tells a body that is not zstd from a connection that broke.
type zstdReader struct{ z *zstd.Decoder }

func (z *zstdReader) Read(b []byte) (int, error) {
	n, err := z.z.Read(b)
	var lost *bodyError
	if err != nil && err != io.EOF && !errors.As(err, &lost) {
		err = badRequest("zstd: %v", err)
	}
	return n, err
}

type codingError struct{ coding string }

func (e *codingError) Error() string {
	return fmt.Sprintf("Content-Encoding %.32q: zstd, or none", e.coding)
}

// storeWhole stores an addendum from a body that brings all of it.
func (s *Server) storeWhole(uploader string, digest ledger.Hash, body io.Reader, size int64) (created bool, err error) {
	_, had, err := s.addenda.Size(digest)
	if err != nil {
		return false, err
	}
	if had {
		size = 0 // it was counted when it came first
	}
	if err := s.pending.grow(uploader, size); err != nil {
		return false, err
	}
	if created, err = s.put(uploader, digest, body, size); !created {
		_ = s.pending.grow(uploader, -size)
	}
	return created, err
}

// put stores an addendum whose bytes are counted, with its mark.
func (s *Server) put(uploader string, digest ledger.Hash, content io.Reader, size int64) (created bool, err error) {
	_, had, err := s.addenda.Size(digest)
	if err == nil && !had {
		err = s.pending.mark(digest, uploader, size)
	}
	if err == nil {
		created, err = s.addenda.Put(digest, content, s.config.MaxPayload)
	}
	switch {
	case err == nil && created:
		s.pending.stored(digest, uploader, size)
	case err == nil:
		s.pending.renew(digest)
	default:
		// It may be there all the same, where the last sync failed; the mark on disk
		// then has the next start look after it.
		if _, found, e := s.addenda.Size(digest); e == nil && !found {
			s.pending.unmark(digest)
		}
	}
	return created, err
}

// storePart takes a part of an addendum in, and stores the addendum once it is
// whole. Until then it returns how much of it there is. What came before a
// connection broke is kept.
func (s *Server) storePart(uploader string, digest ledger.Hash, body io.Reader, at span, abort func()) (have int64, created bool, err error) {
	part, err := s.spool.open(uploader, digest, at.start, abort)
	if err != nil {
		return 0, false, err
	}
	defer func() { err = errors.Join(err, part.close()) }()
	limit := s.config.MaxPayload
	if at.end >= 0 {
		limit = at.end
	}
	// One byte more than there may be is asked for, so that too much is told from
	// enough; it is not kept.
	n, err := io.Copy(part, io.LimitReader(body, limit-at.start))
	if err == nil && at.start+n == limit {
		err = noMore(body, limit)
	}
	var lost *bodyError
	switch {
	case errors.As(err, &lost):
		return 0, false, err
	case err == nil && at.end >= 0 && part.size < at.end:
		return 0, false, &bodyError{io.ErrUnexpectedEOF}
	case err == nil && at.total >= 0 && part.size < at.total:
		return part.size, false, nil
	}
	if err == nil {
		if _, err = part.file.Seek(0, io.SeekStart); err == nil {
			created, err = s.put(uploader, digest, part.file, part.size)
		}
	}
	// It is whole and stored, or whole and wrong: it is not gone on with.
	if e := part.drop(created); err == nil {
		err = e
	}
	return 0, created, err
}

// noMore makes sure that a body has ended.
func noMore(body io.Reader, limit int64) error {
	var b [1]byte
	n, err := io.ReadFull(body, b[:])
	if n > 0 {
		return fmt.Errorf("%w of %d bytes", payload.ErrTooLarge, limit)
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// uploadError tells a connection that broke from storage that did.
func uploadError(err error) error {
	var lost *bodyError
	switch {
	case errors.As(err, &lost) && errors.Is(err, os.ErrDeadlineExceeded):
		return errTooSlow
	case errors.As(err, &lost):
		return badRequest("the upload broke off: %v", lost.err)
	}
	return err
}

var errTooSlow = errors.New("the upload stood still, or was gone on with by another request")

// headAddendum tells whoever uploads how much of an addendum there is.
func (s *Server) headAddendum(w http.ResponseWriter, r *http.Request, digest ledger.Hash, uploader string) error {
	if err := s.throttle(r); err != nil {
		return err
	}
	defer s.pending.claim(digest)()
	size, found, err := s.addenda.Size(digest)
	if err != nil {
		return err
	}
	if !found {
		if have := s.spool.size(uploader, digest); have > 0 {
			w.Header().Set("Upload-Offset", strconv.FormatInt(have, 10))
		}
		return errNotFound
	}
	s.pending.renew(digest)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	return nil
}
