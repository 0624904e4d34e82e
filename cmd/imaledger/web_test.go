package main

import (
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"

	"github.com/imaledger/imaledger/ledger"
)

// sitePages are the pages of the demonstration.
var sitePages = []struct{ name, hash, has string }{
	{"log", "#/", "Witnesses of this checkpoint"},
	{"hosts", "#/hosts", "db1.example"},
	{"host", "#/hosts/web1.example", "boot 2"},
	{"segment", "#/hosts/web1.example/2", "PCR"},
	{"record", "#/hosts/db1.example/2/5", "Proofs of this record alone"},
	{"search", "#/search", "Who has measured it?"},
	{"verify", "#/verify", "Drop a bundle of evidence here"},
	{"trust", "#/trust", "Keys, to be compared out of band"},
	{"status", "#/status", "Witness quorum"},
	{"entry", "#/entries/0", "imaledger/enrolment/v1"},
	{"nowhere", "#/nowhere", "There is no such page"},
}

// TestWebPages: every page, unpinned and pinned, in every theme, is whole, keeps to
// its width and to the rules of accessibility, and talks to its own origin alone.
// Nothing is verified before something is pinned.
func TestWebPages(t *testing.T) {
	s, b := startSite(t), startBrowser(t)
	for _, pinned := range []string{"unpinned", "pinned"} {
		if pinned == "pinned" {
			b.pin(s)
		}
		for _, p := range sitePages {
			b.look(themes[0])
			b.open(s.url, p.hash)
			if text := b.text("main"); !strings.Contains(text, p.has) && !(pinned == "unpinned" && p.name == "log") {
				t.Errorf("%s, %s: no %q in\n%s", p.name, pinned, p.has, text)
			}
			green := b.count(".mark.verified, .mini.verified, .steps .verified")
			if pinned == "unpinned" && green > 0 {
				t.Errorf("%s: %d green marks, and nothing is pinned", p.name, green)
			}
			for _, th := range themes {
				b.look(th)
				if wide := eval[int](b, `document.documentElement.scrollWidth - innerWidth`); wide > 0 {
					t.Errorf("%s, %s, %s: %d pixels wider than the window", p.name, pinned, th.name, wide)
				}
				b.accessible(p.name + ", " + pinned + ", " + th.name)
				b.shoot(p.name + "-" + pinned + "-" + th.name)
			}
			// Each reason is a click away; here all are open.
			eval[int](b, `document.querySelectorAll("details").forEach((d) => (d.open = true)); 0`)
			b.accessible(p.name + ", " + pinned + ", with every reason open")
			if wide := eval[int](b, `document.documentElement.scrollWidth - innerWidth`); wide > 0 {
				t.Errorf("%s, %s, with every reason open: %d pixels wider than the window", p.name, pinned, wide)
			}
			b.shoot(p.name + "-" + pinned + "-open")
		}
	}
	b.clean(s.url)
}

// TestWebFirstVisit: a newcomer is told that nothing is pinned, pins what is offered,
// compares it, sees two hosts' boots, opens a segment that is checked, alters a byte,
// and sees why it no longer verifies.
func TestWebFirstVisit(t *testing.T) {
	s, b := startSite(t), startBrowser(t)
	b.open(s.url, "#/")
	if text := b.text("#banner"); !strings.Contains(text, "No trust root is pinned in this browser yet") {
		t.Errorf("the banner says %q", text)
	}
	b.open(s.url, "#/trust")
	b.until(`!!document.querySelector(".proposal .primary")`)
	b.click(".proposal .primary")
	b.until(`document.querySelector("#banner").innerText.includes("were not compared")`)
	b.settled()
	b.click("#pinned ~ .pairs button") // I have compared these keys now
	b.until(`document.querySelector("#banner").innerText === ""`)
	for _, host := range []string{"web1.example", "db1.example"} {
		b.open(s.url, "#/hosts/"+host)
		if mark := b.text(".verdict > .mark > summary"); mark != "✓ verified" {
			t.Errorf("%s: %q; %s", host, mark, b.text("main"))
		}
	}
	if text := b.text(".bands"); !strings.Contains(text, "↻") {
		t.Errorf("the kexec of db1.example does not show in %q", text)
	}
	b.open(s.url, "#/hosts/web1.example/2")
	if mark := b.text(".verdict > .mark > summary"); mark != "✓ verified" {
		t.Fatalf("the segment: %q", mark)
	}
	if n := b.count(".leaf tbody tr"); n < 25 || b.count(".leaf tbody tr .mark.verified") != n {
		t.Errorf("%d lines of the leaf, %d of them verified", n, b.count(".leaf tbody tr .mark.verified"))
	}
	if n := b.count(".vlist .vrow"); n < 15 || n > 60 {
		t.Errorf("%d rows in the document", n)
	}
	b.shootTo("readme-segment", 1000)
	for range 8 { // it takes another byte each time
		eval[int](b, `document.querySelector(".alter [aria-live]").replaceChildren(); 0`)
		b.click(".alter button")
		b.until(`document.querySelectorAll(".alter h3").length === 2`)
		text := b.text(".alter")
		for _, want := range []string{string(ledger.BundleDamaged), string(ledger.ReplayMismatch), string(ledger.ProofInclusion)} {
			if !strings.Contains(text, want) {
				t.Errorf("altered by a byte: no %s in\n%s", want, text)
			}
		}
		if n := b.count(".alter .mark.contradicted"); n != 2 || b.count(".alter .mark.verified") > 0 {
			t.Errorf("%d alterations contradicted", n)
		}
	}
	b.shoot("altered")
	b.shootTo("readme-altered", 800)
	b.open(s.url, "#/hosts/db1.example")
	b.run(protocol(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"}))
	if n := eval[int](b, `[...document.querySelectorAll("nav, main button")].filter((e) => e.checkVisibility()).length`); n > 0 {
		t.Errorf("%d things to press are printed", n)
	}
	b.shoot("host-print")
	b.clean(s.url)
}

// TestWebKeyboard walks from the log to a verified segment and one of its records by
// keys alone.
func TestWebKeyboard(t *testing.T) {
	s, b := startSite(t), startBrowser(t)
	b.open(s.url, "#/")
	b.pin(s)
	b.tabTo("Hosts")
	b.press("Enter")
	b.until(`location.hash === "#/hosts"`)
	b.settled()
	b.tabTo("Name has")
	b.typed("web1")
	b.press("Enter")
	b.until(`location.hash === "#/hosts?query=web1"`)
	b.settled()
	b.tabTo("web1.example")
	b.press("Enter")
	b.until(`location.hash === "#/hosts/web1.example"`)
	b.settled()
	b.tabTo("web1.example segment 2")
	b.press("Enter")
	b.until(`location.hash === "#/hosts/web1.example/2"`)
	b.settled()
	b.tabTo("✓ verified")
	b.press("Enter")
	if !eval[bool](b, `document.activeElement.closest("details").open && document.activeElement.closest("details").classList.contains("verified")`) {
		t.Error("the reason does not open by a key")
	}
	b.tabTo("Records of the segment")
	for range 3 {
		b.press("ArrowDown")
	}
	b.press("Enter")
	b.until(`location.hash === "#/hosts/web1.example/2/3"`)
	b.settled()
	if text := b.text("h1"); !strings.HasPrefix(text, "Record 3 of") {
		t.Errorf("the page is %q", text)
	}
	if where := eval[string](b, `document.activeElement.id`); where != "main" {
		t.Errorf("after a page is opened the focus is at %q", where)
	}
	b.clean(s.url)
}
