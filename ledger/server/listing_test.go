package server

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
)

// A host's chain is read page by page, entry by entry, and proven by index.
func TestChainListing(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h, other := l.enrolHost(t, "h"), l.enrolHost(t, "other")
	leaves := map[uint64]ledger.Hash{0: h.leaf}
	for i := range 6 {
		leaf, _ := l.submit(t, h, fmt.Sprint("/bin/", i))
		leaves[uint64(i+1)] = ledger.LeafHash(leaf)
		l.submit(t, other, "/bin/x")
	}
	var pages []int
	seen := uint64(0)
	for path := "/host/h/chain?limit=3"; path != ""; {
		resp, b := l.do(t, "GET", path, nil)
		var page client.HostChain
		decode(t, b, &page)
		if resp.StatusCode != http.StatusOK || page.Newest != 6 || page.Host != "h" {
			t.Fatalf("%s: %s %+v", path, resp.Status, page)
		}
		if link := resp.Header.Get("Link"); (link == "") != (page.Next == "") || link != "" && link != "<"+page.Next+`>; rel="next"` {
			t.Errorf("Link %q, next %q", link, page.Next)
		}
		for _, e := range page.Entries {
			if e.Sequence != seen || e.Leaf != fmt.Sprintf("%x", leaves[seen]) {
				t.Errorf("%+v, want #%d %x", e, seen, leaves[seen])
			}
			raw, err := l.Leaf(t.Context(), leaves[seen])
			if err != nil || ledger.LeafHash(raw) != leaves[seen] {
				t.Errorf("#%d: %v", seen, err)
			}
			resp, proof := l.doWith(t, "GET", fmt.Sprint("/proof/index/", e.Index), nil, "Prefer", "wait=10")
			if r, findings := audit.CheckReceipt(l.config.Trust, "h", leaves[seen], proof); r == nil || r.Index != e.Index || len(findings) > 0 {
				t.Errorf("proof at %d: %s, %v", e.Index, resp.Status, findings)
			}
			seen++
		}
		pages, path = append(pages, len(page.Entries)), page.Next
	}
	if fmt.Sprint(pages) != "[3 3 1]" {
		t.Errorf("pages of %v", pages)
	}
	if page, err := l.HostChain(t.Context(), "h", 5, 0); err != nil || len(page.Entries) != 2 || page.Next != "" {
		t.Errorf("%+v, %v", page, err)
	}
	if page, err := l.HostChain(t.Context(), "h", 7, 0); err != nil || len(page.Entries) != 0 || page.Next != "" {
		t.Errorf("beyond its end: %+v, %v", page, err)
	}
	for path, want := range map[string]int{
		"/host/h/chain?from=-1": 400, "/host/h/chain?from=x": 400, "/host/h/chain?limit=0": 400, "/host/h/chain?limit=x": 400,
		"/host/nobody/chain": 404, "/proof/index/14": 404, "/proof/index/013": 404, "/proof/index/-1": 404, "/proof/index/x": 404,
		"/leaf/" + strings.Repeat("0", 64): 404, "/leaf/x": 404, "/host/h/chain?limit=99999": 200,
	} {
		if resp, b := l.do(t, "GET", path, nil); resp.StatusCode != want {
			t.Errorf("%s: %s %s, want %d", path, resp.Status, b, want)
		}
	}
}

// A log of more entries than a tile has is listed right, over the tile's border.
func TestChainListingOverTiles(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	var names []string
	for i := range 257 {
		names = append(names, fmt.Sprint("h", i))
		l.enrol(t, names[i])
	}
	h := &testHost{name: names[0], tpm: l.enrolled[names[0]]}
	leaf, _, _, _ := l.server.chains.head(h.name)
	h.leaf = leaf
	last, _ := l.submit(t, h, "/bin/sh")
	page, err := l.HostChain(t.Context(), h.name, 0, 0)
	if err != nil || len(page.Entries) != 2 || page.Entries[1].Index != 257 || page.Entries[1].Leaf != fmt.Sprintf("%x", ledger.LeafHash(last)) || page.Entries[0].Leaf != fmt.Sprintf("%x", leaf) {
		t.Fatalf("%+v, %v", page, err)
	}
}

// nginx serves a ledger's directory as API.md has it.
func nginx(t *testing.T, dir string) (url string) {
	t.Helper()
	page, err := os.ReadFile("../API.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(page), "```nginx\n")
	block, _, _ = strings.Cut(block, "```")
	const installed = "/var/lib/imaledgerd"
	if strings.Count(block, installed) != 3 {
		t.Fatalf("the page's configuration is another: %s", block)
	}
	program, err := exec.LookPath("nginx")
	if err != nil {
		program = "/usr/sbin/nginx" // which is in root's path alone
	}
	address, own := freeAddress(t), t.TempDir()
	config := filepath.Join(own, "conf")
	text := "daemon off; master_process off; pid pid; error_log stderr; events {}\nhttp { access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\nserver { listen " +
		address + ";\n" + strings.ReplaceAll(block, installed, dir) + "} }\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-p", own, "-e", "stderr", "-c", config)
	cmd.Stderr = testWriter{t}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (apt-get install nginx-light)", err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
			return "http://" + address
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// A static server with the log's directory is a mirror: who reads from it verifies
// what he would verify from the ledger.
func TestStaticServer(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	older := l.anchor(t)
	leaf, _ := l.submit(t, h, "/bin/sh")
	next, a := l.submit(t, h, "/bin/ls")
	l.kill() // the mirror needs no ledger
	c := &client.Client{Base: nginx(t, l.config.Dir)}
	for path, want := range map[string]string{
		"/checkpoint": "public, max-age=1", "/tile/0/000.p/3": "public, max-age=3600", "/tile/entries/000.p/3": "public, max-age=3600",
		"/addenda.v1": "public, max-age=31536000, immutable", "/" + ledger.AddendumPath(payloadOf(t, leaf)): "public, max-age=86400, immutable",
		"/.state/treeState": "", "/": "", "/checkpoint/": "", "/tile/": "", "/lock": "", "/evidence/": "", "/addenda/../upload-token.key": "", "/upload-token.key": "",
	} {
		resp, err := http.Get(c.Base + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Cache-Control"); got != want || (resp.StatusCode == http.StatusOK) != (want != "") {
			t.Errorf("%s: %s, Cache-Control %q, want %q", path, resp.Status, got, want)
		}
	}

	raw, err := c.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	newest, err := l.config.Trust.Policy.Verify(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Consistent(t.Context(), older, newest); err != nil {
		t.Error(err)
	}
	for index, want := range map[uint64][]byte{a.Index: next, a.Index - 1: leaf} {
		got, err := c.Entry(t.Context(), index, newest.Size)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("entry %d: %v", index, err)
		}
		p, err := c.Prove(t.Context(), index, newest)
		if err != nil {
			t.Fatal(err)
		}
		if r, findings := audit.CheckReceipt(l.config.Trust, "h", ledger.LeafHash(want), p.Marshal()); r == nil || len(findings) > 0 {
			t.Errorf("entry %d: %v", index, findings)
		}
		s, err := ledger.ParseSegment(want)
		if err != nil {
			t.Fatal(err)
		}
		var payload bytes.Buffer
		if err := c.Addendum(t.Context(), s.Payload.Digest, 1<<20, &payload); err != nil || sha256.Sum256(payload.Bytes()) != s.Payload.Digest {
			t.Errorf("payload of %d: %v", index, err)
		}
	}
	if _, err := c.Prove(t.Context(), newest.Size, newest); err == nil {
		t.Error("proof of an entry that is not there")
	}
}

// What caches are told: nothing that may change, or that not everyone may have, is
// kept; everything else is.
func TestCaching(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	leaf, a := l.submit(t, h, "/bin/sh")
	s, err := ledger.ParseSegment(leaf)
	if err != nil {
		t.Fatal(err)
	}
	check := func(path, want string) {
		t.Helper()
		if resp, _ := l.do(t, "GET", path, nil); resp.Header.Get("Cache-Control") != want {
			t.Errorf("%s: %s, Cache-Control %q, want %q", path, resp.Status, resp.Header.Get("Cache-Control"), want)
		}
	}
	payload := "/" + ledger.AddendumPath(s.Payload.Digest)
	check("/checkpoint", "public, max-age=1")
	check("/tile/0/000.p/2", immutable)
	check("/tile/entries/000.p/2", immutable)
	check("/addenda.v1", immutable)
	check("/leaf/"+a.Leaf, immutable)
	check("/proof/"+a.Leaf, cacheProof)
	check(payload, cacheAddendum)
	for _, path := range []string{"/host/h/head", "/host/h/chain", "/healthz", "/tile/0/000.p/7", "/proof/" + strings.Repeat("0", 64), "/nowhere", "/refusals"} {
		check(path, "no-store")
	}
	resp, _ := l.do(t, "GET", "/tile/0/000.p/2", nil)
	again, body := l.doWith(t, "GET", "/tile/0/000.p/2", nil, "If-None-Match", resp.Header.Get("ETag"))
	if again.StatusCode != http.StatusNotModified || len(body) > 0 {
		t.Errorf("the same again: %s", again.Status)
	}
	// A proof that is not there yet is not kept either.
	for _, w := range l.witnesses {
		w.away.Store(true)
	}
	time.Sleep(2 * l.config.CheckpointInterval)
	l.enrol(t, "late")
	waiting, _, _, _ := l.server.chains.head("late")
	if resp, _ := l.do(t, "GET", fmt.Sprintf("/proof/%x", waiting), nil); resp.StatusCode != http.StatusAccepted || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("a proof that waits: %s %q", resp.Status, resp.Header.Get("Cache-Control"))
	}
}
