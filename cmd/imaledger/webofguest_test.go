//go:build guest

package main

import (
	"os"
	"strings"
	"testing"
)

// TestWebOfGuest looks at the pages of the ledger that TestGuestPages has filled just
// now, which starts it.
func TestWebOfGuest(t *testing.T) {
	url, trust := strings.TrimSuffix(os.Getenv("IMALEDGER_PAGES"), "/"), os.Getenv("IMALEDGER_PAGES_TRUST")
	if url == "" || trust == "" {
		t.Fatal("IMALEDGER_PAGES and IMALEDGER_PAGES_TRUST say where the ledger is: run TestGuestPages of cmd/imaledger-agent")
	}
	b := startBrowser(t)
	b.open(url, "#/trust")
	b.pin(siteOf(t, trust))
	b.guestPages(url)
	b.clean(url)
}
