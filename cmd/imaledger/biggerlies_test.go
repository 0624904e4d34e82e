package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/search"
	"github.com/imaledger/imaledger/ledger/testlog"
)

// A biggerLedger is a ledger of three files of entries, the last not full. Host a has
// most of them; c has four segments, one in each file and one more in the second.
type biggerLedger struct {
	*testlog.Log
	url, trust string
	c          []int // indexes of c's entries
}

const biggerSize = 600

func startBigger(t *testing.T) *biggerLedger {
	t.Helper()
	l, err := testlog.New("log.example/bigger", 1)
	if err != nil {
		t.Fatal(err)
	}
	b := &biggerLedger{Log: l, trust: filepath.Join(t.TempDir(), "trust")}
	hosts := make(map[string]*testlog.Host)
	for _, name := range []string{"a", "c"} {
		if name == "c" {
			b.c = append(b.c, len(l.Entries))
		}
		if hosts[name], err = l.AddHost(name); err != nil {
			t.Fatal(err)
		}
	}
	for n := len(l.Entries); n < biggerSize; n++ {
		h := hosts["a"]
		if slices.Contains([]int{100, 300, 400, 590}, n) {
			h, b.c = hosts["c"], append(b.c, n)
		}
		if err := h.Measure(testlog.Files(fmt.Sprint("/bin/", n))...); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Seal(h); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := writeTrust(b.trust, l.Policy, l.Rules); err != nil {
		t.Fatal(err)
	}
	answers := l.Ledger()
	var node *search.Node
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/search" || node == nil {
			answers.ServeHTTP(w, r)
			return
		}
		q, err := client.ParseSearchQuery(r.URL.Query())
		if err == nil {
			q.Limit = min(q.Limit, 4) // pages, of which a question has several
			var a *client.SearchAnswer
			if a, err = node.Search(r.Context(), q); err == nil {
				err = json.NewEncoder(w).Encode(a)
			}
		}
		if err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	b.url = server.URL
	n, err := search.OpenNode(t.TempDir(), l.Trust, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	if err := n.Update(t.Context(), &client.Client{Base: b.url}, false, nil); err != nil {
		t.Fatal(err)
	}
	node = n
	return b
}

// commands are those that read a ledger. Each has folders of its own.
func (b *biggerLedger) commands(t *testing.T, url, state, key string) map[string][]string {
	dir := t.TempDir()
	command := func(args ...string) []string {
		return append([]string{args[0], "--ledger", url, "--trust", b.trust}, args[1:]...)
	}
	out := func(name string) string { return filepath.Join(dir, name) }
	resumed := out("resumed")
	if err := os.CopyFS(resumed, os.DirFS(state)); err != nil {
		t.Fatal(err)
	}
	return map[string][]string{
		"audit": command("audit"), "audit, resumed": command("audit", "--state", resumed),
		"cosign": command("cosign", "--state", out("cosign"), "--key", key),
		"index":  command("index", "--dir", out("index")),
		"bundle": command("bundle", "--host", "c", "--out", out("c.tar")), "bundle, boot": command("bundle", "--host", "c", "--boot", "--out", out("boot.tar")),
		"bundle, from":  command("bundle", "--host", "c", "--from", "2", "--to", "3", "--out", out("part.tar")),
		"bundle, since": command("bundle", "--host", "c", "--since", "2026-01-01", "--out", out("since.tar")), "prove, time": command("prove", "--host", "c", "--time", "2100-01-01"),
		"prove":        command("prove", "--host", "c", "--sequence", "2", "--out", out("prove.tar"), "--entry", out("entry")),
		"prove, index": command("prove", "--index", "300", "--out", out("index.tar")), "prove, leaf": command("prove", "--leaf", fmt.Sprintf("%x", b.Leaves[300]), "--out", out("leaf.tar")),
		"prove, path": command("prove", "--host", "c", "--path", "/bin/300", "--out", out("path.tar")),
		"record":      command("record", "--host", "c", "--sequence", "2", "--path", "/bin/300", "--sealed", "--out", out("record")),
		"timeline":    command("timeline", "c"), "diff": command("diff", "c", "c"),
		"search": command("search", "--path-pattern", "/bin/30*"), "search, complete": command("search", "--path-pattern", "/bin/30*", "--complete"),
		"first-seen": command("first-seen", "--path", "/bin/300", "--complete"),
	}
}

// forged is c's second segment with another payload, and all that a ledger can give to
// have it taken for the log's, but for what the root rules out.
func (b *biggerLedger) forged(t *testing.T, index int) (raw []byte, lie falsehood) {
	t.Helper()
	was := b.Leaves[index]
	s, err := ledger.ParseSegment(b.Entries[index])
	if err != nil {
		t.Fatal(err)
	}
	s.Payload.Digest = b.Keep([]byte("forged"))
	raw = s.Marshal()
	leaf := ledger.LeafHash(raw)
	old, another := fmt.Appendf(nil, "%x", was), fmt.Appendf(nil, "%x", leaf)
	return raw, func(path string, status int, body []byte) (int, []byte) {
		switch {
		case path == "/leaf/"+string(another):
			return http.StatusOK, bytes.Clone(raw)
		case strings.HasPrefix(path, fmt.Sprintf("/tile/0/%03d", index/256)):
			return status, bytes.Replace(body, was[:], leaf[:], 1)
		case strings.HasPrefix(path, fmt.Sprintf("/tile/entries/%03d", index/256)):
			return status, bytes.Replace(body, b.Entries[index], raw, 1) // they have one size
		}
		return status, bytes.ReplaceAll(body, old, another)
	}
}

// fileOf serves another file of the log at paths that begin so.
func (b *biggerLedger) fileOf(prefix, other string) falsehood {
	answer := httptest.NewRecorder()
	b.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, other, nil))
	return lieAt(prefix, func([]byte) []byte { return bytes.Clone(answer.Body.Bytes()) })
}

func inChain(f func(c *client.HostChain)) falsehood {
	return func(path string, status int, body []byte) (int, []byte) {
		var c client.HostChain
		if !strings.HasSuffix(path, "/chain") || json.Unmarshal(body, &c) != nil {
			return status, body
		}
		before := slices.Clone(c.Entries)
		if f(&c); slices.Equal(before, c.Entries) {
			return status, body
		}
		body, err := json.Marshal(c)
		if err != nil {
			panic(err)
		}
		return status, body
	}
}

// inPages alters the pages of a search that f says it altered.
func inPages(f func(a *client.SearchAnswer) bool) falsehood {
	return func(path string, status int, body []byte) (int, []byte) {
		var a client.SearchAnswer
		if path != "/search" || json.Unmarshal(body, &a) != nil || len(a.Hits) == 0 || !f(&a) {
			return status, body
		}
		body, err := json.Marshal(a)
		if err != nil {
			panic(err)
		}
		return status, body
	}
}

// askedOf is which commands a lie is told to, by how they begin: all if there are none.
func askedOf(lie string) []string {
	switch {
	case strings.HasPrefix(lie, "a chain"):
		return []string{"bundle", "prove", "record", "timeline", "diff"}
	case strings.HasPrefix(lie, "a search"):
		return []string{"search", "first-seen"}
	}
	return nil
}

// TestLyingBiggerLedger: what only a ledger of many entries can lie about. Whatever it
// gives, no command says that it holds, none goes on for ever, and nothing that is
// forged is in a bundle.
func TestLyingBiggerLedger(t *testing.T) {
	b := startBigger(t)
	l := startLiar(t, b.url)
	state, key := t.TempDir(), newAuditorKey(t)
	before := httptest.NewServer(b.At(350)) // an audit goes on in the middle of a file
	defer before.Close()
	if code, out, talk := tool(t, "audit", "--ledger", before.URL, "--trust", b.trust, "--state", state); code != 0 {
		t.Fatal(out, talk)
	}
	older, err := b.Checkpoint(595)
	if err != nil {
		t.Fatal(err)
	}
	fork, err := b.Fork(350)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		if _, err := fork.State(&ledger.Hold{Log: b.Origin, To: uint64(i), Reason: "fork", Time: 1}); err != nil {
			t.Fatal(err)
		}
	}
	forkedAt, err := fork.Checkpoint(650)
	if err != nil {
		t.Fatal(err)
	}
	forgedEntry, forge := b.forged(t, 300)
	_, forgeLast := b.forged(t, 590)
	longer := func(b []byte) []byte { return append(b, bytes.Repeat([]byte{7}, 8192-len(b))...) }
	jumping := func(odd []byte) falsehood {
		var n atomic.Int64
		return lieAt("/checkpoint", func(b []byte) []byte {
			if n.Add(1)%2 == 1 {
				return odd
			}
			return b
		})
	}
	var first atomic.Pointer[client.SearchAnswer] // page
	for _, row := range []struct {
		name  string
		lie   falsehood
		holds []string // commands whose answer is true all the same
	}{
		{"the truth", func(_ string, status int, body []byte) (int, []byte) { return status, body }, []string{"*"}},
		{"an entry forged with its tile", forge, nil},
		{"the newest forged with its partial tile", forgeLast, nil},
		{"an entry forged, and the tile above", func(path string, status int, body []byte) (int, []byte) {
			status, body = forge(path, status, body)
			return lieAt("/tile/1/", flipped)(path, status, body)
		}, nil},
		{"a tile in the place of another", b.fileOf("/tile/0/001", "/tile/0/000"), nil},
		{"entries in the place of others", b.fileOf("/tile/entries/001", "/tile/entries/000"), nil},
		{"entries and their tile in the place of others", func(path string, status int, body []byte) (int, []byte) {
			status, body = b.fileOf("/tile/entries/001", "/tile/entries/000")(path, status, body)
			return b.fileOf("/tile/0/001", "/tile/0/000")(path, status, body)
		}, nil},
		{"the full tile in place of the partial one", lieAt("/tile/0/002", longer), []string{"*"}},
		{"the full tile, and what the tree has is another's", lieAt("/tile/0/002", func(b []byte) []byte { return longer(flipped(b)) }), nil},
		{"a narrower partial tile", lieAt("/tile/0/002", func(b []byte) []byte { return b[:len(b)-32] }), nil},
		{"no tile", answers("/tile/0/001", http.StatusNotFound), nil},
		{"no newest entries", answers("/tile/entries/002", http.StatusNotFound), nil},
		{"a checkpoint that jumps back and forth", jumping(older), []string{"*"}}, // both are the log's
		{"a checkpoint of a fork, now and then", jumping(forkedAt), nil},
		{"a chain's entry twice", inChain(func(c *client.HostChain) {
			if len(c.Entries) > 1 {
				c.Entries[1] = c.Entries[0]
			}
		}), nil},
		{"a chain's entry left out", inChain(func(c *client.HostChain) {
			if len(c.Entries) > 1 {
				c.Entries = slices.Delete(c.Entries, 1, 2)
			}
		}), []string{"bundle, from"}}, // where it is the last of a page, and is asked for again
		{"a chain that is always at its begin", inChain(func(c *client.HostChain) {
			if len(c.Entries) > 0 && c.Entries[0].Sequence > 0 {
				c.Entries[0] = client.ChainEntry{Sequence: 0, Leaf: fmt.Sprintf("%x", b.Leaves[b.c[0]]), Index: uint64(b.c[0])}
			}
		}), nil},
		{"a chain's newest entry withheld", func(path string, status int, body []byte) (int, []byte) {
			if strings.HasSuffix(path, "/head") {
				body = bytes.Replace(body, []byte(`"sequence":4`), []byte(`"sequence":3`), 1)
			}
			return status, body
		}, nil},
		{"a chain that never ends", func(path string, status int, body []byte) (int, []byte) {
			switch {
			case strings.HasSuffix(path, "/head"):
				return status, []byte(`{"host":"c","sequence":4611686018427387904}`)
			case strings.HasSuffix(path, "/chain"):
				return http.StatusOK, []byte(`{"host":"c","entries":[{"sequence":1,"index":4611686018427387904}]}`)
			}
			return status, body
		}, nil},
		{"a search's page left out", inPages(func(a *client.SearchAnswer) bool {
			if a.Limits != nil {
				return false
			}
			a.Hits, a.Next = a.Hits[:1], ""
			return true
		}), []string{"search"}},
		{"a search's hit left out", inPages(func(a *client.SearchAnswer) bool { a.Hits = slices.Delete(a.Hits, 0, 1); return true }), []string{"search"}},
		{"a search's page again and again", inPages(func(a *client.SearchAnswer) bool {
			a.Next = "/search?"
			if a.Limits != nil {
				first.Store(a)
				return false
			}
			*a = *first.Load()
			return true
		}), nil},
		{"a search's record that is none, and always more", inPages(func(a *client.SearchAnswer) bool {
			a.Hits[len(a.Hits)-1].Record += 1000
			a.Next = "/search?"
			return true
		}), nil},
	} {
		commands := b.commands(t, l.url, state, key)
		for _, name := range slices.Sorted(maps.Keys(commands)) {
			args := commands[name]
			if of := askedOf(row.name); len(of) > 0 && !slices.ContainsFunc(of, func(p string) bool { return strings.HasPrefix(name, p) }) {
				continue
			}
			t.Run(row.name+"/"+name, func(t *testing.T) {
				if name == "cosign" {
					args = append(args, "--key", newAuditorKey(t))
				}
				l.tell(row.lie)
				defer l.honest()
				code, out, talk := tool(t, args...)
				holds := l.told.Load() == 0 || slices.Contains(row.holds, name) || slices.Contains(row.holds, "*")
				if holds && code != 0 || !holds && code != 1 && code != 3 {
					t.Errorf("exit code %d after %d lies\n%s%s", code, l.told.Load(), out, talk)
				}
				for i, arg := range args {
					if i == 0 || args[i-1] != "--out" && args[i-1] != "--entry" {
						continue
					}
					for _, file := range []string{arg, arg + ".tar"} {
						if content, err := os.ReadFile(file); err == nil && bytes.Contains(content, forgedEntry) {
							t.Errorf("%s has what was forged", file)
						}
					}
				}
			})
		}
	}
}

// TestNewestUnsaid: where a log has too many entries after a host's newest to look
// through, that it is the newest is the ledger's word, and every command that rests on
// it says so.
func TestNewestUnsaid(t *testing.T) {
	l, err := testlog.New("log.example/long", 1)
	if err != nil {
		t.Fatal(err)
	}
	h, err := l.AddHost("c")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Measure(testlog.Files("/bin/sh")...); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Seal(h); err != nil {
		t.Fatal(err)
	}
	trust := filepath.Join(t.TempDir(), "trust")
	if _, err := writeTrust(trust, l.Policy, l.Rules); err != nil {
		t.Fatal(err)
	}
	for _, more := range []int{100, 10_100} {
		for len(l.Entries) < more {
			if _, err := l.Add([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		server := httptest.NewServer(l.Ledger())
		defer server.Close()
		at := []string{"--ledger", server.URL, "--trust", trust}
		for _, args := range [][]string{
			{"bundle", "--host", "c", "--out", filepath.Join(t.TempDir(), "c.tar")}, {"prove", "--host", "c", "--path", "/bin/sh"},
			{"bundle", "--host", "c", "--since", "2026-01-01", "--out", filepath.Join(t.TempDir(), "since.tar")}, {"prove", "--host", "c", "--time", "2100-01-01"}, {"timeline", "c"}, {"diff", "c", "c"},
		} {
			code, out, talk := tool(t, append(args, at...)...)
			if said := strings.Contains(talk, "is the ledger's word"); code != 0 || said != (more > 10_000) {
				t.Errorf("%s, %d entries more: exit code %d\n%s%s", args[0], more, code, out, talk)
			}
		}
	}
}
