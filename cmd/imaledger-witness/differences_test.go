//go:build peers

package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/merkle/testonly"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/witness"
)

var updateDifferences = flag.Bool("update-differences", false, "write the table of differences into witness/README.md")

// A peerLog is a log with two histories, which part after five leaves.
type peerLog struct {
	t            *testing.T
	origin, vkey string
	signer       note.Signer
	tree, fork   *testonly.Tree
}

func newPeerLog(t *testing.T, origin string, mldsa bool) *peerLog {
	l := &peerLog{t: t, origin: origin, tree: testonly.New(rfc6962.DefaultHasher), fork: testonly.New(rfc6962.DefaultHasher)}
	var skey string
	var err error
	if mldsa {
		if skey, l.vkey, err = fnote.GenerateMLDSAKey(origin); err == nil {
			l.signer, err = fnote.NewMLDSASigner(skey)
		}
	} else if skey, l.vkey, err = note.GenerateKey(rand.Reader, origin); err == nil {
		l.signer, err = note.NewSigner(skey)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		l.tree.AppendData([]byte{byte(i)})
		if i >= 5 {
			i += 100
		}
		l.fork.AppendData([]byte{byte(i)})
	}
	return l
}

func (l *peerLog) text(tree *testonly.Tree, size uint64) string {
	return fmt.Sprintf("%s\n%d\n%s\n", l.origin, size, base64.StdEncoding.EncodeToString(tree.HashAt(size)))
}

func (l *peerLog) sign(text string) string {
	l.t.Helper()
	signed, err := note.Sign(&note.Note{Text: text}, l.signer)
	if err != nil {
		l.t.Fatal(err)
	}
	return string(signed)
}

func (l *peerLog) head(tree *testonly.Tree, old, size uint64) string {
	l.t.Helper()
	head := fmt.Sprintf("old %d\n", old)
	if old > 0 {
		proof, err := tree.ConsistencyProof(old, size)
		if err != nil {
			l.t.Fatal(err)
		}
		for _, h := range proof {
			head += base64.StdEncoding.EncodeToString(h) + "\n"
		}
	}
	return head + "\n"
}

func (l *peerLog) body(old, size uint64) string { return l.of(l.tree, old, size) }

func (l *peerLog) of(tree *testonly.Tree, old, size uint64) string {
	return l.head(tree, old, size) + l.sign(l.text(tree, size))
}

// line gives a signature line of the log on a text, and spoiled one that is wrong.
func (l *peerLog) line(text string) string {
	signed := l.sign(text)
	return signed[strings.LastIndex(signed, "— "):]
}

func (l *peerLog) spoiled(text string) string {
	line := l.line(text)
	at := strings.LastIndex(line, " ") + 1
	blob, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line[at:]))
	if err != nil {
		l.t.Fatal(err)
	}
	blob[len(blob)-1] ^= 1
	return line[:at] + base64.StdEncoding.EncodeToString(blob) + "\n"
}

// A difference is a request that both witnesses get, each with a log of its own
// which, unless fresh, has seven leaves cosigned.
type difference struct {
	name   string
	text   string // what the specification says it is answered with
	fresh  bool
	mldsa  bool // the log signs with ML-DSA-44
	body   func(l *peerLog) string
	path   string // add-checkpoint unless given
	method string
}

func differences() []difference {
	zero := strings.Repeat("A", 43) + "=\n"
	replace := func(old, new string) func(*peerLog) string {
		return func(l *peerLog) string { return strings.Replace(l.body(7, 12), old, new, 1) }
	}
	checkpoint := func(edit func(text string) string) func(*peerLog) string {
		return func(l *peerLog) string { return l.head(l.tree, 7, 12) + l.sign(edit(l.text(l.tree, 12))) }
	}
	return []difference{
		{name: "an honest first checkpoint", text: "200", fresh: true, body: func(l *peerLog) string { return l.body(0, 7) }},
		{name: "an honest update", text: "200", body: func(l *peerLog) string { return l.body(7, 12) }},
		{name: "the same size and root again", text: "200", body: func(l *peerLog) string { return l.body(7, 7) }},
		{name: "an empty tree", text: "200", fresh: true, body: func(l *peerLog) string { return l.body(0, 0) }},
		{name: "extension lines", text: "200", body: checkpoint(func(s string) string { return s + "extension\n" })},
		{name: "a size of 2^63 and more", text: "200", fresh: true, body: func(l *peerLog) string {
			return "old 0\n\n" + l.sign(l.origin+"\n9223372036854775808\n"+zero)
		}},
		{name: "16 signatures of post-quantum size", text: "200", body: func(l *peerLog) string {
			body := l.body(7, 12)
			for i := range 15 {
				body += fmt.Sprintf("— w%d.example %s\n", i, base64.StdEncoding.EncodeToString(make([]byte, 4+8+2420)))
			}
			return body
		}},
		{name: "a log that signs with ML-DSA-44", text: "200", fresh: true, mldsa: true, body: func(l *peerLog) string { return l.body(0, 7) }},
		{name: "an unknown key's bad signature besides", text: "200", body: func(l *peerLog) string {
			return l.body(7, 12) + newPeerLog(l.t, l.origin, false).spoiled(l.text(l.tree, 12))
		}},

		{name: "nothing", text: "400", body: func(l *peerLog) string { return "" }},
		{name: "`old 007`", text: "400", body: replace("old 7", "old 007")},
		{name: "`old +7`", text: "400", body: replace("old 7", "old +7")},
		{name: "`old  7`, with two spaces", text: "400", body: replace("old 7", "old  7")},
		{name: "lines that end in CR LF", text: "400", body: func(l *peerLog) string { return strings.ReplaceAll(l.body(7, 12), "\n", "\r\n") }},
		{name: "64 proof lines", text: "400", body: func(l *peerLog) string {
			return "old 7\n" + strings.Repeat(zero, 64) + "\n" + l.sign(l.text(l.tree, 12))
		}},
		{name: "a proof line of 31 bytes", text: "400", body: replace("old 7\n", "old 7\n"+base64.StdEncoding.EncodeToString(make([]byte, 31))+"\n")},
		{name: "a proof line with bits after the hash", text: "400", body: replace("old 7\n", "old 7\n"+strings.Repeat("A", 42)+"B=\n")},
		{name: "an old size above the checkpoint's", text: "400", body: func(l *peerLog) string { return "old 13\n\n" + l.sign(l.text(l.tree, 12)) }},
		{name: "a checkpoint's size with a leading zero", text: "400", body: checkpoint(func(s string) string { return strings.Replace(s, "\n12\n", "\n012\n", 1) })},
		{name: "a checkpoint without a root", text: "400", body: checkpoint(func(s string) string { return s[:strings.Index(s, "\n12\n")+4] })},
		{name: "an empty line in the checkpoint", text: "400", body: checkpoint(func(s string) string { return s + "\nextension\n" })},
		{name: "a checkpoint that does not end its last line", text: "400", body: func(l *peerLog) string { return strings.TrimSuffix(l.body(7, 12), "\n") }},
		{name: "a signature line without a signature", text: "400", body: func(l *peerLog) string { return l.body(7, 12) + "— w.example\n" }},

		{name: "no signature", text: "403", body: func(l *peerLog) string { return l.head(l.tree, 7, 12) + l.text(l.tree, 12) + "\n" }},
		{name: "another key's signature alone", text: "403", body: func(l *peerLog) string {
			return l.head(l.tree, 7, 12) + newPeerLog(l.t, l.origin, false).sign(l.text(l.tree, 12))
		}},
		{name: "the log's signature, altered", text: "403", body: func(l *peerLog) string {
			return l.head(l.tree, 7, 12) + l.text(l.tree, 12) + "\n" + l.spoiled(l.text(l.tree, 12))
		}},
		{name: "a second line of the log's key, altered", text: "403", body: func(l *peerLog) string { return l.body(7, 12) + l.spoiled(l.text(l.tree, 12)) }},
		{name: "an unknown log", text: "404", body: func(l *peerLog) string { return newPeerLog(l.t, "log.example/unknown", false).body(0, 7) }},

		{name: "an old size that is not the last", text: "409", body: func(l *peerLog) string { return l.body(3, 12) }},
		{name: "an old size, and nothing was cosigned", text: "409", fresh: true, body: func(l *peerLog) string { return l.body(5, 12) }},

		{name: "another root at the same size", text: "422", body: func(l *peerLog) string { return l.of(l.fork, 7, 7) }},
		{name: "a fork with its own proof", text: "422", body: func(l *peerLog) string { return l.of(l.fork, 7, 12) }},
		{name: "no proof", text: "422", body: func(l *peerLog) string { return "old 7\n\n" + l.sign(l.text(l.tree, 12)) }},
		{name: "a proof where none belongs: from size 0", text: "422", fresh: true, body: func(l *peerLog) string { return "old 0\n" + zero + "\n" + l.sign(l.text(l.tree, 7)) }},
		{name: "a proof where none belongs: of the same size", text: "422", body: func(l *peerLog) string { return "old 7\n" + zero + "\n" + l.sign(l.text(l.tree, 7)) }},
		{name: "size 0 with another root", text: "422", fresh: true, body: func(l *peerLog) string { return "old 0\n\n" + l.sign(l.origin+"\n0\n"+zero) }},

		{name: "a monitor's `GET /<origin hash>/checkpoint`", text: "200 (SHOULD)", method: "GET", path: "%x/checkpoint"},
		{name: "the same of a log that was never cosigned", text: "404", fresh: true, method: "GET", path: "%x/checkpoint"},
		{name: "`sign-subtree`", text: "200 (OPTIONAL)", path: "sign-subtree"},
	}
}

// answerTo gives what a witness answers a row with; a 409 that is not as it must be
// says so.
func (d difference) answerTo(t *testing.T, url string, l *peerLog) string {
	t.Helper()
	post := func(path, body string) (*http.Response, string) {
		method := d.method
		if method == "" || path == "add-checkpoint" {
			method = "POST"
		}
		request, err := http.NewRequest(method, url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer, string(text)
	}
	cosigned := ""
	if !d.fresh {
		answer, text := post("add-checkpoint", l.body(0, 7))
		if answer.StatusCode != 200 {
			t.Fatalf("%s: an honest first checkpoint: %s %s", d.name, answer.Status, text)
		}
		cosigned = text
	}
	path, body := d.path, ""
	switch {
	case path == "sign-subtree":
		body = fmt.Sprintf("subtree 0 7\n%s\n\n%s\n%s", base64.StdEncoding.EncodeToString(l.tree.HashAt(7)), l.text(l.tree, 7), cosigned)
	case path != "":
		path = fmt.Sprintf(path, sha256.Sum256([]byte(l.origin)))
	default:
		path, body = "add-checkpoint", d.body(l)
	}
	answer, text := post(path, body)
	status := fmt.Sprint(answer.StatusCode)
	if answer.StatusCode == 409 && (text != map[bool]string{true: "0\n", false: "7\n"}[d.fresh] || answer.Header.Get("Content-Type") != "text/x.tlog.size") {
		status += " without the size"
	}
	if answer.StatusCode == 200 && d.method == "" && !strings.HasPrefix(text, "— ") {
		status += " without a cosignature"
	}
	return status
}

// The same requests to both witnesses: ours answers as the text says, and the
// table in witness/README.md has each row where the other does not.
func TestDifferences(t *testing.T) {
	dir := t.TempDir()
	var keyArgs []string
	for i, generate := range []func(io.Reader, string) (*witness.Key, error){witness.GenerateKey, witness.GenerateMLDSAKey} {
		key, err := generate(rand.Reader, "witness.example/w")
		if err != nil {
			t.Fatal(err)
		}
		file := fmt.Sprintf("%s/key%d", dir, i)
		write(t, file, key.Secret(), 0o600)
		keyArgs = append(keyArgs, "--key", file)
	}
	rows := differences()
	var logs []*peerLog
	var vkeys []string
	args := append([]string{"--listen", "127.0.0.1:0", "--state", dir + "/state"}, keyArgs...)
	for i, d := range rows {
		logs = append(logs, newPeerLog(t, fmt.Sprintf("log.example/%d", i), d.mldsa))
		vkeys = append(vkeys, logs[i].vkey)
		args = append(args, "--log", logs[i].vkey)
	}
	_, ours, stop := startService(t, 2, args...)
	defer stop()
	theirs := newLitewitness(t).start(t, vkeys)
	table := "| request | the text says | imaledger-witness | litewitness v0.9.0 |\n|---|---|---|---|\n"
	same := 0
	for i, d := range rows {
		a, b := d.answerTo(t, ours, logs[i]), d.answerTo(t, theirs, logs[i])
		if want, _, _ := strings.Cut(d.text, " ("); a != want {
			t.Errorf("%s: ours answers %s, and the text says %s", d.name, a, d.text)
		}
		if a == b {
			same++
			continue
		}
		table += fmt.Sprintf("| %s | %s | %s | %s |\n", d.name, d.text, a, b)
	}
	table += fmt.Sprintf("\nOf %d requests, both answer the other %d as the text says.\n", len(rows), same)
	const readme, begin, end = "../../witness/README.md", "<!-- differences -->\n", "<!-- end of differences -->\n"
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", readme)
	}
	if *updateDifferences {
		write(t, readme, before+begin+table+end+after, 0o644)
	} else if old != table {
		t.Errorf("%s has another table; run with -update-differences:\n%s", readme, table)
	}
}
