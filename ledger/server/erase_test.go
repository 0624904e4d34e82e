package server

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

const day = 24 * time.Hour

// state signs and submits a statement.
func (l *testLedger) state(t testing.TB, s ledger.Statement) (ledger.Hash, error) {
	t.Helper()
	if err := ledger.Sign(s, l.operator); err != nil {
		t.Fatal(err)
	}
	raw := s.Marshal()
	_, err := l.SubmitLeaf(t.Context(), raw, client.MaxWait)
	return ledger.LeafHash(raw), err
}

func (l *testLedger) mustState(t testing.TB, s ledger.Statement) ledger.Hash {
	t.Helper()
	leaf, err := l.state(t, s)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// pass moves the witnesses' clocks, and has them see the log after it.
func (l *testLedger) pass(t testing.TB, d time.Duration, h *testHost) {
	t.Helper()
	l.ahead.Add(int64(d))
	l.submit(t, h, fmt.Sprintf("/bin/%d", h.sequence))
}

func erasureOf(policy ledger.Hash, segments ...[]byte) *ledger.Erasure {
	e := &ledger.Erasure{Log: testOrigin, Retention: policy, Reason: "it is time", Time: 1}
	for _, raw := range segments {
		s, err := ledger.ParseSegment(raw)
		if err != nil {
			panic(err)
		}
		e.Erased = append(e.Erased, ledger.Erased{Leaf: ledger.LeafHash(raw), Payload: s.Payload.Digest})
	}
	return e
}

func payloadOf(t testing.TB, leaf []byte) ledger.Hash {
	t.Helper()
	s, err := ledger.ParseSegment(leaf)
	if err != nil {
		t.Fatal(err)
	}
	return s.Payload.Digest
}

// there tells whether the ledger serves a payload; if not the problem is given.
func (l *testLedger) there(t testing.TB, leaf []byte) *client.Problem {
	t.Helper()
	var p *client.Problem
	if err := l.Addendum(t.Context(), payloadOf(t, leaf), 1<<20, io.Discard); err != nil && !errors.As(err, &p) {
		t.Fatal(err)
	}
	return p
}

func (l *testLedger) fileOf(t testing.TB, leaf []byte) string {
	return filepath.Join(l.config.Dir, ledger.AddendumPath(payloadOf(t, leaf)))
}

// Records go when the policy says so, and not before; what stays is the proof and
// whose word it was.
func TestErase(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	first, proof := l.submit(t, h, "/bin/sh")
	second, _ := l.submit(t, h, "/bin/ls")
	refused := func(what string, e *ledger.Erasure, why string) {
		t.Helper()
		_, err := l.state(t, e)
		if p := problem(t, err, http.StatusUnprocessableEntity, ""); !strings.Contains(p.Error(), why) {
			t.Errorf("%s: %v, want %q", what, p, why)
		}
		if p := l.there(t, first); p != nil {
			t.Fatalf("%s: %v", what, p)
		}
	}
	refused("without a policy", erasureOf(ledger.Hash{1}, first), "is not known")
	policy := l.mustState(t, &ledger.Retention{Log: testOrigin, Policy: 1, Days: 30, Statement: "thirty days", Time: 1})
	refused("at once", erasureOf(policy, first), "no witness states yet on which day")
	l.pass(t, day, h)
	l.pass(t, 28*day, h)
	refused("after 29 days", erasureOf(policy, first), "retention policy 1 keeps it until")
	hold := l.mustState(t, &ledger.Hold{Log: testOrigin, Host: "h", From: 0, To: 1 << 40, Reason: "court order", Time: 1})
	l.pass(t, 3*day, h)
	refused("while held", erasureOf(policy, first), "court order")
	l.mustState(t, &ledger.Release{Log: testOrigin, Hold: hold, Reason: "lifted", Time: 1})
	wrong := erasureOf(policy, first)
	wrong.Erased[0].Payload = payloadOf(t, second)
	refused("another payload", wrong, "is not that segment's")
	stranger := erasureOf(policy, first)
	operator := l.operator
	l.operator, _ = signer(t, "stranger.example")
	refused("by a stranger", stranger, "no operator")
	l.operator = operator

	leaf := l.mustState(t, erasureOf(policy, first))
	p := l.there(t, first)
	if p == nil || p.Status != http.StatusGone || !strings.Contains(p.Detail, fmt.Sprintf("%x", leaf)) {
		t.Fatalf("after the erasure: %v", p)
	}
	if _, err := os.Stat(l.fileOf(t, first)); !os.IsNotExist(err) {
		t.Fatalf("the file is there: %v", err)
	}
	seg, err := ledger.ParseSegment(first)
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.RecordProof(t.Context(), seg, 0, true)
	problem(t, err, http.StatusGone, "")
	if p := l.there(t, second); p != nil {
		t.Fatalf("the other payload: %v", p)
	}
	// The proof that the host got then is as good as ever, and the chain goes on.
	again, err := l.SubmitLeaf(t.Context(), first, client.MaxWait)
	if err != nil || again.Index != proof.Index {
		t.Fatalf("%+v, %v", again, err)
	}
	l.submit(t, h, "/bin/cat")
	l.restart(t)
	if p := l.there(t, first); p == nil || p.Status != http.StatusGone {
		t.Fatalf("after a restart: %v", p)
	}
	twice := erasureOf(policy, first)
	twice.Reason = "once more"
	_, err = l.state(t, twice)
	problem(t, err, http.StatusUnprocessableEntity, ledger.StatementInvalid)
	l.submit(t, h, "/bin/dd")
}

// A policy may demand that records were acted on.
func TestEraseAfterAppraisal(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	first, _ := l.submit(t, h, "/bin/sh")
	second, _ := l.submit(t, h, "/bin/ls")
	policy := l.mustState(t, &ledger.Retention{Log: testOrigin, Policy: 1, Days: 1, Appraisal: true, Statement: "when it was looked at", Time: 1})
	l.pass(t, day, h)
	l.pass(t, 2*day, h)
	_, err := l.state(t, erasureOf(policy, first))
	problem(t, err, http.StatusUnprocessableEntity, ledger.StatementInvalid)
	report := []byte("every record was looked at")
	l.upload(t, report)
	appraise := func(segment []byte, passed bool) {
		t.Helper()
		l.mustState(t, &ledger.Appraisal{
			Log: testOrigin, Host: "h", Segment: ledger.LeafHash(segment), Passed: passed, Time: 1,
			Report: ledger.Addendum{Size: uint64(len(report)), Digest: sha256.Sum256(report)},
		})
	}
	appraise(first, true)
	_, err = l.state(t, erasureOf(policy, second))
	problem(t, err, http.StatusUnprocessableEntity, ledger.StatementInvalid)
	appraise(second, false)
	_, err = l.state(t, erasureOf(policy, second))
	problem(t, err, http.StatusUnprocessableEntity, ledger.StatementInvalid)
	appraise(second, true) // it covers the first, too
	l.restart(t)
	l.mustState(t, erasureOf(policy, first))
	l.mustState(t, erasureOf(policy, second))
}

// A payload that another segment needs stays until that one is erased.
func TestEraseShared(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	a, b := l.enrolHost(t, "a"), l.enrolHost(t, "b")
	one, _ := l.submit(t, a, "/bin/sh")
	two, _ := l.submit(t, b, "/bin/sh")
	if payloadOf(t, one) != payloadOf(t, two) {
		t.Fatal("the payloads differ: the test tests nothing")
	}
	policy := l.mustState(t, &ledger.Retention{Log: testOrigin, Policy: 1, Days: 1, Statement: "a day", Time: 1})
	l.pass(t, day, a)
	l.pass(t, 2*day, a)
	l.mustState(t, erasureOf(policy, one))
	if p := l.there(t, two); p != nil {
		t.Fatalf("the other host's records: %v", p)
	}
	l.restart(t)
	if p := l.there(t, two); p != nil {
		t.Fatalf("after a restart: %v", p)
	}
	// One that is needed and not there is lost, whoever erased it for himself.
	lost := l.fileOf(t, two)
	if err := os.Rename(lost, lost+".away"); err != nil {
		t.Fatal(err)
	}
	if p := l.there(t, two); p == nil || p.Status != http.StatusNotFound {
		t.Fatalf("lost: %v", p)
	}
	if err := os.Rename(lost+".away", lost); err != nil {
		t.Fatal(err)
	}
	l.mustState(t, erasureOf(policy, two))
	if p := l.there(t, two); p == nil || p.Status != http.StatusGone {
		t.Fatalf("when nobody needs it: %v", p)
	}
	// Who has the same records again may upload them again.
	c := l.enrolHost(t, "c")
	three, _ := l.submit(t, c, "/bin/sh")
	if p := l.there(t, three); p != nil {
		t.Fatal(p)
	}
	l.restart(t)
	if p := l.there(t, three); p != nil {
		t.Fatalf("after a restart: %v", p)
	}
}

// A crash between the erasure's leaf and the deletion: the next start deletes.
func TestEraseCrash(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	first, _ := l.submit(t, h, "/bin/sh")
	policy := l.mustState(t, &ledger.Retention{Log: testOrigin, Policy: 1, Days: 1, Statement: "a day", Time: 1})
	l.pass(t, day, h)
	l.pass(t, 2*day, h)
	l.server.addenda = undeletable{l.server.addenda}
	l.mustState(t, erasureOf(policy, first))
	if _, err := os.Stat(l.fileOf(t, first)); err != nil {
		t.Fatalf("the test tests nothing: %v", err)
	}
	l.restart(t)
	if _, err := os.Stat(l.fileOf(t, first)); !os.IsNotExist(err) {
		t.Fatalf("after the start the payload is there: %v", err)
	}
	// A deletion that failed is tried again without a restart.
	second := h.leaf
	good := l.server.addenda
	l.server.addenda = undeletable{good}
	raw, err := l.Leaf(t.Context(), second)
	if err != nil {
		t.Fatal(err)
	}
	l.pass(t, 2*day, h)
	l.pass(t, 2*day, h)
	l.mustState(t, erasureOf(policy, raw))
	l.server.addenda = good
	l.server.tidy()
	if _, err := os.Stat(l.fileOf(t, raw)); !os.IsNotExist(err) {
		t.Fatalf("tidy left the payload: %v", err)
	}
}

type undeletable struct{ Addenda }

func (undeletable) Delete(ledger.Hash) error { return errors.New("read-only file system") }

// The scheduled eraser erases what is due and nothing else, and the ledger's own
// clock has no say in it.
func TestEraser(t *testing.T) {
	l := newConfig(t, ledger.GradeSoftware)
	l.config.Eraser, l.config.EraseInterval = l.operator, time.Hour
	ahead := 100 * 365 * day
	l.config.Now = func() time.Time { return time.Now().Add(ahead) }
	l.start(t)
	h, held := l.enrolHost(t, "h"), l.enrolHost(t, "held")
	var old [][]byte
	for i := range 5 {
		leaf, _ := l.submit(t, h, fmt.Sprintf("/bin/old-%d", i))
		old = append(old, leaf)
	}
	kept, _ := l.submit(t, held, "/bin/held")
	run := func(want int) {
		t.Helper()
		if n, err := l.server.eraseDue(t.Context()); err != nil || n != want {
			t.Fatalf("erased %d, %v; want %d", n, err, want)
		}
	}
	run(0) // no policy
	l.mustState(t, &ledger.Retention{Log: testOrigin, Policy: 1, Days: 10, Statement: "ten days", Time: 1})
	hold := l.mustState(t, &ledger.Hold{Log: testOrigin, Host: "held", From: 0, To: 1 << 40, Reason: "court order", Time: 1})
	run(0) // a century by its own clock, seconds by the witnesses'
	l.pass(t, day, h)
	young, _ := l.submit(t, h, "/bin/young")
	l.pass(t, 5*day, h)
	run(0)
	l.pass(t, 5*day, h)
	run(6) // with the one of the first day that passed
	run(0)
	for _, leaf := range old {
		if p := l.there(t, leaf); p == nil || p.Status != http.StatusGone {
			t.Errorf("an old one: %v", p)
		}
	}
	for _, leaf := range [][]byte{kept, young} {
		if p := l.there(t, leaf); p != nil {
			t.Errorf("a young or held one: %v", p)
		}
	}
	l.mustState(t, &ledger.Release{Log: testOrigin, Hold: hold, Reason: "lifted", Time: 1})
	run(1)
	l.restart(t)
	run(0)

	raw, err := l.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at, err := l.config.Trust.Policy.Verify(raw)
	if err != nil {
		t.Fatal(err)
	}
	var list []client.KeptSegment
	if err := l.KeptSegments(t.Context(), "", at, func(s client.KeptSegment) error { list = append(list, s); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(list) != 3 || list[0].Keeps == "" || list[0].Host != "h" {
		t.Errorf("kept: %+v", list)
	}
	r, err := l.Retention(t.Context())
	if err != nil || r.Policy != 1 || r.Days != 10 || len(r.Holds) != 0 || r.Time < uint64(time.Now().Add(10*day).Unix()) {
		t.Errorf("%+v, %v", r, err)
	}
}

// A key that is no operator's could state nothing.
func TestEraserIsOperator(t *testing.T) {
	l := newConfig(t, ledger.GradeSoftware)
	l.config.Eraser, _ = signer(t, "stranger.example")
	if _, err := New(t.Context(), l.config); err == nil || !strings.Contains(err.Error(), "no operator's") {
		t.Fatal(err)
	}
}

// A history that was lost makes segments younger, never older.
func TestHistoryLost(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	first, _ := l.submit(t, h, "/bin/sh")
	policy := l.mustState(t, &ledger.Retention{Log: testOrigin, Policy: 1, Days: 3, Statement: "three days", Time: 1})
	l.pass(t, day, h)
	l.pass(t, 4*day, h)
	l.kill()
	if err := os.RemoveAll(filepath.Join(l.config.Dir, "history")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	l.start(t)
	_, err := l.state(t, erasureOf(policy, first))
	problem(t, err, http.StatusUnprocessableEntity, ledger.StatementInvalid)
	l.pass(t, day, h)
	l.pass(t, 4*day, h)
	l.mustState(t, erasureOf(policy, first))
}

// The segments of one host that are kept are listed without those of others: no page
// but the last is empty, however many hosts there are.
func TestKeptOfHost(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h, other := l.enrolHost(t, "h"), l.enrolHost(t, "other")
	var want []uint64
	for i := range 3 {
		for range 4 {
			l.submit(t, other, "/bin/x")
		}
		want = append(want, uint64(2+5*i+4))
		l.submit(t, h, fmt.Sprint("/bin/", i))
	}
	for host, want := range map[string][]uint64{"h": want, "": {2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, "nobody": nil} {
		var got []uint64
		for from, more := uint64(0), true; more; {
			resp, b := l.do(t, "GET", fmt.Sprintf("/retention/segments?host=%s&limit=2&from=%d", host, from), nil)
			var page client.KeptSegments
			decode(t, b, &page)
			if resp.StatusCode != http.StatusOK || page.Next != 0 && len(page.Segments) != 2 {
				t.Fatalf("%q from %d: %s %s", host, from, resp.Status, b)
			}
			for _, s := range page.Segments {
				if got = append(got, s.Index); host != "" && s.Host != host {
					t.Errorf("%+v", s)
				}
			}
			from, more = page.Next, page.Next != 0
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %d, want %d", host, got, want)
		}
	}
}
