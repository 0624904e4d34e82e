package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
)

// drop drops files on what a selector finds, as a hand would.
func (b *browser) drop(selector string, files map[string][]byte) {
	b.t.Helper()
	script := `(() => { const data = new DataTransfer();`
	for name, content := range files {
		script += fmt.Sprintf(`data.items.add(new File([Uint8Array.from(atob(%s), (c) => c.charCodeAt(0))], %s));`, quoted(base64.StdEncoding.EncodeToString(content)), quoted(name))
	}
	script += `document.querySelector(` + quoted(selector) + `).dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true})); return 0; })()`
	eval[int](b, script)
}

// TestWebDrop: with the network off a dropped trust folder is pinned, and dropped
// bundles get the verdict, the words and the findings of the tool.
func TestWebDrop(t *testing.T) {
	s, b := startSite(t), startBrowser(t)
	sources, err := s.bundle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	proxy := startLiar(t, s.url)
	b.open(proxy.url, "#/trust")
	b.drop(".drop", map[string][]byte{"policy": []byte(s.policy), "rules": []byte(s.rules)})
	b.until(`!!document.querySelector("[aria-live] .proposal")`)
	b.click(`[aria-live] .proposal input`)
	b.click(`[aria-live] .proposal .primary`)
	b.until(`document.querySelector("#banner").innerText === ""`)
	b.settled()
	b.drop(".drop", map[string][]byte{"policy": []byte("quorum none\nquorum none\n"), "rules": []byte(s.rules)})
	b.until(`document.querySelector("main [aria-live]").innerText.includes("This is no trust folder")`)

	b.open(proxy.url, "#/verify")
	b.until(`document.querySelector(".drop").innerText.includes("The verifier is loaded") && performance.getEntriesByType("resource").some((e) => e.name.endsWith("bundles.json"))`)
	b.until(`document.querySelector("#head").innerText.includes("10 entries, verified")`)
	seen := proxy.requests.Load()
	proxy.off.Store(true) // the network
	for _, row := range []struct {
		name string
		make func([]ledger.BundleSource) ([]byte, error)
	}{
		{"honest", packed}, {"altered byte", s.alterByte}, {"dropped record", s.dropRecord}, {"left out", s.leaveOut}, {"forked", s.fork},
		{"without records", func(list []ledger.BundleSource) ([]byte, error) {
			return packed(slices.DeleteFunc(list, func(b ledger.BundleSource) bool { return b.Folder == ledger.FolderPayloads }))
		}},
		{"no bundle", func([]ledger.BundleSource) ([]byte, error) { return []byte("no bundle"), nil }},
	} {
		raw, err := row.make(slices.Clone(sources))
		if err != nil {
			t.Fatal(err)
		}
		report, err := s.check(raw)
		if err != nil {
			t.Fatal(err)
		}
		b.drop(".drop", map[string][]byte{row.name + ".tar": raw})
		b.until(`document.querySelector("#live").innerText.startsWith(` + quoted(row.name+".tar: ") + `)`)
		text := b.text("#report")
		var tool bytes.Buffer
		if err := printReport(&tool, s.trust, report); err != nil {
			t.Fatal(err)
		}
		headline, _, _ := strings.Cut(tool.String(), "\n")
		if !strings.Contains(text, headline) {
			t.Errorf("%s: want %q in\n%s", row.name, headline, text)
		}
		for _, statement := range report.Statements() {
			if !strings.Contains(text, statement) {
				t.Errorf("%s: want %q in\n%s", row.name, statement, text)
			}
		}
		codes := map[string]bool{}
		for _, f := range report.Findings {
			codes[string(f.Code)] = true
		}
		shown := map[string]bool{}
		for _, code := range strings.Fields(b.text("#report .report > .findings > li > strong")) {
			shown[code] = true
		}
		if fmt.Sprint(codes) != fmt.Sprint(shown) {
			t.Errorf("%s: the page finds %v, the tool %v", row.name, shown, codes)
		}
		b.everyTheme("drop-" + strings.ReplaceAll(row.name, " ", "-"))
	}
	if now := proxy.requests.Load(); now != seen {
		t.Errorf("%d requests with the network off", now-seen)
	}
	b.clean(proxy.url)
}

// startWeb has the tool serve the pages, and returns their URL.
func startWeb(t *testing.T, trust string, args ...string) string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	out, in := io.Pipe()
	ended := make(chan int)
	go func() {
		ended <- cli.Run(ctx, "imaledger", run, append([]string{"web", "--listen", "127.0.0.1:0", "--trust", trust}, args...), nil, in, t.Output())
	}()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
	line := make([]byte, 100)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(strings.TrimSpace(string(line[:n])), "/")
}

// TestWebCommand: the tool serves the pages before a ledger, from which it only reads,
// and of a folder of bundles.
func TestWebCommand(t *testing.T) {
	s, b := startSite(t), startBrowser(t)
	trust := filepath.Join(s.dir, "trust")
	url := startWeb(t, trust, "--ledger", s.url)
	b.open(url, "#/trust")
	if text := b.text("main"); !strings.Contains(text, "This server offers a trust folder") {
		t.Errorf("it offers no trust folder:\n%s", text)
	}
	b.pin(s)
	b.open(url, "#/hosts/db1.example")
	if mark := b.text(".verdict > .mark > summary"); mark != "✓ verified" {
		t.Errorf("%q\n%s", mark, b.text("main"))
	}
	b.clean(url)
	for request, want := range map[string]int{"POST /leaf": 404, "GET /refusals": 404, "PUT /addenda/00": 404, "GET /checkpoint": 200, "GET /host/../refusals": 404, "GET /hosts": 200} {
		method, path, _ := strings.Cut(request, " ")
		r := httptest.NewRequest(method, url+path, nil)
		r.RequestURI = ""
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", request, resp.Status, want)
		}
	}
	r := httptest.NewRequest("GET", url+"/checkpoint", nil)
	r.RequestURI, r.Host = "", "rebound.example"
	if resp, err := http.DefaultTransport.RoundTrip(r); err != nil || resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("for another host's name: %v, %v", resp, err)
	}

	sources, err := s.bundle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name, how := range map[string]func([]ledger.BundleSource) ([]byte, error){"good & <b>.tar": packed, "bad.tar": s.dropRecord} {
		raw, err := how(slices.Clone(sources))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "secret"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b = startBrowser(t)
	url = startWeb(t, trust, folder)
	b.open(url, "#/verify")
	b.pin(s)
	b.until(`document.querySelectorAll("main li a").length === 2`)
	b.shoot("bundles")
	for name, want := range map[string]string{"good & <b>.tar": "VERIFIED", "bad.tar": "CONTRADICTED"} {
		b.open(url, "#/verify")
		b.until(`document.querySelectorAll("main li a").length === 2`)
		eval[int](b, `[...document.querySelectorAll("main li a")].find((a) => a.innerText === `+quoted(name)+`).click(); 0`)
		b.until(`/^(VERIFIED|CONTRADICTED|UNDECIDED)/.test(document.querySelector(".headline")?.innerText)`)
		if text := b.text(".headline"); !regexp.MustCompile("^" + want).MatchString(text) {
			t.Errorf("%s: %s", name, text)
		}
	}
	b.clean(url)
	for _, name := range []string{"secret", "..%2fx.tar", "none.tar"} {
		if r := get(t, url+"/bundles/"+name); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", name, r.Status)
		}
	}
	for _, args := range [][]string{{"web"}, {"web", "--ledger", s.url, folder}, {"web", "--ledger", "ledger.example"}, {"web", filepath.Join(folder, "none")}} {
		if code, _, talk := tool(t, args...); code != cli.ExitUsage || !strings.Contains(talk, "hint: ") {
			t.Errorf("%q: %d %s", args, code, talk)
		}
	}
}
