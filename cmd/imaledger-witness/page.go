package main

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/imaledger/imaledger/witness"
)

// A page shows people what the witness does. It has no script and no style of
// others, and nothing on it is secret.
type page struct {
	witness *witness.Witness
	keys    []*witness.Key
	now     func() time.Time

	mu   sync.Mutex
	logs []witness.Status // by origin
	asOf time.Time        // when the witness was asked for them
}

const (
	pageRows = 1000        // logs on one page
	pageAge  = time.Second // what is shown may be older by this
)

// status gives the logs, and when they were as they are. People who look must not
// cost the witness more than one look at all logs a second.
func (p *page) status() ([]witness.Status, time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := p.now(); p.logs == nil || now.Sub(p.asOf).Abs() >= pageAge {
		p.logs, p.asOf = p.witness.Status(), now
	}
	return p.logs, p.asOf
}

const pageTime = "2006-01-02 15:04:05Z"

const pageHead = `<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>%[1]s</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color-scheme:light dark}
code{overflow-wrap:anywhere}table{border-collapse:collapse;width:100%%}td,th{text-align:left;padding:.2rem .6rem .2rem 0;vertical-align:top;overflow-wrap:anywhere}
td.n{text-align:right;font-variant-numeric:tabular-nums}</style>
<h1>%[1]s</h1>
<p>A <a href="https://c2sp.org/tlog-witness">witness of transparency logs</a>: it cosigns a log's checkpoint if the log proves that nothing before it changed.
As of %[2]s it %[3]s.</p>
<h2>Keys</h2>
`

// ServeHTTP implements http.Handler.
func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	w.Header().Set("Cache-Control", "no-cache")
	state := "cosigns"
	if p.witness.Err() != nil {
		state = "cosigns nothing"
	}
	logs, asOf := p.status()
	fmt.Fprintf(w, pageHead, html.EscapeString(p.keys[0].Name()), asOf.UTC().Format(pageTime), state)
	for _, k := range p.keys {
		fmt.Fprintf(w, "<p><code>%s</code></p>\n", html.EscapeString(k.VKey()))
	}
	fmt.Fprintf(w, "<h2>Logs: %d</h2>\n<table><tr><th>Log<th>Size<th>Last cosigned<th>\n", len(logs))
	// The next page begins after the last log of this one, whatever came between.
	from, found := slices.BinarySearchFunc(logs, r.URL.Query().Get("after"), func(l witness.Status, origin string) int { return strings.Compare(l.Origin, origin) })
	if found {
		from++
	}
	shown := logs[from:min(from+pageRows, len(logs))]
	for _, l := range shown {
		note := ""
		if !l.Trusted {
			note = "remembered, and not cosigned for any more"
		}
		if l.At.IsZero() {
			fmt.Fprintf(w, "<tr><td>%s<td class=n>–<td>never<td>%s\n", html.EscapeString(l.Origin), note)
			continue
		}
		fmt.Fprintf(w, "<tr><td><a href=\"%s/checkpoint\">%s</a><td class=n>%d<td>%s<td>%s\n", l.Hash, html.EscapeString(l.Origin), l.Size, l.At.Format(pageTime), note)
	}
	fmt.Fprint(w, "</table>\n")
	if from+len(shown) < len(logs) {
		fmt.Fprintf(w, "<p><a href=\"?after=%s\">More</a></p>\n", html.EscapeString(url.QueryEscape(shown[len(shown)-1].Origin)))
	}
	if files, err := p.witness.Evidence(); err == nil && len(files) > 0 {
		fmt.Fprintf(w, "<p>Evidence that a log signed two histories: %d. Ask the operator for the files.</p>\n", len(files))
	}
}
