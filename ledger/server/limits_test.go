package server

import (
	"bytes"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

func TestLimiter(t *testing.T) {
	now := time.Unix(1700000000, 0)
	l := newLimiter(2, 3, func() time.Time { return now })
	for i := range 3 {
		if l.check("a", "") != nil || l.take("a", "") != nil {
			t.Fatalf("request %d", i)
		}
	}
	late, ok := l.take("a", "too many").(*limitError)
	if !ok || late.after != time.Second || l.check("a", "") == nil {
		t.Fatalf("%+v", late)
	}
	if l.take("b", "") != nil {
		t.Error("another one's")
	}
	now = now.Add(time.Second)
	for i, want := range []bool{true, true, false} {
		if (l.take("a", "") == nil) != want {
			t.Errorf("request %d a second later: want two", i)
		}
	}
	// Its memory is bounded: idle ones go, and when none is idle the rest share.
	for i := range maxBuckets {
		l.take(strconv.Itoa(i), "")
	}
	if len(l.buckets) > maxBuckets {
		t.Errorf("%d buckets", len(l.buckets))
	}
	for range 3 {
		l.take("x", "")
	}
	if l.take("y", "") == nil {
		t.Error("a flood of names has no end")
	}
	now = now.Add(time.Hour)
	if l.take("z", "") != nil || len(l.buckets) > 2 {
		t.Errorf("an hour later: %d buckets", len(l.buckets))
	}
	if none := newLimiter(0, 0, nil); none.take("a", "") != nil || none.check("a", "") != nil {
		t.Error("no limit")
	}
}

func TestAddress(t *testing.T) {
	l := newConfig(t, ledger.GradeSoftware)
	l.config.Proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	s := &Server{config: l.config}
	for _, test := range []struct{ remote, forwarded, want string }{
		{"192.0.2.1:5", "", "192.0.2.1"},
		{"192.0.2.1:5", "198.51.100.7", "192.0.2.1"}, // no proxy of ours
		{"10.1.2.3:5", "198.51.100.7", "198.51.100.7"},
		{"10.1.2.3:5", "203.0.113.9, 198.51.100.7", "198.51.100.7"}, // the first one anybody may write
		{"10.1.2.3:5", "198.51.100.7, 10.9.9.9", "198.51.100.7"},    // two proxies
		{"10.1.2.3:5", "", "10.1.2.3"},
		{"10.1.2.3:5", "nonsense", "10.1.2.3"},
		{"[2001:db8:1:2:3:4:5:6]:5", "", "2001:db8:1:2::/64"},
		{"[::ffff:192.0.2.1]:5", "", "192.0.2.1"},
		{"10.1.2.3:5", "2001:db8::1", "2001:db8::/64"},
	} {
		r, err := http.NewRequest(http.MethodGet, "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.RemoteAddr = test.remote
		if test.forwarded != "" {
			r.Header.Set("X-Forwarded-For", test.forwarded)
		}
		if got := s.address(r); got != test.want {
			t.Errorf("%s for %q: %s, want %s", test.remote, test.forwarded, got, test.want)
		}
	}
}

// Strangers exhaust neither enrolment nor admission: their address is slowed
// down. Hosts with a token are served on, from the same address too.
func TestStrangersAreSlowedDown(t *testing.T) {
	l := newConfig(t, ledger.GradeSoftware)
	l.start(t)
	h := l.enrolHost(t, "h")
	l.submit(t, h, "/bin/a") // the client has a token from here on
	l.kill()
	l.config.Limits = Limits{Address: 0.001, AddressBurst: 5, Host: 1000, Burst: 1000}
	mine := l.Client
	l.start(t)
	mine.Base, l.Client = l.http.URL, mine

	status := func(method, path string, body []byte, header ...string) int {
		t.Helper()
		resp, _ := l.doWith(t, method, path, bytes.NewReader(body), header...)
		if resp.StatusCode == http.StatusTooManyRequests {
			if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || n < 1 {
				t.Errorf("Retry-After %q", resp.Header.Get("Retry-After"))
			}
		}
		return resp.StatusCode
	}
	for i := range 5 {
		if got := status("POST", "/leaf", []byte("garbage")); got != http.StatusUnprocessableEntity {
			t.Fatalf("%d: %d", i, got)
		}
	}
	fresh := newTestAK(t)
	for name, got := range map[string]int{
		"garbage": status("POST", "/leaf", []byte("garbage")), "enrol": status("POST", "/enrol", []byte("{}")), "activate": status("POST", "/enrol/activate", []byte("{}")),
	} {
		if got != http.StatusTooManyRequests {
			t.Errorf("%s: %d", name, got)
		}
	}
	_, _, err := l.Enrol(t.Context(), client.EnrolRequest{Host: "new", AKPublic: fresh.ak}, 0)
	problem(t, err, http.StatusTooManyRequests, "")
	for i := range 3 {
		l.submit(t, h, fmt.Sprint("/bin/", i))
	}
	// What is read is not limited here.
	if got := status("GET", "/checkpoint", nil); got != http.StatusOK {
		t.Errorf("checkpoint: %d", got)
	}
}

// A host that asks too much is slowed down, and no other.
func TestHostRate(t *testing.T) {
	l := closedLedger(t, func(c *Config) { c.Limits = Limits{Host: 0.001, Burst: 4, Uploads: 1} })
	l.enrolHost(t, "h")
	busy, _ := l.server.tokens.issue("h")
	other, _ := l.server.tokens.issue("other")
	for i := range 4 {
		content := fmt.Appendf(nil, "content %d", i)
		if resp, b := l.as(t, busy, "PUT", pathOf(content), content); resp.StatusCode != http.StatusCreated {
			t.Fatalf("%s %s", resp.Status, b)
		}
	}
	if resp, _ := l.as(t, busy, "PUT", pathOf([]byte("x")), []byte("x")); resp.StatusCode != http.StatusTooManyRequests {
		t.Error(resp.Status)
	}
	if resp, _ := l.as(t, busy, "POST", "/leaf", []byte("x")); resp.StatusCode != http.StatusTooManyRequests {
		t.Error(resp.Status)
	}
	if resp, _ := l.as(t, other, "PUT", pathOf([]byte("x")), []byte("x")); resp.StatusCode != http.StatusCreated {
		t.Error(resp.Status)
	}
}

// A host has so many uploads under way and no more; slow ones keep no entry out.
func TestUploadsAtOnce(t *testing.T) {
	l := newConfig(t, ledger.GradeSoftware)
	l.config.Limits.Uploads = 2
	l.start(t)
	a, err := l.server.uploads.enter("x", "uploads")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.server.uploads.enter("x", "uploads"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.server.uploads.enter("x", "uploads"); problemOf(err).Status != http.StatusTooManyRequests {
		t.Fatal(err)
	}
	a()
	if _, err := l.server.uploads.enter("x", "uploads"); err != nil {
		t.Fatal(err)
	}
	// All slots for uploads are taken; an entry has slots of its own.
	h := l.enrolHost(t, "h")
	anchor := l.anchor(t)
	leaf, payload := h.segment(t, testOrigin, anchor, "/bin/sh")
	l.upload(t, payload, anchor.Raw)
	for range maxUploads {
		if err := l.server.beginIn(l.server.uploadSlots); err != nil {
			break
		}
		defer l.server.endIn(l.server.uploadSlots)
	}
	if resp, _ := l.do(t, "PUT", pathOf([]byte("x")), bytes.NewReader([]byte("x"))); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("an upload too many: %s", resp.Status)
	}
	if _, err := l.SubmitLeaf(t.Context(), leaf, 0); err != nil {
		t.Fatal(err)
	}
}
