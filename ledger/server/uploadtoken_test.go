package server

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

// closedLedger takes addenda from hosts alone, and shows what is not public to
// those of an access list.
func closedLedger(t testing.TB, change func(*Config)) *testLedger {
	t.Helper()
	l := newConfig(t, ledger.GradeSoftware)
	l.config.PublicUploads, l.config.PublicPayloads = false, false
	if change != nil {
		change(&l.config)
	}
	return l.start(t)
}

// as makes a request with a token.
func (l *testLedger) as(t testing.TB, token, method, path string, body []byte, header ...string) (*http.Response, []byte) {
	t.Helper()
	return l.doWith(t, method, path, bytes.NewReader(body), append(header, "Authorization", "Bearer "+token)...)
}

// A host that its ledger does not know yet shows the entry, and gets a token for
// what that names; the next entries renew it.
func TestUploadToken(t *testing.T) {
	l := closedLedger(t, nil)
	h := l.enrolHost(t, "h")
	anchor := l.anchor(t)
	leaf, payload := h.segment(t, testOrigin, anchor, "/bin/sh")
	path := "/" + ledger.AddendumPath(sha256.Sum256(payload))
	for method, want := range map[string]int{"PUT": http.StatusUnauthorized, "HEAD": http.StatusUnauthorized, "GET": http.StatusUnauthorized} {
		if resp, b := l.do(t, method, path, bytes.NewReader(payload)); resp.StatusCode != want || resp.Header.Get("WWW-Authenticate") == "" {
			t.Fatalf("%s by a stranger: %s %s", method, resp.Status, b)
		}
	}
	resp, b := l.do(t, "POST", "/leaf", bytes.NewReader(leaf))
	token := resp.Header.Get("Upload-Token")
	if resp.StatusCode != http.StatusUnprocessableEntity || token == "" || !bytes.Contains(b, []byte(`"missing":["`+path+`"`)) {
		t.Fatalf("%s %v %s", resp.Status, resp.Header, b)
	}
	if resp, b := l.as(t, token, "PUT", path, payload); resp.StatusCode != http.StatusCreated {
		t.Fatalf("%s %s", resp.Status, b)
	}
	if resp, _ := l.as(t, token, "HEAD", path, nil); resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	// It is for uploads, not to read what others have uploaded.
	if resp, _ := l.as(t, token, "GET", path, nil); resp.StatusCode != http.StatusUnauthorized {
		t.Fatalf("a host reads payloads: %s", resp.Status)
	}
	if resp, b := l.as(t, token, "PUT", "/"+ledger.AddendumPath(sha256.Sum256(anchor.Raw)), anchor.Raw); resp.StatusCode != http.StatusCreated {
		t.Fatalf("%s %s", resp.Status, b)
	}
	resp, b = l.do(t, "POST", "/leaf", bytes.NewReader(leaf))
	if resp.StatusCode >= 300 || resp.Header.Get("Upload-Token") == "" {
		t.Fatalf("%s %v %s", resp.Status, resp.Header, b)
	}
	// Everyone can read the entry in the log now, so it shows nothing any more.
	resp, b = l.do(t, "POST", "/leaf", bytes.NewReader(leaf))
	if resp.StatusCode >= 300 || resp.Header.Get("Upload-Token") != "" {
		t.Fatalf("the same again: %s %v %s", resp.Status, resp.Header, b)
	}
}

// The client does all that by itself.
func TestClientGetsItsToken(t *testing.T) {
	l := closedLedger(t, nil)
	h := l.enrolHost(t, "h")
	for i := range 3 {
		anchor := l.anchor(t)
		leaf, payload := h.segment(t, testOrigin, anchor, fmt.Sprint("/bin/", i))
		uploads := 0
		err := client.Upload(t.Context(), leaf, l.SubmitLeaf, func() error {
			uploads++
			for _, b := range [][]byte{payload, anchor.Raw} {
				if err := l.PutAddendum(t.Context(), sha256.Sum256(b), int64(len(b)), bytes.NewReader(b)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if a, err := l.SubmitLeaf(t.Context(), leaf, client.MaxWait); err != nil || a.Proof == "" {
			t.Fatalf("%+v, %v", a, err)
		}
		h.took(leaf)
		if want := map[int]int{0: 2}[i]; uploads != max(want, 1) {
			t.Errorf("entry %d: %d uploads, want a second one for the first entry alone", i, uploads)
		}
	}
}

// Nothing but an entry that the host's TPM has signed, and that continues its
// chain, gives a token.
func TestNoTokenForOthers(t *testing.T) {
	l := closedLedger(t, func(c *Config) { c.PublicUploads = true })
	h, other := l.enrolHost(t, "h"), l.enrolHost(t, "other")
	admitted, _ := l.submit(t, h, "/bin/a")
	anchor := l.anchor(t)
	good, _ := h.fork().segment(t, testOrigin, anchor, "/bin/b")
	foreign, _ := (&testHost{name: "h", tpm: other.tpm, leaf: h.leaf, sequence: h.sequence}).segment(t, testOrigin, anchor, "/bin/b")
	absent := ledger.Addendum{Size: 4, Digest: sha256.Sum256([]byte("junk"))}
	for name, leaf := range map[string][]byte{
		"an old entry, changed": alter(t, admitted, func(s *ledger.Segment) { s.Payload = absent }),
		"another host's TPM":    foreign,
		"a head changed":        alter(t, good, func(s *ledger.Segment) { s.Host = "other" }),
		"a signature changed":   alter(t, good, func(s *ledger.Segment) { s.Signature[40] ^= 1 }),
		"nobody's host":         alter(t, good, func(s *ledger.Segment) { s.Host = "nobody" }),
		"garbage":               []byte("garbage"),
	} {
		resp, b := l.do(t, "POST", "/leaf", bytes.NewReader(leaf))
		if resp.StatusCode < 400 || resp.Header.Get("Upload-Token") != "" {
			t.Errorf("%s: %s %q %s", name, resp.Status, resp.Header.Get("Upload-Token"), b)
		}
	}
	resp, _ := l.do(t, "POST", "/leaf", bytes.NewReader(good))
	if resp.Header.Get("Upload-Token") == "" {
		t.Error("the good one gives none")
	}
}

// A TPM that has answered its registrars shows who it is; a key that anyone can
// name shows nothing.
func TestEnrolmentGivesToken(t *testing.T) {
	l := newConfig(t, ledger.GradeFirstUse)
	l.config.PublicUploads = false
	l.start(t)
	body, err := json.Marshal(l.begin(t, "h", newTestTPM(t)))
	if err != nil {
		t.Fatal(err)
	}
	resp, b := l.do(t, "POST", "/enrol/activate", bytes.NewReader(body))
	token := resp.Header.Get("Upload-Token")
	if got, err := l.server.tokens.read(token); got != "h" || err != nil {
		t.Errorf("%s %s: the token is %q's, %v", resp.Status, b, got, err)
	}

	l = closedLedger(t, nil)
	body, err = json.Marshal(client.EnrolRequest{Host: "h", AKPublic: newTestAK(t).ak})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if resp, b := l.do(t, "POST", "/enrol", bytes.NewReader(body)); resp.StatusCode >= 300 || resp.Header.Get("Upload-Token") != "" {
			t.Errorf("%s %q %s", resp.Status, resp.Header.Get("Upload-Token"), b)
		}
	}
}

func TestTokens(t *testing.T) {
	now := time.Unix(1700000000, 0)
	s := &tokens{bytes.Repeat([]byte{7}, 32), time.Hour, func() time.Time { return now }}
	token, expires := s.issue("web-1.example")
	if got, err := s.read(token); err != nil || got != "web-1.example" || !expires.Equal(now.Add(time.Hour)) {
		t.Fatalf("%q, %v, %s", got, err, expires)
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token, tokenPrefix))
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		changed := slices.Clone(b)
		changed[i] ^= 1
		if got, err := s.read(tokenPrefix + base64.RawURLEncoding.EncodeToString(changed)); err == nil {
			t.Errorf("byte %d changed: it is %q's", i, got)
		}
	}
	for _, bad := range []string{"", tokenPrefix, token[:len(token)-1], token + "A", token + "=", strings.ToUpper(token)} {
		if got, err := s.read(bad); err == nil {
			t.Errorf("%q is %q's", bad, got)
		}
	}
	other := &tokens{bytes.Repeat([]byte{8}, 32), time.Hour, s.now}
	if _, err := other.read(token); err == nil {
		t.Error("another key reads it")
	}
	now = expires.Add(-time.Second)
	if _, err := s.read(token); err != nil {
		t.Error("a second before its end:", err)
	}
	now = expires
	if _, err := s.read(token); err == nil {
		t.Error("it does not expire")
	}
}

// A token outlives a restart, as the key does; front ends that share a key share
// the tokens.
func TestTokenKey(t *testing.T) {
	l := closedLedger(t, nil)
	token, _ := l.server.tokens.issue("h")
	l.restart(t)
	if got, err := l.server.tokens.read(token); err != nil || got != "h" {
		t.Fatalf("%q, %v", got, err)
	}
	l.kill()
	l.config.TokenKey = bytes.Repeat([]byte{1}, 32)
	l.start(t)
	if _, err := l.server.tokens.read(token); err == nil {
		t.Error("another key reads it")
	}
	l.kill()
	l.config.TokenKey = []byte("short")
	if _, err := New(t.Context(), l.config); err == nil {
		t.Error("a short key")
	}
}

// No token, of hosts or of others, comes into the log, not even of debug records.
func TestNoSecretInLogs(t *testing.T) {
	var mu sync.Mutex
	var out bytes.Buffer
	const auditor, wrong = "the auditor's token, which is long", "a token that nobody has"
	l := closedLedger(t, func(c *Config) {
		c.Logger = slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return out.Write(b)
		}), &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.Access = access(t, "auditor a token %s hosts *\n", auditor)
	})
	h := l.enrolHost(t, "h")
	anchor := l.anchor(t)
	leaf, payload := h.segment(t, testOrigin, anchor, "/bin/sh")
	path := "/" + ledger.AddendumPath(sha256.Sum256(payload))
	resp, _ := l.do(t, "POST", "/leaf", bytes.NewReader(leaf))
	token := resp.Header.Get("Upload-Token")
	good := l.server.addenda
	l.server.addenda = brokenStore{good, fmt.Errorf("disk"), nil, nil}
	for _, secret := range []string{token, auditor, wrong, token[:len(token)-4] + "AAAA"} {
		for _, method := range []string{"PUT", "GET", "HEAD", "POST", "DELETE"} {
			l.as(t, secret, method, path, payload)
			l.as(t, secret, method, "/refusals", nil)
			l.as(t, secret, method, "/leaf", []byte("garbage"))
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(out.String(), "request failed") {
		t.Error("the failed upload is not in the log: the test tests nothing")
	}
	key := l.server.tokens.key
	for _, secret := range []string{token, token[len(tokenPrefix):], auditor, wrong, "Bearer", string(key), fmt.Sprintf("%x", key)} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// A host's certificate, of the operator's own authority, is as good as a token.
func TestUploadByCertificate(t *testing.T) {
	l := closedLedger(t, nil)
	l.enrolHost(t, "h")
	for name, want := range map[string]string{"h": "h", "stranger": ""} {
		r, err := http.NewRequest(http.MethodPut, "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		cert := &x509.Certificate{DNSNames: []string{name}}
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
		if c, err := l.server.caller(r); err != nil || c.uploader != "" {
			t.Errorf("%s, not verified: %+v, %v", name, c, err)
		}
		r.TLS.VerifiedChains = [][]*x509.Certificate{{cert}}
		if c, err := l.server.caller(r); err != nil || c.uploader != want {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}
