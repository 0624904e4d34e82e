package server

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/transparency-dev/tessera/api/layout"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/internal/payload"
)

// How long caches may keep what they were given (API.md says it for operators).
const (
	// A tile never changes, nor does a bundle of entries.
	immutable = "public, max-age=31536000, immutable"
	// An addendum does not either, but it can be erased: then a cache has it for
	// another day, unless it is told.
	cacheAddendum = "public, max-age=86400, immutable"
	// A proof that was right stays right.
	cacheProof = "public, max-age=86400"
	// What only some may read, no cache keeps for others.
	cachePrivate = "private, max-age=86400, immutable"
)

// maxLevel is the highest level of a tile (c2sp.org/tlog-tiles); a tree of 2^63
// leaves has 8.
const maxLevel = 63

func (s *Server) getCheckpoint(w http.ResponseWriter, r *http.Request) error {
	raw, err := s.log.reader.ReadCheckpoint(r.Context())
	if errors.Is(err, fs.ErrNotExist) {
		return errNotFound // not witnessed yet
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	// SPEC: headers SHOULD prevent caching beyond a few seconds.
	w.Header().Set("Cache-Control", "public, max-age=1")
	_, err = w.Write(raw)
	return ignore(err)
}

// getTile serves tiles and entry bundles that the published checkpoint implies,
// and no others: what is beyond is not witnessed, and a bundle whose write was
// cut off by a crash is written again with other entries, which a cache would
// never learn.
func (s *Server) getTile(w http.ResponseWriter, r *http.Request) error {
	name, level, end, ok := parseTilePath(r.PathValue("path"))
	if !ok {
		return errNotFound
	}
	cache := immutable
	if level < 0 && s.config.PrivateEntries {
		if err := s.mayReadEntries(r, ""); err != nil {
			return err
		}
		cache = cachePrivate
		w.Header().Set("Vary", "Authorization")
	}
	published := s.log.newest.checkpoint()
	if published == nil || end > published.Size {
		return errNotFound
	}
	tile, err := s.storage.Log.Read(r.Context(), name)
	if errors.Is(err, fs.ErrNotExist) {
		return errNotFound // a partial tile whose full one is there
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", cache)
	w.Header().Set("ETag", strconv.Quote(strconv.Itoa(level)+"/"+name))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(tile))
	return nil
}

// parseTilePath reads what follows /tile/. It returns the file's path in the log,
// the level (-1 for entries), and the size of the smallest tree that has the
// tile. There is one spelling of each path.
func parseTilePath(path string) (name string, level int, end uint64, ok bool) {
	first, rest, found := strings.Cut(path, "/")
	if !found {
		return "", 0, 0, false
	}
	n, width, err := layout.ParseTileIndexPartial(rest)
	if err != nil {
		return "", 0, 0, false
	}
	l := uint64(0)
	if first == "entries" {
		name, level = layout.EntriesPath(n, width), -1
	} else {
		if l, err = layout.ParseTileLevel(first); err != nil || l > maxLevel {
			return "", 0, 0, false
		}
		name, level = layout.TilePath(l, n, width), int(l)
	}
	end, fits := treeSize(l, n, width)
	return name, level, end, fits && name == "tile/"+path
}

// treeSize returns the index after the last leaf below a tile; width 0 is a full
// tile. No tree reaches what does not fit in 63 bits.
func treeSize(level, n uint64, width uint8) (size uint64, fits bool) {
	hashes := uint64(width)
	if width == 0 {
		hashes = layout.TileWidth
	}
	if n > 1<<54 {
		return 0, false
	}
	size = n*layout.TileWidth + hashes
	for range level {
		if size > 1<<54 {
			return 0, false
		}
		size *= layout.TileWidth
	}
	return size, true
}

// getAddendaMarker says that this log's entries end in digest indications
// (c2sp.org/tlog-addenda).
func (s *Server) getAddendaMarker(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", immutable)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	return nil
}

// getAddendum serves an addendum, hashing it on the way: of one that has decayed
// the end is held back and the connection broken, so nobody takes it for whole.
func (s *Server) getAddendum(w http.ResponseWriter, r *http.Request) error {
	digest, err := addendumDigest(r)
	if err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		if uploader, err := s.mayUpload(r); err == nil {
			return s.headAddendum(w, r, digest, uploader)
		}
	}
	if err := s.mayReadAddendum(r, digest); err != nil {
		return err
	}
	if by, erased := s.chains.erasedBy(digest); erased {
		return &erasedError{by} // it may be there for some moments more
	}
	size, found, err := s.addenda.Size(digest)
	if err != nil {
		return err
	}
	if !found {
		return errNotFound
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", cachePrivate)
	if s.config.PublicPayloads {
		w.Header().Set("Cache-Control", cacheAddendum)
	}
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	if r.Method == http.MethodHead {
		return nil
	}
	content, found, err := s.addenda.Open(digest)
	if err != nil || !found {
		return errors.Join(err, errNotFound)
	}
	defer content.Close()
	to := &patientWriter{ResponseWriter: w, control: http.NewResponseController(w), stall: s.config.Stall}
	n, err := io.Copy(to, content)
	if errors.Is(err, payload.ErrDigest) || err == nil && n != size {
		s.config.Logger.Error("addendum has decayed on disk; upload it again", "addendum", r.URL.Path, "error", err)
	}
	if err != nil || n != size {
		panic(http.ErrAbortHandler)
	}
	return nil
}

// mayReadAddendum reports whether a request may read an addendum. Whoever may read
// some hosts' only says with ?leaf= which entry of theirs names it: nothing else
// ties a digest to a host.
func (s *Server) mayReadAddendum(r *http.Request, digest ledger.Hash) error {
	if s.config.PublicPayloads {
		return nil
	}
	leaf, named := parseHash(r.URL.Query().Get("leaf"))
	if !named {
		return s.mayRead(r, "")
	}
	host := ""
	if _, entry, err := s.loggedEntry(r.Context(), leaf); err == nil && slices.Contains(entry.Addenda(), digest) {
		host = hostOf(entry)
	}
	return s.mayRead(r, host)
}
