package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/server/s3mysql/s3mysqltest"
)

// freeze is a statement that ends the ledger's log.
func (l *testLedger) freeze(t *testing.T, successor string, by note.Signer) []byte {
	t.Helper()
	f := &ledger.Freeze{Log: testOrigin, Successor: successor, URL: "https://next.example/", Reason: "a new key", Time: 1}
	if err := ledger.Sign(f, by); err != nil {
		t.Fatal(err)
	}
	return f.Marshal()
}

// isFrozen wants an error to be the problem of a log that has ended.
func isFrozen(t *testing.T, what string, err error, successor string) {
	t.Helper()
	var p *client.Problem
	if !errors.As(err, &p) || p.Status != http.StatusGone || !strings.HasSuffix(p.Type, "#problem-frozen") {
		t.Fatalf("%s: %v", what, err)
	}
	name, _, _ := strings.Cut(successor, "+")
	if p.Successor == nil || *p.Successor != (client.Successor{Log: name, Key: successor, URL: "https://next.example/"}) {
		t.Errorf("%s: successor %+v", what, p.Successor)
	}
}

// TestFreeze ends a log while hosts submit to it. Nothing comes after its end,
// nothing that was told to be in the log is missing, and all of it is still read.
func TestFreeze(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	_, next := signer(t, "ledger.example/next")
	if f, err := l.Freeze(t.Context()); f != nil || err != nil {
		t.Fatalf("%v, %v", f, err)
	}
	stranger, _ := signer(t, "operator.example")
	_, err := l.SubmitLeaf(t.Context(), l.freeze(t, next, stranger), 0)
	problem(t, err, http.StatusUnprocessableEntity, ledger.StatementUnsigned)

	const hosts, segments = 4, 12
	type told struct {
		leaf  ledger.Hash
		index uint64
	}
	var (
		mu      sync.Mutex
		wg      sync.WaitGroup
		all     []told
		entries [][]byte
		refused int
	)
	anchor := l.anchor(t)
	for i := range hosts {
		h := l.enrolHost(t, fmt.Sprint("h", i))
		wg.Go(func() {
			for n := range segments {
				leaf, payload := h.segment(t, testOrigin, anchor, fmt.Sprint("/bin/", n))
				var frozen *client.Problem
				err := l.PutAddendum(t.Context(), sha256.Sum256(payload), int64(len(payload)), bytes.NewReader(payload))
				if err == nil {
					err = l.PutAddendum(t.Context(), sha256.Sum256(anchor.Raw), int64(len(anchor.Raw)), bytes.NewReader(anchor.Raw))
				}
				var a *client.Accepted
				if err == nil {
					a, err = l.SubmitLeaf(t.Context(), leaf, 0)
				}
				mu.Lock()
				switch {
				case err == nil:
					all, entries = append(all, told{ledger.LeafHash(leaf), a.Index}), append(entries, leaf)
				case errors.As(err, &frozen) && frozen.Status == http.StatusGone:
					refused++
				default:
					t.Errorf("segment %d: %v", n, err)
				}
				mu.Unlock()
				if err != nil {
					return
				}
				h.took(leaf)
			}
		})
	}
	for { // in the middle of it
		mu.Lock()
		n := len(all)
		mu.Unlock()
		if n >= hosts*segments/3 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	end := l.freeze(t, next, l.operator)
	a, err := l.SubmitLeaf(t.Context(), end, client.MaxWait)
	if err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	t.Logf("ended by entry %d; %d hosts were refused", a.Index, refused)
	for _, e := range all {
		if e.index >= a.Index {
			t.Errorf("entry %d was taken after entry %d, which ended the log", e.index, a.Index)
		}
	}

	check := func(when string) {
		t.Helper()
		h := &testHost{name: "late", tpm: newTestAK(t)}
		_, _, err := l.Enrol(t.Context(), client.EnrolRequest{Host: h.name, AKPublic: h.tpm.ak}, 0)
		isFrozen(t, when+": enrolment", err, next)
		isFrozen(t, when+": upload", l.PutAddendum(t.Context(), sha256.Sum256([]byte("x")), 1, strings.NewReader("x")), next)
		r := &ledger.Retention{Log: testOrigin, Policy: 1, Days: 1, Statement: "a day", Time: 1}
		if err := ledger.Sign(r, l.operator); err != nil {
			t.Fatal(err)
		}
		_, err = l.SubmitLeaf(t.Context(), r.Marshal(), 0)
		isFrozen(t, when+": statement", err, next)
		again, err := l.SubmitLeaf(t.Context(), entries[0], client.MaxWait)
		if err != nil || again.Index != all[0].index || again.Proof == "" {
			t.Errorf("%s: an entry that is in the log, again: %+v, %v", when, again, err)
		}
		f, err := l.Freeze(t.Context())
		if err != nil || f == nil || f.Index != a.Index || !bytes.Equal(f.Entry, end) {
			t.Fatalf("%s: %+v, %v", when, f, err)
		}
		c := l.anchor(t)
		if c.Size != a.Index+1 {
			t.Errorf("%s: the final tree has %d entries, and entry %d ended the log", when, c.Size, a.Index)
		}
		if _, health := l.do(t, http.MethodGet, "/healthz", nil); !strings.Contains(string(health), `"status":"frozen"`) {
			t.Errorf("%s: %s", when, health)
		}
	}
	check("ended")
	l.restart(t)
	check("started again")

	// A log on disk that goes on after its end does not start.
	h := &ledger.Hold{Log: testOrigin, From: 1, To: 2, Reason: "too late", Time: 1}
	if err := ledger.Sign(h, l.operator); err != nil {
		t.Fatal(err)
	}
	if _, err := l.server.log.append(h.Marshal()); err != nil {
		t.Fatal(err)
	}
	l.kill()
	time.Sleep(50 * time.Millisecond)
	if _, err := New(t.Context(), l.config); err == nil || !strings.Contains(err.Error(), "which ended the log") {
		t.Errorf("started: %v", err)
	}
}

// TestSuccession begins a log where another ended. A stranger with one trust folder
// of both verifies that each names the other.
func TestSuccession(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	l.submit(t, l.enrolHost(t, "h"), "/bin/first")
	const nextOrigin = "ledger.example/next"
	nextSigner, nextKey := signer(t, nextOrigin)
	for _, w := range l.witnesses {
		w.config.Dir = t.TempDir()
	}
	trust := l.trusting(t, l.vkey, nextKey)
	end, err := l.SubmitLeaf(t.Context(), l.freeze(t, nextKey, l.operator), client.MaxWait)
	if err != nil {
		t.Fatal(err)
	}
	final := l.anchor(t)

	// The next log has the same witnesses, which know it from now on.
	next := &testLedger{config: l.config, witnesses: l.witnesses, operator: l.operator, vkey: nextKey, policy: l.policy}
	l.kill()
	next.tell(t, l.vkey, nextKey)
	next.config.Dir, next.config.Signer, next.config.Trust = tempDir(t), nextSigner, trust
	next.start(t)
	succession := func(reason string) []byte {
		t.Helper()
		s := &ledger.Succession{Log: nextOrigin, Predecessor: testOrigin, Size: final.Size, Root: final.Root, Reason: reason, Time: 2}
		if _, err := hex.Decode(s.Freeze[:], []byte(end.Leaf)); err != nil {
			t.Fatal(err)
		}
		if err := ledger.Sign(s, l.operator); err != nil {
			t.Fatal(err)
		}
		return s.Marshal()
	}
	first := succession("a new key")
	a, err := next.SubmitLeaf(t.Context(), first, client.MaxWait)
	if err != nil || a.Index != 0 {
		t.Fatalf("%+v, %v", a, err)
	}
	_, err = next.SubmitLeaf(t.Context(), succession("once more"), 0)
	problem(t, err, http.StatusUnprocessableEntity, ledger.StatementInvalid)
	next.restart(t)

	var b bytes.Buffer
	freeze := l.freeze(t, nextKey, l.operator)
	if fmt.Sprintf("%x", ledger.LeafHash(freeze)) != end.Leaf {
		t.Fatal("Ed25519 signs the same text in the same way")
	}
	err = ledger.WriteBundle(&b, []ledger.BundleSource{
		ledger.SourceBytes(ledger.FolderLeaves, freeze, ledger.Hash{}), ledger.SourceBytes(ledger.FolderProofs, []byte(end.Proof), ledger.LeafHash(freeze)),
		ledger.SourceBytes(ledger.FolderLeaves, first, ledger.Hash{}), ledger.SourceBytes(ledger.FolderProofs, []byte(a.Proof), ledger.LeafHash(first)),
	})
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := ledger.OpenBundle(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	report, err := audit.CheckBundle(trust, bundle)
	if err != nil || report.Class() != ledger.Noted || len(report.Successions) != 1 || report.Successions[0].Size != final.Size {
		t.Fatalf("%+v, %v", report, err)
	}
}

// TestFreezeShared: the log that front ends share is ended at one of them, and has
// ended at all, at once and after they are started again.
func TestFreezeShared(t *testing.T) {
	c := s3mysqltest.Start(t).Config(t)
	list := startShared(t, c, 2)
	_, next := signer(t, "ledger.example/next")
	h := list[0].enrolHost(t, "h")
	list[0].submit(t, h, "/bin/a")
	list[1].submit(t, h, "/bin/b")
	anchor := list[1].anchor(t)
	leaf, payload := h.segment(t, testOrigin, anchor, "/bin/c")
	list[1].upload(t, payload, anchor.Raw)
	end, err := list[0].SubmitLeaf(t.Context(), list[0].freeze(t, next, list[0].operator), client.MaxWait)
	if err != nil || end.Proof == "" {
		t.Fatal(end, err)
	}
	// It has ended at the other one too, which was not told.
	_, err = list[1].SubmitLeaf(t.Context(), leaf, 0)
	isFrozen(t, "a segment at the other front end", err, next)
	// The one that took it had not read what the other had taken before.
	for _, l := range list {
		for until := time.Now().Add(patience); l.server.follower.read.Load() <= end.Index && l.server.Err() == nil && time.Now().Before(until); {
			time.Sleep(10 * time.Millisecond)
		}
		if read := l.server.follower.read.Load(); l.server.Err() != nil || read != end.Index+1 {
			t.Errorf("it has read %d entries of %d: %v", read, end.Index+1, l.server.Err())
		}
	}
	for _, l := range list {
		l.kill()
		l.config.Storage = shared(t, c)
		l.start(t)
		_, err = l.SubmitLeaf(t.Context(), leaf, 0)
		isFrozen(t, "a segment after a start", err, next)
		if f, err := l.Freeze(t.Context()); err != nil || f == nil || f.Index != end.Index {
			t.Errorf("the end is %+v, %v; want entry %d", f, err, end.Index)
		}
	}
	if got := auditShared(t, c, list[0].config.Trust); got.Size != end.Index+1 {
		t.Errorf("%d entries, want %d: the freeze is the last", got.Size, end.Index+1)
	}
}
