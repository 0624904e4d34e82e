package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWebTogether: several bundles that are dropped at once, or stand in one folder,
// are held to one another as the tool holds them.
func TestWebTogether(t *testing.T) {
	const vectors = "../../ledger/testdata/vectors"
	var rows []struct {
		Name, Trust    string
		Bundles, Codes []string
	}
	text, err := os.ReadFile(vectors + "/across.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &rows); err != nil || len(rows) < 5 {
		t.Fatalf("%d vectors, %v", len(rows), err)
	}
	b := startBrowser(t)
	trust := filepath.Join(vectors, rows[0].Trust)
	url := startWeb(t, trust, filepath.Join(vectors, "across"))
	b.open(url, "#/trust")
	b.pin(siteOf(t, trust))
	b.open(url, "#/verify")
	for _, row := range rows {
		files := make(map[string][]byte)
		for _, name := range row.Bundles {
			raw, err := os.ReadFile(filepath.Join(vectors, name))
			if err != nil {
				t.Fatal(err)
			}
			files[filepath.Base(name)] = raw
		}
		eval[int](b, `document.querySelector("#report").replaceChildren(); 0`)
		b.drop(".drop", files)
		b.until(`!!document.querySelector("#report .across")`)
		shown := b.text("#report .across > .findings > li > strong")
		for _, code := range row.Codes {
			if !strings.Contains(shown, code) {
				t.Errorf("%s: no %s in\n%s", row.Name, code, b.text("#report .across"))
			}
		}
		if head := b.text("#report .across .headline"); (head != "") != (len(row.Codes) > 0) || len(row.Codes) == 0 && shown != "" {
			t.Errorf("%s: %q %q, want %v", row.Name, head, shown, row.Codes)
		}
		if n := b.count("#report .report"); n != len(files)+1 {
			t.Errorf("%s: %d reports of %d bundles", row.Name, n, len(files))
		}
	}
	b.everyTheme("together")
	// All of a folder: the rows' worlds are many histories of one log.
	b.open(url, "#/verify")
	b.until(`document.querySelectorAll("main li a").length > 15`)
	eval[int](b, `[...document.querySelectorAll("main a")].find((a) => a.innerText.includes("hold them to one another")).click(); 0`)
	b.until(`!!document.querySelector("#report .across .headline.contradicted")`)
	b.clean(url)
}
