package server

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/server/s3mysql"
	"github.com/imaledger/imaledger/ledger/server/s3mysql/s3mysqltest"
)

// shared opens a store that front ends share, as one of them.
func shared(t testing.TB, c s3mysql.Config) *Storage {
	t.Helper()
	s, err := s3mysql.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return storageOf(s)
}

func storageOf(s *s3mysql.Store) *Storage {
	storage := &Storage{Name: "s3", Log: s.Log, Files: s.Files, Addenda: s.Addenda, Tree: s.DB, Sequencer: s.DB, Driver: s.Driver}
	if s.Locks {
		storage.Holder = s.Addenda
	}
	return storage
}

// startShared starts n front ends of one ledger.
func startShared(t testing.TB, c s3mysql.Config, n int) []*testLedger {
	t.Helper()
	first := newConfig(t, ledger.GradeSoftware)
	list := make([]*testLedger, n)
	for i := range list {
		l := first
		if i > 0 {
			l = &testLedger{config: first.config, vkey: first.vkey, policy: first.policy, witnesses: first.witnesses, operator: first.operator}
		}
		l.config.Dir, l.config.Storage = tempDir(t), shared(t, c)
		list[i] = l.start(t)
	}
	return list
}

// auditShared has the whole log checked, as imaledgerd check does.
func auditShared(t testing.TB, c s3mysql.Config, trust *ledger.Trust) *CheckReport {
	t.Helper()
	r, err := shared(t, c).Check(t.Context(), trust, noProgress)
	if err != nil || len(r.Damage) > 0 || len(r.Findings) > 0 {
		t.Fatalf("%v, %+v", err, r)
	}
	return r
}

// TestFrontEnds: a host may come to any front end with each entry; the same entry has
// the same answer at each, for ever; a fork is refused and kept at each.
func TestFrontEnds(t *testing.T) {
	c := s3mysqltest.Start(t).Config(t)
	list := startShared(t, c, 3)
	h := list[0].enrolHost(t, "h")
	told := make(map[string]uint64)
	var first, fork, forkPayload []byte
	anchor := list[1].anchor(t)
	for i := range 7 {
		l := list[i%len(list)]
		if i == 1 { // a second entry on the base that one is about to be written on
			fork, forkPayload = h.fork().segment(t, testOrigin, anchor, "/bin/fork")
		}
		leaf, a := l.submit(t, h, fmt.Sprint("/bin/", i))
		told[string(leaf)] = a.Index
		if i == 0 {
			first = leaf
		}
		if head, err := list[(i+1)%len(list)].HostHead(t.Context(), "h"); err != nil || head.Index != a.Index {
			t.Errorf("segment %d: another front end says %+v, %v", i, head, err)
		}
	}
	again := func() {
		t.Helper()
		for _, l := range list {
			for leaf, index := range told {
				if a, err := l.SubmitLeaf(t.Context(), []byte(leaf), client.MaxWait); err != nil || a.Index != index || a.Proof == "" {
					t.Errorf("again: %+v, %v; want index %d", a, err, index)
				}
			}
			l.upload(t, forkPayload, anchor.Raw)
			_, err := l.SubmitLeaf(t.Context(), fork, 0)
			problem(t, err, http.StatusConflict, ledger.ChainFork)
		}
	}
	again()
	if kept, err := list[0].config.Storage.Files.List(t.Context(), "evidence/conflicts/h/"); err != nil || len(kept) != 2 {
		t.Errorf("evidence: %v, %v", kept, err)
	}
	// One ends, and comes back on another machine: it has nothing of its own.
	list[1].kill()
	list[1].config.Dir, list[1].config.Storage = filepath.Join(t.TempDir(), "new"), shared(t, c)
	list[1].start(t)
	again()

	// Records that are erased at one are gone at all.
	policy := list[0].mustState(t, &ledger.Retention{Log: testOrigin, Policy: 1, Days: 2, Statement: "two days", Time: 1})
	list[0].pass(t, day, h)
	list[0].pass(t, 3*day, h)
	// Another front end learns what day it is from the next checkpoint that it sees.
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		_, err := list[1].state(t, erasureOf(policy, first))
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	for i, l := range list {
		deadline := time.Now().Add(patience)
		for {
			p := l.there(t, first)
			if p != nil && p.Status == http.StatusGone {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("front end %d has what was erased: %v", i, p)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if _, found, err := list[0].config.Storage.Addenda.Size(payloadOf(t, first)); !found && err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatalf("the payload is still there: %v", err)
		}
	}
	r := auditShared(t, c, list[0].config.Trust)
	if r.Segments < 7 || r.Erased != 1 {
		t.Errorf("%+v", r)
	}
}

// TestStorageAway: while the database is away a front end says so, is not to be
// started again, and goes on when it is back.
func TestStorageAway(t *testing.T) {
	servers := s3mysqltest.Start(t)
	c := servers.Config(t)
	l := startShared(t, c, 1)[0]
	h := l.enrolHost(t, "h")
	leaf, _ := l.submit(t, h, "/bin/a")
	servers.KillDatabase()
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusServiceUnavailable} {
		if resp, body := l.do(t, http.MethodGet, path, nil); resp.StatusCode != want || !strings.Contains(string(body), healthStorage) {
			t.Errorf("%s: %d %s, want %d", path, resp.StatusCode, body, want)
		}
	}
	_, err := l.HostHead(t.Context(), "h")
	problem(t, err, http.StatusServiceUnavailable, "")
	if a, err := l.SubmitLeaf(t.Context(), leaf, 0); err != nil || a.Index != 1 {
		t.Errorf("what is known already is answered all the same: %+v, %v", a, err)
	}
	servers.StartDatabase(t)
	l.submit(t, h, "/bin/b")
	if err := l.server.Err(); err != nil {
		t.Error(err)
	}
	auditShared(t, c, l.config.Trust)
}

// TestFrontEndsRace: of two entries on one base that come to two front ends at the
// same time exactly one wins, and both say the same of both.
func TestFrontEndsRace(t *testing.T) {
	c := s3mysqltest.Start(t).Config(t)
	list := startShared(t, c, 2)
	const rounds = 15
	h := list[0].enrolHost(t, "h")
	wins := [2]int{}
	for round := range rounds {
		anchor := list[0].anchor(t)
		var leaves [2][]byte
		var tries [2]*testHost
		for i, l := range list {
			var payload []byte
			tries[i] = h.fork()
			leaves[i], payload = tries[i].segment(t, testOrigin, anchor, fmt.Sprintf("/bin/%d-%d", round, i))
			l.upload(t, payload, anchor.Raw)
		}
		var errs [2]error
		var wg sync.WaitGroup
		for i, l := range list {
			wg.Go(func() { _, errs[i] = l.SubmitLeaf(t.Context(), leaves[i], 0) })
		}
		wg.Wait()
		winner := 0
		if errs[0] != nil {
			winner = 1
		}
		if errs[winner] != nil {
			t.Fatalf("nobody won: %v, %v", errs[0], errs[1])
		}
		problem(t, errs[1-winner], http.StatusConflict, ledger.ChainFork)
		for _, l := range list {
			if _, err := l.SubmitLeaf(t.Context(), leaves[winner], 0); err != nil {
				t.Errorf("the winner again: %v", err)
			}
			_, err := l.SubmitLeaf(t.Context(), leaves[1-winner], 0)
			problem(t, err, http.StatusConflict, ledger.ChainFork)
		}
		h = tries[winner]
		h.took(leaves[winner])
		wins[winner]++
	}
	// Hosts enrol at both at once: none is refused, and each key is one host's.
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			tpm := newTestAK(t)
			for range 600 {
				_, _, err := list[i%2].Enrol(t.Context(), client.EnrolRequest{Host: fmt.Sprint("g", i), AKPublic: tpm.ak}, 0)
				var p *client.Problem
				if errors.As(err, &p) && p.Status == http.StatusServiceUnavailable {
					time.Sleep(100 * time.Millisecond)
					continue
				}
				if err != nil {
					t.Errorf("enrol: %v", err)
				}
				return
			}
			t.Error("busy for ever")
		})
	}
	wg.Wait()
	for _, l := range list {
		l.mustState(t, &ledger.Hold{Log: testOrigin, Host: "h", From: 0, To: 1 << 40, Reason: "all have been read", Time: uint64(time.Now().UnixNano())})
	}
	r := auditShared(t, c, list[0].config.Trust)
	if r.Segments != rounds || r.Hosts != 11 {
		t.Errorf("%+v", r)
	}
	t.Logf("wins %v", wins)
}
