package main

import (
	"crypto/rand"
	"fmt"
	"html"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/witness"
)

// Each log stands on one of the pages, and a page has a bounded number of them.
func TestPages(t *testing.T) {
	key, err := witness.GenerateKey(rand.Reader, "witness.example/w")
	if err != nil {
		t.Fatal(err)
	}
	_, vkey, err := note.GenerateKey(rand.Reader, "log")
	if err != nil {
		t.Fatal(err)
	}
	one, err := witness.ParseLog(vkey)
	if err != nil {
		t.Fatal(err)
	}
	config := witness.Config{Keys: []*witness.Key{key}, Dir: t.TempDir()}
	const logs = 2*pageRows + 5
	for i := range logs {
		config.Logs = append(config.Logs, witness.Log{Origin: fmt.Sprintf("log&%d +<x>", i), Keys: one.Keys})
	}
	w, err := witness.New(config)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	now := time.Unix(1_800_000_000, 0)
	p := &page{witness: w, keys: config.Keys, now: func() time.Time { return now }}
	get := func(target string) string {
		answer := httptest.NewRecorder()
		p.ServeHTTP(answer, httptest.NewRequest("GET", target, nil))
		return answer.Body.String()
	}
	row, more := regexp.MustCompile(`<tr><td>([^<]*)`), regexp.MustCompile(`href="(\?after=[^"]*)"`)
	seen := make(map[string]int)
	pages := 0
	for target := "/"; target != ""; pages++ {
		text := get(target)
		rows := row.FindAllStringSubmatch(text, -1)
		if len(rows) > pageRows {
			t.Fatalf("%d rows", len(rows))
		}
		for _, r := range rows {
			seen[html.UnescapeString(r[1])]++
		}
		target = ""
		if m := more.FindStringSubmatch(text); m != nil {
			target = "/" + html.UnescapeString(m[1])
		}
	}
	if len(seen) != logs || pages != 3 || seen["log&7 +<x>"] != 1 {
		t.Errorf("%d logs of %d on %d pages", len(seen), logs, pages)
	}

	// One look a second, however many look.
	if err := w.SetLogs(nil); err != nil {
		t.Fatal(err)
	}
	if text := get("/"); strings.Contains(text, "remembered") {
		t.Error("asked twice in a second")
	}
	now = now.Add(pageAge)
	if text := get("/"); !strings.Contains(text, "remembered") {
		t.Error("not asked again after a second")
	}
}
