package testlog

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

// chainPage is how many entries of a chain a page has, unless fewer are asked for.
const chainPage = 100

// Ledger serves the log as it is now with what a ledger answers besides the files:
// the chains of hosts, entries and proofs by their leaf hashes.
func (l *Log) Ledger() http.Handler {
	chains, places := make(map[string][]client.ChainEntry), make(map[ledger.Hash]uint64)
	for i, raw := range l.Entries {
		leaf := l.Leaves[i]
		places[leaf] = uint64(i)
		e, err := ledger.ParseEntry(raw)
		if h, ok := e.(ledger.HostEntry); err == nil && ok {
			host, sequence, _ := h.Link()
			chains[host] = append(chains[host], client.ChainEntry{Sequence: sequence, Leaf: fmt.Sprintf("%x", leaf), Index: uint64(i)})
		}
	}
	size := len(l.Entries)
	mux := http.NewServeMux()
	mux.Handle("/", l.At(size))
	mux.HandleFunc("GET /host/{host}/head", func(w http.ResponseWriter, r *http.Request) {
		chain := chains[r.PathValue("host")]
		if len(chain) == 0 {
			http.NotFound(w, r)
			return
		}
		last := chain[len(chain)-1]
		answer(w, client.HostHead{Host: r.PathValue("host"), Leaf: last.Leaf, Sequence: last.Sequence, Index: last.Index})
	})
	mux.HandleFunc("GET /host/{host}/chain", func(w http.ResponseWriter, r *http.Request) {
		chain, query := chains[r.PathValue("host")], r.URL.Query()
		from, err := strconv.Atoi(query.Get("from"))
		if err != nil || len(chain) == 0 {
			http.NotFound(w, r)
			return
		}
		limit, err := strconv.Atoi(query.Get("limit"))
		if err != nil {
			limit = chainPage
		}
		from = min(from, len(chain))
		answer(w, client.HostChain{Host: r.PathValue("host"), Newest: chain[len(chain)-1].Sequence, Entries: chain[from:min(from+limit, len(chain))]})
	})
	mux.HandleFunc("GET /leaf/{leaf}", func(w http.ResponseWriter, r *http.Request) {
		if at, found := place(places, r.PathValue("leaf")); found {
			w.Write(l.Entries[at])
			return
		}
		http.NotFound(w, r)
	})
	mux.HandleFunc("GET /proof/{leaf}", func(w http.ResponseWriter, r *http.Request) {
		at, found := place(places, r.PathValue("leaf"))
		if !found {
			http.NotFound(w, r)
			return
		}
		path, err := tlog.ProveRecord(int64(size), int64(at), l)
		p := ledger.Proof{Index: at}
		if err == nil {
			p.Checkpoint, err = l.Checkpoint(size)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		for _, h := range path {
			p.Hashes = append(p.Hashes, ledger.Hash(h))
		}
		w.Write(p.Marshal())
	})
	return mux
}

func place(places map[ledger.Hash]uint64, leaf string) (at uint64, found bool) {
	h, err := ledger.ParseHash(leaf)
	if err != nil {
		return 0, false
	}
	at, found = places[h]
	return at, found
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) // whoever asked and left needs none
}
