package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/transparency-dev/tessera/api/layout"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

// Pages of a listing.
const (
	defaultPage = 100
	maxPage     = 1000
)

func pageLimit(s string) (int, error) {
	if s == "" {
		return defaultPage, nil
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n == 0 {
		return 0, badRequest("limit: %.32q is no number of entries", s)
	}
	return int(min(n, maxPage)), nil
}

// getChain lists a host's chain: ?from= a sequence, ?limit= at most so many.
func (s *Server) getChain(w http.ResponseWriter, r *http.Request) error {
	host := r.PathValue("host")
	if err := s.mayReadEntries(r, host); err != nil {
		return err
	}
	_, newest, _, found := s.chains.head(host)
	if !found {
		return errNotFound
	}
	query := r.URL.Query()
	limit, err := pageLimit(query.Get("limit"))
	if err != nil {
		return err
	}
	from := uint64(0)
	if text := query.Get("from"); text != "" {
		if from, err = strconv.ParseUint(text, 10, 63); err != nil {
			return badRequest("from: %.32q is no sequence number", text)
		}
	}
	page := client.HostChain{Host: host, Newest: newest, Entries: []client.ChainEntry{}}
	tiles := leafTiles{log: s.log, read: make(map[uint64][]byte)}
	for n := from; n <= newest && len(page.Entries) < limit; n++ {
		index, found := s.chains.at(host, n)
		if !found {
			break
		}
		leaf, err := tiles.leaf(r.Context(), index)
		if err != nil {
			return err
		}
		page.Entries = append(page.Entries, client.ChainEntry{Sequence: n, Leaf: fmt.Sprintf("%x", leaf), Index: index})
	}
	if next := from + uint64(len(page.Entries)); len(page.Entries) > 0 && next <= newest {
		page.Next = fmt.Sprintf("/host/%s/chain?from=%d&limit=%d", host, next, limit)
		w.Header().Set("Link", fmt.Sprintf("<%s>; rel=\"next\"", page.Next))
	}
	writeJSON(w, http.StatusOK, "application/json", page)
	return nil
}

// leafTiles reads leaf hashes from the lowest tiles, each of which it reads once.
type leafTiles struct {
	log  *treeLog
	size uint64
	read map[uint64][]byte
}

func (t *leafTiles) leaf(ctx context.Context, index uint64) (leaf ledger.Hash, err error) {
	if index >= t.size {
		if t.size, err = t.log.sizeOver(ctx, index); err != nil {
			return leaf, err
		}
		clear(t.read) // the last one has grown
	}
	n := index / layout.TileWidth
	tile, read := t.read[n]
	if !read {
		if tile, err = t.log.reader.ReadTile(ctx, 0, n, layout.PartialTileSize(0, n, t.size)); err != nil {
			return leaf, fmt.Errorf("leaf hash at %d: %w", index, err)
		}
		t.read[n] = tile
	}
	at := index % layout.TileWidth * uint64(len(leaf))
	if uint64(len(tile)) < at+uint64(len(leaf)) {
		return leaf, fmt.Errorf("leaf hash at %d: its tile has %d bytes", index, len(tile))
	}
	return ledger.Hash(tile[at : at+uint64(len(leaf))]), nil
}

// getProofByIndex gives the proof of the entry at an index.
func (s *Server) getProofByIndex(w http.ResponseWriter, r *http.Request) error {
	text := r.PathValue("index")
	index, err := strconv.ParseUint(text, 10, 63)
	if err != nil || strconv.FormatUint(index, 10) != text {
		return errNotFound
	}
	size, err := s.log.reader.IntegratedSize(r.Context())
	if err != nil {
		return err
	}
	if index >= size {
		return errNotFound
	}
	tiles := leafTiles{log: s.log, read: make(map[uint64][]byte)}
	leaf, err := tiles.leaf(r.Context(), index)
	if err != nil {
		return err
	}
	return s.answer(w, r, leaf, index)
}

// loggedEntry reads an entry of the log by its leaf hash.
func (s *Server) loggedEntry(ctx context.Context, leaf ledger.Hash) (raw []byte, entry ledger.Entry, err error) {
	index, found := s.chains.find(leaf)
	if !found {
		return nil, nil, errNotFound
	}
	size, err := s.log.sizeOver(ctx, index)
	if err != nil {
		return nil, nil, err
	}
	if raw, err = s.log.entry(ctx, index, size); err != nil {
		return nil, nil, err
	}
	if ledger.LeafHash(raw) != leaf {
		return nil, nil, &integrityError{fmt.Errorf("entry %d is not the one with leaf hash %x", index, leaf)}
	}
	entry, err = ledger.ParseEntry(raw)
	return raw, entry, err
}

// hostOf returns whose an entry is, empty for an operator's statement.
func hostOf(entry ledger.Entry) string {
	if e, ok := entry.(ledger.HostEntry); ok {
		host, _, _ := e.Link()
		return host
	}
	return ""
}

// getLeaf gives an entry by its leaf hash.
func (s *Server) getLeaf(w http.ResponseWriter, r *http.Request) error {
	leaf, ok := parseHash(r.PathValue("leaf"))
	if !ok {
		return errNotFound
	}
	raw, entry, err := s.loggedEntry(r.Context(), leaf)
	host := ""
	if err == nil {
		host = hostOf(entry)
	}
	// Who may not read it is not told whether it is there.
	if e := s.mayReadEntries(r, host); e != nil {
		return e
	}
	if errors.Is(err, errNotFound) {
		return errNotFound
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", immutable)
	if s.config.PrivateEntries {
		w.Header().Set("Cache-Control", cachePrivate)
		w.Header().Set("Vary", "Authorization")
	}
	_, err = w.Write(raw)
	return ignore(err)
}
