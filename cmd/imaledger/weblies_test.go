package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

// chainOf gives a page of another host's chain for a page of one, sequence by sequence.
func (s *site) chainOf(t *testing.T, host string, page []byte) []byte {
	var want, other client.HostChain
	if err := json.Unmarshal(page, &want); err != nil {
		t.Error(err)
	}
	r, err := http.Get(s.url + "/host/" + host + "/chain")
	if err == nil {
		err = errors.Join(json.NewDecoder(r.Body).Decode(&other), r.Body.Close())
	}
	if err != nil {
		t.Error(err)
	}
	want.Newest, want.Entries = other.Newest, slices.DeleteFunc(want.Entries, func(e client.ChainEntry) bool { return e.Sequence >= uint64(len(other.Entries)) })
	for i, e := range want.Entries {
		want.Entries[i] = other.Entries[e.Sequence]
	}
	b, err := json.Marshal(want)
	if err != nil {
		t.Error(err)
	}
	return b
}

// TestWebLies: whatever a ledger alters, withholds or makes up, no page calls what it
// touches verified, and each says why.
func TestWebLies(t *testing.T) {
	s, b := startSite(t), startBrowser(t)
	l := startLiar(t, s.url)
	segment, err := ledger.ParseSegment(s.entries[3]) // web1.example #2
	if err != nil {
		t.Fatal(err)
	}
	payload, anchor := "/"+ledger.AddendumPath(segment.Payload.Digest), "/"+ledger.AddendumPath(segment.Anchor.Note)
	b.open(l.url, "#/trust")
	b.pin(s)
	for _, hash := range []string{"#/hosts/web1.example", "#/hosts/web1.example/2", "#/hosts/web1.example/2/4"} {
		b.open(l.url, hash)
		if mark := b.text(".verdict > .mark > summary"); mark != "✓ verified" {
			t.Fatalf("%s, told the truth: %q", hash, mark)
		}
	}
	for _, row := range []struct {
		name string
		lie  falsehood
		want string // a state and a code, or a word, that each page that is told the lie has
	}{
		{"payload altered", lieAt(payload, flipped), "contradicted payload-digest"},
		{"payload withheld", answers(payload, http.StatusNotFound), "undecided payload-missing"},
		{"erasure that no entry states", answers(payload, http.StatusGone), "undecided payload-missing"},
		{"anchor altered", lieAt(anchor, flipped), "contradicted anchor-mismatch"},
		{"anchor withheld", answers(anchor, http.StatusNotFound), "undecided anchor-missing"},
		{"entry altered", lieInEntries(flipped), ""},
		{"another entry", lieInEntries(func([]byte) []byte { return bytes.Clone(s.entries[2]) }), "contradicted"},
		{"tile altered", lieAt("/tile/0/", flipped), "contradicted proof-inclusion"},
		{"tile withheld", answers("/tile/0/", http.StatusNotFound), "undecided proof-missing"},
		{"tile cut short", lieAt("/tile/0/", func(b []byte) []byte { return b[:len(b)-32] }), "undecided proof-missing"},
		{"checkpoint altered", lieAt("/checkpoint", flipped), ""},
		{"checkpoint without the log's signature", lieAt("/checkpoint", unsigned("demo.example")), "contradicted checkpoint-signature"},
		{"checkpoint without a quorum", lieAt("/checkpoint", unsigned("witness")), "undecided quorum-not-met"},
		{"checkpoint of a forked log", lieAt("/checkpoint", func([]byte) []byte { return s.forkedCheckpoint(t, 10) }), ""},
		{"no checkpoint", answers("/checkpoint", http.StatusNotFound), ""},
		{"chain with another's index", func(path string, status int, body []byte) (int, []byte) {
			if strings.HasSuffix(path, "/chain") {
				body = bytes.ReplaceAll(body, []byte(`"index":3`), []byte(`"index":2`))
			}
			return status, body
		}, "contradicted"},
		{"chain of another host", func(path string, status int, body []byte) (int, []byte) {
			if strings.HasSuffix(path, "/web1.example/chain") {
				body = s.chainOf(t, "db1.example", body)
			}
			return status, body
		}, "contradicted chain-broken"},
	} {
		for _, hash := range []string{"#/hosts/web1.example", "#/hosts/web1.example/2", "#/hosts/web1.example/2/4"} {
			t.Run(row.name+" "+hash, func(t *testing.T) {
				b.t = t
				l.tell(row.lie)
				defer l.honest()
				eval[int](b, `sessionStorage.clear(); 0`)
				b.run(reload)
				b.open(l.url, hash)
				text := b.text("main")
				text = text[:min(len(text), 700)] + " … " + b.text(".finding strong, .notice")
				if l.told.Load() == 0 {
					t.Error("nothing was altered: the test shows nothing")
				}
				if n := b.count(".verdict > .mark.verified"); n > 0 {
					t.Errorf("it says verified:\n%s", text)
				}
				state, code, _ := strings.Cut(row.want, " ")
				record := strings.Count(hash, "/") == 4 // where there are no records, there is no record to show
				if state != "" && !record && (b.count(".verdict > .mark."+state) != 1 || !strings.Contains(text, code)) {
					t.Errorf("want %s in\n%s", row.want, text)
				}
				if b.count(".mark.contradicted, .mark.undecided, .notice") == 0 {
					t.Errorf("it says nothing:\n%s", text)
				}
				b.shoot("lie-" + strings.ReplaceAll(row.name, " ", "-") + strings.ReplaceAll(strings.TrimPrefix(hash, "#/hosts/web1.example"), "/", "-"))
			})
		}
	}
	b.t = t
	b.clean(l.url)
}

// TestWebShout: a log that shows fewer entries than before, another history of as many,
// or a key that is not pinned, is shouted about on every page, and its checkpoint is
// not remembered.
func TestWebShout(t *testing.T) {
	s, b := startSite(t), startBrowser(t)
	l := startLiar(t, s.url)
	older := make([]ledger.Hash, 6)
	for i := range older {
		older[i] = ledger.LeafHash(s.entries[i])
	}
	c := &cheat{demo: s.demo, leaves: older}
	b.open(l.url, "#/")
	b.pin(s)
	b.until(`document.querySelector("#head").innerText.includes("10 entries, verified")`)
	remembered := eval[string](b, `localStorage.getItem("imaledger-seen")`)
	other := append([]ledger.Hash{}, older...)
	for i := 6; i < 12; i++ {
		other = append(other, ledger.Hash{byte(i)})
	}
	for _, row := range []struct {
		name       string
		checkpoint []byte
		want       string
	}{
		{"fewer entries", c.sign(older, 2), "You have seen this log with 10 entries, and are shown 6"},
		{"another history of as many", c.sign(other[:10], 2), "it shows two histories"},
		{"another history of more", c.sign(other, 2), "it shows two histories"},
		{"another key", strangersCheckpoint(t, older), "does not sign with a key that you pinned"},
	} {
		t.Run(row.name, func(t *testing.T) {
			b.t = t
			l.tell(lieAt("/checkpoint", func([]byte) []byte { return row.checkpoint }))
			if row.name == "another history of more" { // it has tiles for it
				l.tell(func(path string, status int, body []byte) (int, []byte) {
					switch {
					case path == "/checkpoint":
						return 200, row.checkpoint
					case strings.HasPrefix(path, "/tile/0/000"):
						var tile []byte
						for _, h := range other {
							tile = append(tile, h[:]...)
						}
						return 200, tile
					}
					return status, body
				})
			}
			b.run(reload)
			b.open(l.url, "#/status")
			b.until(`!!document.querySelector("#banner .alarm")`)
			if text := b.text("#banner .alarm"); !strings.Contains(text, row.want) {
				t.Errorf("the page shouts %q, want %q", text, row.want)
			}
			if n := b.count(".mini.verified"); n > 0 {
				t.Error("the checkpoint is called verified")
			}
			if now := eval[string](b, `localStorage.getItem("imaledger-seen")`); now != remembered {
				t.Errorf("it remembers %s, and before %s", now, remembered)
			}
			b.shoot("shout-" + strings.ReplaceAll(row.name, " ", "-"))
		})
	}
	b.t = t
	b.clean(l.url)
}

// strangersCheckpoint is signed by another key of the log's name.
func strangersCheckpoint(t *testing.T, tree []ledger.Hash) []byte {
	t.Helper()
	signer, _, err := demoKey(demoOrigin)
	if err != nil {
		t.Fatal(err)
	}
	root := treeRoot(tree)
	signed, err := note.Sign(&note.Note{Text: fmt.Sprintf("%s\n%d\n%s\n", demoOrigin, len(tree), base64.StdEncoding.EncodeToString(root[:]))}, signer)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}
