package server

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

// lockedBuffer is a log that several write to.
type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// TestRequestID: what a client calls its request is what the log calls it; what
// would not do in a log is replaced; and no secret is there.
func TestRequestID(t *testing.T) {
	l := newConfig(t, ledger.GradeSoftware)
	var log lockedBuffer
	l.config.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	l.config.PublicPayloads = false
	l.start(t)
	const secret = "a-secret-that-nobody-guesses"
	resp, body := l.doWith(t, http.MethodGet, "/"+ledger.AddendumPath(ledger.Hash{1})+"?leaf="+secret, nil, requestHeader, "from-the-balancer.1", "Authorization", "Bearer "+secret)
	var p client.Problem
	decode(t, body, &p)
	if p.Request != "from-the-balancer.1" || resp.Header.Get(requestHeader) != p.Request {
		t.Errorf("%v %s", resp.Header, body)
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	var line struct {
		Request, Method, Path, Address string
		Status                         int
		Bytes                          int64
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil {
		t.Fatal(err)
	}
	if line.Request != p.Request || line.Status != resp.StatusCode || line.Bytes != int64(len(body)) || line.Address != "127.0.0.1" || line.Method != http.MethodGet {
		t.Errorf("%+v", line)
	}
	if strings.Contains(log.String(), secret) {
		t.Error("the log has a secret")
	}
	seen := make(map[string]bool)
	for _, id := range []string{"", "short", strings.Repeat("x", 65), "with a space in", `with"quote`, "ümläute-und-mehr"} {
		resp, _ := l.doWith(t, http.MethodGet, "/nowhere", nil, requestHeader, id)
		got := resp.Header.Get(requestHeader)
		if got == id || !validRequestID(got) || seen[got] {
			t.Errorf("%q became %q", id, got)
		}
		seen[got] = true
	}
	// What is refused stands in the log under the same name.
	if resp, body := l.doWith(t, http.MethodPost, "/leaf", strings.NewReader("nonsense\n"), requestHeader, "a-refused-one"); resp.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(log.String(), `"msg":"refused","request":"a-refused-one"`) {
		t.Errorf("%s %s\n%s", resp.Status, body, log.String())
	}
}
