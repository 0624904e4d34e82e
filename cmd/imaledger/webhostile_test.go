package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/tpm/ima"
)

// imaRecord is a record of PCR 10 as a kernel would list it.
func imaRecord(template string, fields ...[]byte) []byte {
	var data []byte
	for _, f := range fields {
		data = append(binary.LittleEndian.AppendUint32(data, uint32(len(f))), f...)
	}
	h := ima.SHA1.New()
	h.Write(data)
	b := binary.LittleEndian.AppendUint32(nil, 10)
	b = h.Sum(b)
	b = append(binary.LittleEndian.AppendUint32(b, uint32(len(template))), template...)
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(data))), data...)
}

// fileRecord is one of template ima-ng.
func fileRecord(name string) []byte {
	digest := append([]byte("sha256:\x00"), bytes.Repeat([]byte{0xab}, 32)...)
	return imaRecord("ima-ng", digest, append([]byte(name), 0))
}

// hostileNames are what root of a host can have the kernel list, each with how the
// page must show it.
var hostileNames = []struct{ name, shown string }{
	{`<img src=x onerror="globalThis.pwned=1">`, `<img src=x onerror="globalThis.pwned=1">`},
	{`</td></tr></table><script>globalThis.pwned=2</script>`, `<script>globalThis.pwned=2</script>`},
	{`javascript:globalThis.pwned=3`, `javascript:globalThis.pwned=3`},
	{"/bin/\x1b[31mred\x07", `/bin/\x1b[31mred\x07`},
	{"/bin/line\nbreak\ttab", `/bin/line\x0abreak\x09tab`},
	{"/bin/\u202egnp.exe", `/bin/\u{202e}gnp.exe`},
	{"/bin/\u2066iso\u2069", `/bin/\u{2066}iso\u{2069}`},
	{"/bin/zero\u200bwidth\ufeff", `/bin/zero\u{200b}width\u{feff}`},
	{"/bin/\xff\xfe\x80", `/bin/\xff\xfe\x80`},
	{"/bin/\xc0\xaf\xed\xa0\x80", `/bin/\xc0\xaf\xed\xa0\x80`},
	{`/bin/\x1b`, `/bin/\\x1b`},
	{"/bin/two  spaces ", `/bin/two\x20 spaces\x20`},
	{"/bin/ελληνικά-日本", "/bin/ελληνικά-日本"},
	{"✓ verified", "✓ verified"},
	{"/" + strings.Repeat("n", 4096), "(4,097 characters)"},
}

// TestWebHostile: what a host lists is shown as text, unmistakably, and nothing of it
// runs; so is what a server makes up.
func TestWebHostile(t *testing.T) {
	s, b := newSite(t, time.Now), startBrowser(t)
	host := s.hosts[0]
	if err := host.boot(); err != nil {
		t.Fatal(err)
	}
	if err := host.enrol(t.Context(), s.demo); err != nil {
		t.Fatal(err)
	}
	first := firstRecords(t, host.list, 1)
	list := slices.Clone(host.list[:first])
	for _, h := range hostileNames {
		list = append(list, fileRecord(h.name)...)
	}
	list = append(list, imaRecord("<b>\xff\u202e</b>", []byte("x"))...)
	list = append(list, imaRecord("ima-ng", []byte("<i>:\x00"), []byte("no zero at the end"))...)
	host.list = append(list, fileRecord("/bin/last")...)
	if _, err := host.measure(1000); err != nil {
		t.Fatal(err)
	}
	if _, err := host.seal(t.Context(), s.demo, 0); err != nil {
		t.Fatal(err)
	}
	b.look(theme{"", false, 1280})
	b.open(s.url, "#/")
	b.pin(s)
	b.open(s.url, "#/hosts/web1.example/1")
	if mark := b.text(".verdict > .mark > summary"); mark != "✓ verified" {
		t.Fatalf("%q\n%s", mark, b.text("main"))
	}
	rows := b.text(".vlist")
	for _, h := range hostileNames {
		if !strings.Contains(rows, h.shown) {
			t.Errorf("%q is not shown as %s in\n%s", h.name, h.shown, rows)
		}
	}
	if !strings.Contains(rows, `<b>\xff\u{202e}</b>`) {
		t.Error("the template's name is not shown as it is")
	}
	harmless := func() {
		t.Helper()
		if n := b.count("main img, main script, main b, main i, main iframe"); n > 0 || eval[bool](b, `"pwned" in globalThis`) {
			t.Errorf("%d elements were made of text", n)
		}
		if wide := eval[int](b, `document.documentElement.scrollWidth - innerWidth`); wide > 0 {
			t.Errorf("%d pixels wider than the window", wide)
		}
	}
	harmless()
	b.everyTheme("hostile-records")
	for i, h := range hostileNames {
		b.open(s.url, "#/hosts/web1.example/1/"+string(rune('0'+(i+1)/10))+string(rune('0'+(i+1)%10)))
		text := b.text("main .pairs")
		if shown := h.shown; !strings.Contains(text, shown) && len(h.name) < 1000 {
			t.Errorf("%q is not shown as %s in\n%s", h.name, shown, text)
		}
		if len(h.name) > 1000 && !strings.Contains(text, "4,097 characters in all") {
			t.Errorf("the long name is shown as\n%s", text)
		}
		harmless()
	}
	b.shoot("hostile-record")

	// What a server makes up: hosts, hits and a status that no log can have.
	l := startLiar(t, s.url)
	evil := "<img src=x onerror=globalThis.pwned=4>\u202e\x1b" + strings.Repeat("h", 4097)
	marshal := func(v any) []byte {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	l.tell(func(path string, status int, body []byte) (int, []byte) {
		switch path {
		case "/hosts":
			return 200, marshal(map[string]any{"total": 1, "next": evil, "hosts": []any{map[string]any{"host": evil, "grade": evil, "segments": evil, "sequence": evil, "records": 1}}})
		case "/search":
			return 200, marshal(map[string]any{"size": 2, "hosts": []string{evil}, "limits": map[string]any{"states": map[string]any{evil: 1}}, "hits": []any{
				map[string]any{"host": "web1.example", "sequence": 1, "record": 1, "path": evil, "digests": []string{evil}},
				map[string]any{"host": "web1.example", "sequence": 1, "record": 17, "path": "/bin/other", "digests": []string{"sha256:" + strings.Repeat("ab", 32)}},
				map[string]any{"host": "web1.example", "sequence": 1, "record": 18, "path": "/bin/last", "digests": []string{"sha256:" + strings.Repeat("ab", 32)}},
			}})
		case "/healthz":
			return 200, marshal(map[string]any{"status": evil, "witnesses": []any{map[string]any{"name": evil, "problem": evil}}})
		case "/retention":
			return 200, marshal(map[string]any{"leaf": evil, "statement": evil, "days": evil, "holds": []any{map[string]any{"host": evil, "reason": evil, "leaf": evil, "from": evil}}})
		case "/freeze":
			return 200, marshal(map[string]any{"successor": map[string]any{"origin": evil, "url": evil}})
		case "/trust.json":
			return 200, marshal(map[string]any{"policy": evil, "rules": evil, "roots": []string{evil}})
		}
		return status, body
	})
	b.open(l.url, "#/")
	b.pin(s)
	for _, hash := range []string{"#/hosts", "#/status", "#/trust", "#/search?path=/bin/last", "#/hosts/" + strings.Repeat("%3Cb%3E", 50), "#/entries/%3Cb%3E", "#/search?path=%3Cimg%3E"} {
		b.open(l.url, hash)
		harmless()
		b.shoot("hostile-server" + strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' {
				return r
			}
			return '-'
		}, hash[:min(len(hash), 10)]))
	}
	b.open(l.url, "#/search?path=/bin/last")
	if got := strings.Fields(b.text(".hits td:nth-child(2) summary")); strings.Join(got, " ") != "✕ contradicted ✕ contradicted ✓ verified" {
		t.Errorf("hits are %q, want the two that are made up contradicted and the one that is there verified", got)
	}
	if text := b.text("main"); !strings.Contains(text, "stated by the ledger") {
		t.Errorf("completeness is not marked as the ledger's word in\n%s", text)
	}
	b.everyTheme("search-hits")
	if http.StatusOK != get(t, l.url+"/hosts").StatusCode {
		t.Error("the liar is gone")
	}
	b.clean(s.url, l.url)
}
