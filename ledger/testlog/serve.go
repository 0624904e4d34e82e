package testlog

import (
	"encoding/binary"
	"net/http"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/imaledger/imaledger/ledger"
)

// ServeHTTP serves what a static file server with the log's files would: the newest
// checkpoint, tiles, entries and addenda.
func (l *Log) ServeHTTP(w http.ResponseWriter, r *http.Request) { l.At(len(l.Entries)).ServeHTTP(w, r) }

// At serves the log as it was at a size.
func (l *Log) At(size int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := strings.TrimPrefix(r.URL.Path, "/"); {
		case path == "checkpoint":
			c, err := l.Checkpoint(size)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Write(c)
		case strings.HasPrefix(path, "tile/"):
			l.serveTile(w, r, strings.TrimPrefix(path, "tile/"))
		case strings.HasPrefix(path, "addenda/"):
			digest, err := ledger.ParseHash(path[strings.LastIndexByte(path, '/')+1:])
			content, found := l.Addenda[digest]
			if err != nil || !found || ledger.AddendumPath(digest) != path {
				http.NotFound(w, r)
				return
			}
			w.Write(content)
		default:
			http.NotFound(w, r)
		}
	})
}

func (l *Log) serveTile(w http.ResponseWriter, r *http.Request, path string) {
	tile, err := tlog.ParseTilePath("tile/8/" + strings.Replace(path, "entries/", "data/", 1))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	if tile.L >= 0 {
		b, err := tlog.ReadTileData(tile, l)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Write(b)
		return
	}
	from := tile.N << tile.H
	if from+int64(tile.W) > int64(len(l.Entries)) {
		http.NotFound(w, r)
		return
	}
	list, size := l.Entries[from:from+int64(tile.W)], 0
	for _, e := range list {
		size += 2 + len(e)
	}
	b := make([]byte, 0, size)
	for _, e := range list {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(e))), e...)
	}
	w.Write(b)
}
