package main

import (
	"strings"
	"testing"
)

// TestWebSearch: what a ledger finds is fetched and checked before it is called found,
// and what it does not find is its word.
func TestWebSearch(t *testing.T) {
	s, b := startSite(t), startBrowser(t)
	b.open(s.url, "#/search?path=boot_aggregate")
	if n := b.count(".hits .mark.verified"); n > 0 || b.count(".hits .mark.undecided") == 0 {
		t.Errorf("%d hits are verified, and nothing is pinned:\n%s", n, b.text("main"))
	}
	b.pin(s)
	for query, want := range map[string]int{"path=boot_aggregate": 4, "pattern=*aggregate&host=db1.example": 2, "pattern=/tmp/b/pubbeta-00000%3F&host=web1.example": 10} {
		b.open(s.url, "#/search?"+query)
		if n := b.count(".hits tbody tr"); n < want || b.count(".hits .mark.verified") != n {
			t.Errorf("%s: %d hits, %d of them verified, want %d\n%s", query, n, b.count(".hits .mark.verified"), want, b.text("main"))
		}
	}
	b.shoot("search-boot")
	b.open(s.url, "#/search")
	eval[int](b, `document.querySelector("#what").value = "/no/such*"; document.querySelector("form").requestSubmit(); 0`)
	b.until(`location.hash === "#/search?pattern=%2Fno%2Fsuch*"`)
	b.settled()
	if text := b.text("main"); !strings.Contains(text, "The ledger names no hit") || !strings.Contains(text, "stated by the ledger") || b.count(".mark.verified") > 0 {
		t.Errorf("nothing found:\n%s", text)
	}
	b.open(s.url, "#/search?digest=nonsense")
	if text := b.text("main"); !strings.Contains(text, "The server answers with a problem") {
		t.Errorf("a query that is none:\n%s", text)
	}
	b.clean(s.url)
}
