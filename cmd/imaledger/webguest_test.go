package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/web"
)

// guestDir has what a host in a guest left in a ledger; its README.md says how.
const guestDir = "testdata/guest/"

// serveEvidence serves the pages before the files of a log, of whose entries, fewer than a
// tile's, a bundle has all.
func serveEvidence(t *testing.T, raw []byte) (url string) {
	t.Helper()
	bundle, err := ledger.OpenBundle(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	read := func(folder string, hash ledger.Hash) []byte {
		content, _, err := bundle.Read(folder, hash)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	files := make(map[string][]byte)
	entries := make(map[uint64][]byte)
	var newest uint64
	for _, f := range bundle.Files {
		switch f.Folder {
		case ledger.FolderLeaves:
			proof, err := ledger.ParseProof(read(ledger.FolderProofs, f.Hash))
			if err != nil {
				t.Fatal(err)
			}
			entries[proof.Index] = read(f.Folder, f.Hash)
			if proof.Index >= newest { // its tree ends in it
				newest, files["/checkpoint"] = proof.Index, proof.Checkpoint
			}
		case ledger.FolderProofs:
		default:
			files[fmt.Sprintf("/addenda/%x/%x/%x", f.Hash[:1], f.Hash[1:2], f.Hash)] = read(f.Folder, f.Hash)
		}
	}
	var hashes, all []byte
	for i := range uint64(len(entries)) {
		hash := ledger.LeafHash(entries[i])
		hashes = append(hashes, hash[:]...)
		all = append(binary.BigEndian.AppendUint16(all, uint16(len(entries[i]))), entries[i]...)
	}
	files[fmt.Sprintf("/tile/0/000.p/%d", len(entries))], files[fmt.Sprintf("/tile/entries/000.p/%d", len(entries))] = hashes, all
	pages, err := web.New(web.Config{Next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, found := files[r.URL.Path]
		if !found {
			http.NotFound(w, r)
			return
		}
		w.Write(content)
	})})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(pages)
	t.Cleanup(server.Close)
	return server.URL
}

// guestPages looks at all that the pages say of guest.example.
func (b *browser) guestPages(url string) {
	b.t.Helper()
	b.look(themes[0])
	for _, page := range []struct {
		hash, name string
		want       map[string]string // by selector
	}{
		{"#/", "log", map[string]string{"#head": `9 entries, verified`, ".entries": `segment #8(.|\n)*guest\.example · 2 records, continues`}},
		{"#/hosts", "hosts", map[string]string{".hosts": `guest\.example`}},
		{"#/hosts/guest.example", "host", map[string]string{
			".verdict > .mark > summary": `^\? undecided$`,
			".verdict > p":               `^The history has 1 gap: records are missing there`,
			".bands":                     `^boot 2\n(.|\n)*◆(.|\n)*#1!(.|\n)*#2(.|\n)*#3(.|\n)*#4↻(.|\n)*gap(.|\n)*#5(.|\n)*#6(.|\n)*\nboot 3\n(.|\n)*#7(.|\n)*#8!`,
			"main > .page > .findings":   `gap undecided\nguest\.example 5: records between #4 and #5 are missing: the host says unknown\n`,
			".chain":                     `#5\t\s*\? undecided\s*\tgap unknown\t0 from 42\t`,
		}},
		{"#/hosts/guest.example/2", "second", map[string]string{".verdict > .mark > summary": `^✓ verified$`, ".verdict > p": `quoted exactly these 9 records`}},
		{"#/hosts/guest.example/4", "kexec", map[string]string{".verdict > .mark > summary": `^✓ verified$`, "main > .page > .findings": `^kexec noted\n`, ".vrows": `boot_aggregate`}},
		{"#/hosts/guest.example/5", "gap", map[string]string{".verdict > .mark > summary": `^\? undecided$`, "main > .page > .findings": `gap undecided`}},
		{"#/hosts/guest.example/8", "violation", map[string]string{".verdict > .mark > summary": `^✓ verified$`, ".verdict > p": `exactly these 2 records`, ".vrows": `violation `}},
		{"#/hosts/guest.example/2/8", "record", map[string]string{".verdict > .mark > summary": `^✓ verified$`, ".pairs": `PCR 11`}},
	} {
		b.open(url, page.hash)
		for selector, want := range page.want {
			if text := b.text(selector); !regexp.MustCompile(want).MatchString(text) {
				b.t.Errorf("%s: want %q in %s\n%s", page.hash, want, selector, text)
			}
		}
		b.everyTheme("guest-" + page.name)
	}
	b.open(url, "#/hosts/guest.example")
	if boots, marks := b.count(".bands > li"), b.count(".bands .kexec, .bands .gap, .bands .violation"); boots != 2 || marks != 4 {
		b.t.Errorf("%d boots, and %d marks of a kexec, a gap and two violations", boots, marks)
	}
	b.open(url, "#/hosts/guest.example/2?pcr=11")
	if text := b.text(".records [role=status]"); text != "3 of 9 records" {
		b.t.Errorf("records of PCR 11: %s", text)
	}
}

// TestWebGuest: what a real host left, after a kexec with staged records, deletions
// by its agent and by another program, and two boots, is shown for what it is; and
// its evidence, dropped, gets the tool's verdict and words.
func TestWebGuest(t *testing.T) {
	raw, err := os.ReadFile(guestDir + "evidence.tar")
	if err != nil {
		t.Fatal(err)
	}
	b, url := startBrowser(t), serveEvidence(t, raw)
	b.open(url, "#/trust")
	b.pin(siteOf(t, guestDir+"trust"))
	b.guestPages(url)
	code, tool, _ := tool(t, "verify", "--trust", guestDir+"trust", guestDir+"evidence.tar")
	b.open(url, "#/verify")
	b.drop(".drop", map[string][]byte{"evidence.tar": raw})
	b.until(`document.querySelector("#live").innerText.startsWith("evidence.tar: ")`)
	text := b.text("#report")
	said := 0
	for line := range strings.Lines(tool) {
		if strings.HasPrefix(line, "  records ") || strings.HasPrefix(line, "UNDECIDED") {
			said++
			if !strings.Contains(text, strings.TrimSpace(line)) {
				t.Errorf("want %q in\n%s", line, text)
			}
		}
	}
	if code != 3 || said != 4 {
		t.Errorf("the tool: %d\n%s", code, tool)
	}
	b.everyTheme("guest-dropped")
	b.clean(url)
}
