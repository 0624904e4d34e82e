package witness

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/merkle/testonly"
	"golang.org/x/mod/sumdb/note"
)

const testOrigin = "log.example/test"

// testTime is what the clock of the witnesses under test says.
var testTime = time.Unix(1_800_000_000, 0)

// testLog is a log with a key and two histories, which part after forkAt leaves.
type testLog struct {
	origin     string
	vkey       string
	signer     note.Signer
	tree, fork *testonly.Tree
}

const (
	forkAt   = 5
	treeSize = 40
)

func newTestLog(t testing.TB, origin string) *testLog {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	l := &testLog{origin, vkey, signer, testonly.New(rfc6962.DefaultHasher), testonly.New(rfc6962.DefaultHasher)}
	for i := range treeSize {
		l.tree.AppendData([]byte{byte(i)})
		if i >= forkAt {
			i += 100
		}
		l.fork.AppendData([]byte{byte(i)})
	}
	return l
}

// text gives the text of a checkpoint.
func (l *testLog) text(tree *testonly.Tree, size uint64, extension ...string) string {
	return l.origin + "\n" + fmt.Sprint(size) + "\n" + base64.StdEncoding.EncodeToString(tree.HashAt(size)) + "\n" + strings.Join(extension, "")
}

func sign(t testing.TB, text string, signers ...note.Signer) string {
	t.Helper()
	n, err := note.Sign(&note.Note{Text: text}, signers...)
	if err != nil {
		t.Fatal(err)
	}
	return string(n)
}

// signed gives a checkpoint with the log's signature.
func (l *testLog) signed(tree *testonly.Tree, size uint64) string {
	n, err := note.Sign(&note.Note{Text: l.text(tree, size)}, l.signer)
	if err != nil {
		panic(err)
	}
	return string(n)
}

func proofLines(t testing.TB, tree *testonly.Tree, old, size uint64) string {
	t.Helper()
	return (*testLog)(nil).proof(tree, old, size)
}

// proof gives the lines of a consistency proof.
func (*testLog) proof(tree *testonly.Tree, old, size uint64) string {
	if old == 0 {
		return ""
	}
	hashes, err := tree.ConsistencyProof(old, size)
	if err != nil {
		panic(err)
	}
	var b strings.Builder
	for _, h := range hashes {
		b.WriteString(base64.StdEncoding.EncodeToString(h) + "\n")
	}
	return b.String()
}

// body gives a request that an honest log would send.
func (l *testLog) body(t testing.TB, old, size uint64) string {
	return l.bodyOf(t, l.tree, old, size)
}

func (l *testLog) bodyOf(t testing.TB, tree *testonly.Tree, old, size uint64) string {
	t.Helper()
	return fmt.Sprintf("old %d\n%s\n%s", old, proofLines(t, tree, old, size), sign(t, l.text(tree, size), l.signer))
}

func testKey(t testing.TB, name string) *Key {
	t.Helper()
	key, err := GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func testConfig(t testing.TB, logs ...*testLog) Config {
	t.Helper()
	c := Config{Keys: []*Key{testKey(t, "witness.example/w1")}, Dir: t.TempDir(), Now: func() time.Time { return testTime }}
	for _, l := range logs {
		log, err := ParseLog(l.vkey)
		if err != nil {
			t.Fatal(err)
		}
		c.Logs = append(c.Logs, log)
	}
	return c
}

func start(t testing.TB, c Config) *Witness {
	t.Helper()
	w, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func post(w *Witness, body string) *httptest.ResponseRecorder {
	return postTo(w, "/add-checkpoint", body)
}

func postTo(w *Witness, path, body string) *httptest.ResponseRecorder {
	response := httptest.NewRecorder()
	w.ServeHTTP(response, httptest.NewRequest("POST", path, strings.NewReader(body)))
	return response
}

func fmtUint(n uint64) string { return strconv.FormatUint(n, 10) }

// want posts a request, checks the answer's status and gives its body.
func want(t testing.TB, w *Witness, status int, body string) string {
	t.Helper()
	response := post(w, body)
	if response.Code != status {
		t.Fatalf("got status %d %q, want %d for request\n%s", response.Code, response.Body, status, clip(body))
	}
	if status != 200 && bytes.Contains(response.Body.Bytes(), []byte("—")) {
		t.Fatalf("status %d with a signature: %q", status, response.Body)
	}
	return response.Body.String()
}

func clip(s string) string { return s[:min(len(s), 2000)] }
