package server

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/ledger"
)

// access makes a list of lines in which each %s stands for the hash of a token.
func access(t testing.TB, lines string, tokens ...string) *Access {
	t.Helper()
	var hashes []any
	for _, token := range tokens {
		sum := sha256.Sum256([]byte(token))
		hashes = append(hashes, hex.EncodeToString(sum[:]))
	}
	a, err := ParseAccess([]byte(AccessFormat + "\n" + fmt.Sprintf(lines, hashes...)))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestParseAccess(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	a, err := ParseAccess([]byte(AccessFormat + "\n# people\n\noperator ops token " + hash + "\nauditor a certificate a.example hosts web-*.example,db\n"))
	if err != nil {
		t.Fatal(err)
	}
	g := a.byCertificate([]string{"x", "a.example"})
	for host, want := range map[string]bool{"web-1.example": true, "web-.example": true, "web-1.example.org": false, "db": true, "db2": false, "": false} {
		if g.reads(host) != want {
			t.Errorf("%q: %v", host, !want)
		}
	}
	if g.readsAll() || a.byCertificate([]string{"b.example"}) != nil || a.byCertificate(nil) != nil || a.byToken("") != nil {
		t.Error("somebody else's")
	}
	for want, line := range map[string]string{
		"one space between":    "auditor a  token " + hash + " hosts *",
		"want token or":        "auditor a password " + hash + " hosts *",
		"64 lower-case":        "auditor a token secret hosts *",
		"at the end":           "auditor a token " + hash,
		"nothing for an":       "operator a token " + hash + " hosts *",
		"want auditor or":      "reader a token " + hash + " hosts *",
		"no pattern":           "auditor a token " + hash + " hosts web/*",
		"line 3: a stands":     "auditor a token " + hash + " hosts *\noperator a certificate x",
		"line 3: b stands":     "auditor a token " + hash + " hosts *\noperator b token " + hash,
		"line 3: c stands":     "auditor a certificate x hosts *\noperator c certificate x",
		"line 1: want imaledg": "",
	} {
		content := AccessFormat + "\n" + line + "\n"
		if line == "" {
			content = "another\n"
		}
		if _, err := ParseAccess([]byte(content)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
	}
	if _, err := ParseAccess(nil); err == nil {
		t.Error("an empty list")
	}
}

// Who may read what: strangers nothing that is private, auditors what belongs to
// their hosts, an operator everything.
func TestWhoMayRead(t *testing.T) {
	const all, web, ops, nobody = "token of one who reads all", "token of one who reads web", "token of the operator", "token of nobody at all"
	list := func() *Access {
		return access(t, "auditor all token %s hosts *\nauditor web token %s hosts web-*\noperator ops token %s\n", all, web, ops)
	}
	l := closedLedger(t, func(c *Config) { c.PublicUploads, c.PrivateEntries, c.Access = true, true, list() })
	type of struct{ leaf, payload string }
	paths := map[string]of{}
	for _, host := range []string{"web-1", "db-1"} {
		h := l.enrolHost(t, host)
		leaf, a := l.submit(t, h, "/bin/"+host)
		s, err := ledger.ParseSegment(leaf)
		if err != nil {
			t.Fatal(err)
		}
		paths[host] = of{a.Leaf, "/" + ledger.AddendumPath(s.Payload.Digest)}
	}
	const ok, unauthorized, forbidden = http.StatusOK, http.StatusUnauthorized, http.StatusForbidden
	check := func(path string, want map[string]int) {
		t.Helper()
		for token, status := range want {
			get := func() (*http.Response, []byte) { return l.do(t, "GET", path, nil) }
			if token != "" {
				get = func() (*http.Response, []byte) { return l.as(t, token, "GET", path, nil) }
			}
			resp, b := get()
			if resp.StatusCode != status {
				t.Errorf("%s with %q: %s, want %d: %s", path, token, resp.Status, status, b)
			}
			if cache := resp.Header.Get("Cache-Control"); !strings.HasPrefix(cache, "private") && cache != "no-store" {
				t.Errorf("%s: a cache would keep it for others: %q", path, cache)
			}
		}
	}
	scoped := func(host string) string { return paths[host].payload + "?leaf=" + paths[host].leaf }
	everyone := map[string]int{"": unauthorized, all: ok, web: forbidden, ops: ok, nobody: forbidden}
	ofWeb := map[string]int{"": unauthorized, all: ok, web: ok, ops: ok, nobody: forbidden}
	check(paths["web-1"].payload, everyone)
	check(scoped("web-1"), ofWeb)
	check(scoped("db-1"), everyone)
	// An entry of its own opens no other's payload.
	check(paths["db-1"].payload+"?leaf="+paths["web-1"].leaf, everyone)
	check("/tile/entries/000.p/4", everyone)
	for _, path := range []string{"/host/%s/head", "/host/%s/chain"} {
		check(fmt.Sprintf(path, "web-1"), ofWeb)
		check(fmt.Sprintf(path, "db-1"), everyone)
	}
	for _, form := range []string{"", "?sealed=true"} {
		check("/record/"+paths["web-1"].leaf+"/0"+form, ofWeb)
		check("/record/"+paths["db-1"].leaf+"/0"+form, everyone)
	}
	check("/record/"+strings.Repeat("0", 64)+"/0", map[string]int{"": unauthorized, all: http.StatusNotFound, web: forbidden, ops: http.StatusNotFound})
	check("/leaf/"+paths["web-1"].leaf, ofWeb)
	check("/leaf/"+paths["db-1"].leaf, everyone)
	check("/refusals", map[string]int{"": unauthorized, all: forbidden, web: forbidden, ops: ok, nobody: forbidden})

	// A host reads its own entries.
	token, _ := l.server.tokens.issue("db-1")
	check("/leaf/"+paths["db-1"].leaf, map[string]int{token: ok})
	check("/host/db-1/chain", map[string]int{token: ok})
	check("/leaf/"+paths["web-1"].leaf, map[string]int{token: unauthorized})
	check("/tile/entries/000.p/4", map[string]int{token: unauthorized})

	// What has nothing but hashes is everyone's: witnesses and mirrors need it.
	for _, path := range []string{"/checkpoint", "/tile/0/000.p/4", "/proof/" + paths["db-1"].leaf, "/proof/index/3"} {
		if resp, b := l.do(t, "GET", path, nil); resp.StatusCode != ok {
			t.Errorf("%s: %s %s", path, resp.Status, b)
		}
	}
	// The list is replaced while the server runs.
	l.server.SetAccess(access(t, "auditor web token %s hosts web-*\n", web))
	check(scoped("web-1"), map[string]int{all: forbidden, web: ok, ops: forbidden})
}

// What was refused is listed for the operator, once for each entry, and is there
// after a restart.
func TestRefusalsAreListed(t *testing.T) {
	const ops = "token of the operator"
	l := closedLedger(t, func(c *Config) { c.PublicUploads, c.Access = true, access(t, "operator ops token %s\n", ops) })
	h := l.enrolHost(t, "h")
	clone := h.fork()
	l.submit(t, h, "/bin/a")
	fork, _ := clone.segment(t, testOrigin, l.anchor(t), "/bin/b")
	refuse := func(leaf []byte) {
		t.Helper()
		if _, err := l.SubmitLeaf(t.Context(), leaf, 0); err == nil {
			t.Fatal("admitted")
		}
	}
	list := func(query string) []*Refused {
		t.Helper()
		resp, b := l.as(t, ops, "GET", "/refusals"+query, nil)
		var page struct{ Refusals []*Refused }
		if err := json.Unmarshal(b, &page); resp.StatusCode != http.StatusOK || err != nil {
			t.Fatalf("%s %s %v", resp.Status, b, err)
		}
		return page.Refusals
	}
	for range 3 {
		refuse(fork)
	}
	// Strangers push nothing out that a TPM has signed.
	for i := range maxRefusals + 5 {
		refuse(fmt.Appendf(nil, "garbage %d", i))
	}
	// What only lacks its addenda is no refusal of what it says.
	next, _ := h.fork().segment(t, testOrigin, l.anchor(t), "/bin/c")
	refuse(next)
	for range 2 {
		signed := list("?signed=true")
		if len(signed) != 1 || signed[0].Count != 3 || !signed[0].Conflict || signed[0].Host != "h" || signed[0].Sequence != 1 ||
			signed[0].Leaf != fmt.Sprintf("%x", ledger.LeafHash(fork)) || signed[0].Findings[0].Code != ledger.ChainFork || signed[0].Address != "127.0.0.1" {
			t.Fatalf("%+v", signed)
		}
		if n := len(list("?limit=1000&host=")); n != maxRefusals {
			t.Fatalf("%d refusals of garbage, want %d", n, maxRefusals)
		}
		if n := len(list("?host=h")); n != 1 {
			t.Fatalf("%d refusals of h", n)
		}
		if n := len(list("?limit=7")); n != 7 {
			t.Fatalf("%d refusals, want 7", n)
		}
		l.restart(t)
	}
}
