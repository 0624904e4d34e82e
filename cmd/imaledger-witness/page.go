package main

import (
	"fmt"
	"html"
	"net/http"
	"time"

	"github.com/imaledger/imaledger/witness"
)

// A page shows people what the witness does. It has no script and no style of
// others, and nothing on it is secret.
type page struct {
	witness *witness.Witness
	keys    []*witness.Key
	now     func() time.Time
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
func (p *page) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	w.Header().Set("Cache-Control", "no-cache")
	state := "cosigns"
	if p.witness.Err() != nil {
		state = "cosigns nothing"
	}
	fmt.Fprintf(w, pageHead, html.EscapeString(p.keys[0].Name()), p.now().UTC().Format(pageTime), state)
	for _, k := range p.keys {
		fmt.Fprintf(w, "<p><code>%s</code></p>\n", html.EscapeString(k.VKey()))
	}
	logs := p.witness.Status()
	fmt.Fprintf(w, "<h2>Logs</h2>\n<table><tr><th>Log<th>Size<th>Last cosigned<th>\n")
	for _, l := range logs {
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
	if files, err := p.witness.Evidence(); err == nil && len(files) > 0 {
		fmt.Fprintf(w, "<p>Evidence that a log signed two histories: %d. Ask the operator for the files.</p>\n", len(files))
	}
}
