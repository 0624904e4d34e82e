package monitor_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/monitor"
	"github.com/imaledger/imaledger/ledger/testlog"
)

const origin = "log.example/test"

// must fails the test on an error, and returns the value otherwise.
func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// small is a log of two hosts: one of two boots.
func small(t testing.TB) (l *testlog.Log, h, g *testlog.Host) {
	t.Helper()
	l = must[*testlog.Log](t)(testlog.New(origin, 1))
	h = must[*testlog.Host](t)(l.AddHost("h"))
	g = must[*testlog.Host](t)(l.AddHost("g"))
	for _, m := range []*testlog.Host{h, g, h} {
		check(t, m.Measure(testlog.Files("/bin/sh", "/bin/ls")...))
		must[*ledger.Segment](t)(l.Seal(m))
	}
	check(t, h.Boot())
	must[*ledger.Segment](t)(l.Seal(h))
	return l, h, g
}

// serve serves a log, or what lies about one.
func serve(t testing.TB, h http.Handler) *client.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return &client.Client{Base: s.URL}
}

func audit(t testing.TB, c monitor.Config) *monitor.Report {
	t.Helper()
	r, err := monitor.Audit(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestParts: a log that is audited in parts, each into the same directory, gives the
// report of one that is audited at once.
func TestParts(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	l := must[*testlog.Log](t)(testlog.New(origin, 2))
	var hosts []*testlog.Host
	for i := range 5 {
		hosts = append(hosts, must[*testlog.Host](t)(l.AddHost(fmt.Sprintf("h%d", i))))
	}
	for i := range 2500 { // three windows
		h := hosts[random.IntN(len(hosts))]
		h.Anchor = max(0, len(l.Entries)-random.IntN(40))
		if random.IntN(50) == 0 {
			check(t, h.Boot())
		}
		check(t, h.Measure(testlog.Files(fmt.Sprint("/bin/", i))...))
		must[*ledger.Segment](t)(l.Seal(h))
	}
	want := audit(t, monitor.Config{Ledger: serve(t, l), Trust: l.Trust})
	if len(want.Findings) > 0 || want.Judged != 2505 || want.Segments != 2500 || want.Hosts != 5 || want.Records < 2500 || !want.Whole() {
		t.Fatalf("%+v", want)
	}
	dir := t.TempDir()
	var got *monitor.Report
	for size := 0; size < len(l.Entries); {
		size = min(size+random.IntN(900), len(l.Entries))
		got = audit(t, monitor.Config{Ledger: serve(t, l.At(size)), Trust: l.Trust, Dir: dir})
		if got.Judged != uint64(size) {
			t.Fatalf("%d judged of %d", got.Judged, size)
		}
	}
	got.Since, got.Resumed = 0, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant\n%+v", got, want)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 4 {
		t.Errorf("%d files, want audit, state, leaves and lock: %v", len(files), files)
	}
}

// TestAnchorsKept: more anchors than are kept, some of them known before the window
// that names them again, are judged like fewer.
func TestAnchorsKept(t *testing.T) {
	l := must[*testlog.Log](t)(testlog.New(origin, 2))
	h := must[*testlog.Host](t)(l.AddHost("h"))
	for i := range 1100 { // two windows, and one anchor that both name
		if i%3 == 0 {
			h.Anchor = 1
		} else {
			h.Anchor = len(l.Entries) - i%3
		}
		check(t, h.Measure(testlog.Files(fmt.Sprint("/bin/", i))...))
		must[*ledger.Segment](t)(l.Seal(h))
	}
	want := audit(t, monitor.Config{Ledger: serve(t, l), Trust: l.Trust})
	monitor.SetMaxAnchors(t, 5)
	got := audit(t, monitor.Config{Ledger: serve(t, l), Trust: l.Trust})
	if !reflect.DeepEqual(got, want) || len(got.Findings) > 0 || got.Segments != 1100 {
		t.Errorf("%+v\nwant\n%+v", got, want)
	}
}

// TestInterrupted: an audit whose connection breaks, again and again, comes to its
// end and finds what one that was not interrupted finds.
func TestInterrupted(t *testing.T) {
	l, _, _ := small(t)
	want := audit(t, monitor.Config{Ledger: serve(t, l), Trust: l.Trust})
	dir := t.TempDir()
	for broken := int64(0); ; broken++ {
		var requests atomic.Int64
		ctx, cancel := context.WithCancel(t.Context())
		c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if requests.Add(1) > broken {
				cancel() // the user's, too
				panic(http.ErrAbortHandler)
			}
			l.ServeHTTP(w, r)
		}))
		got, err := monitor.Audit(ctx, monitor.Config{Ledger: c, Trust: l.Trust, Dir: dir})
		cancel()
		if err != nil {
			if broken > 100 {
				t.Fatal("it never ends")
			}
			continue
		}
		got.Since, got.Resumed = 0, nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v\nwant\n%+v", got, want)
		}
		if broken < 5 {
			t.Errorf("only %d interruptions", broken)
		}
		return
	}
}

// A lie is what a ledger shows instead of the log.
type lie struct {
	name  string
	play  func(t *testing.T, l *testlog.Log, h, g *testlog.Host) http.Handler
	trust func(t *testing.T, l *testlog.Log) *ledger.Trust // the auditor's, nil for the log's own
	want  ledger.Code
}

// alter alters what is served at paths that begin so.
func alter(h http.Handler, prefix string, f func([]byte) []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, prefix) {
			h.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		w.WriteHeader(answer.Code)
		w.Write(f(answer.Body.Bytes()))
	})
}

func flip(b []byte) []byte { b[len(b)/2] ^= 1; return b }

func refuse(h http.Handler, prefix string, status int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, prefix) {
			w.WriteHeader(status)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func payloadPath(s *ledger.Segment) string { return "/" + ledger.AddendumPath(s.Payload.Digest) }

func lies() []lie {
	altered := func(prefix string, f func([]byte) []byte) func(*testing.T, *testlog.Log, *testlog.Host, *testlog.Host) http.Handler {
		return func(_ *testing.T, l *testlog.Log, _, _ *testlog.Host) http.Handler { return alter(l, prefix, f) }
	}
	return []lie{
		{"an entry altered", altered("/tile/entries/", flip), nil, ledger.LogTiles},
		{"two entries in another order", altered("/tile/entries/", func(b []byte) []byte {
			n := 2 + int(b[0])<<8 + int(b[1])
			m := n + 2 + int(b[n])<<8 + int(b[n+1])
			return append(append(append([]byte{}, b[n:m]...), b[:n]...), b[m:]...)
		}), nil, ledger.LogTiles},
		{"an entry left out", altered("/tile/entries/", func(b []byte) []byte { return b[2+int(b[0])<<8+int(b[1]):] }), nil, ledger.LogTiles},
		{"a tile altered", altered("/tile/0/", flip), nil, ledger.LogTiles},
		{"a tile cut short", altered("/tile/0/", func(b []byte) []byte { return b[:len(b)-1] }), nil, ledger.LogTiles},
		{"a checkpoint altered", altered("/checkpoint", func(b []byte) []byte {
			return []byte(strings.Replace(string(b), "\n6\n", "\n5\n", 1))
		}), nil, ledger.CheckpointSignature},
		{"a checkpoint of another log", func(t *testing.T, l *testlog.Log, _, _ *testlog.Host) http.Handler {
			return must[*testlog.Log](t)(testlog.New("other.example", 9))
		}, nil, ledger.CheckpointUnknown},
		{"a checkpoint without a quorum", func(t *testing.T, l *testlog.Log, h, _ *testlog.Host) http.Handler {
			f := must[*testlog.Log](t)(l.Fork(len(l.Entries)))
			f.Cosigners = 1
			return f
		}, nil, ledger.QuorumNotMet},
		{"a payload altered", func(_ *testing.T, l *testlog.Log, h, _ *testlog.Host) http.Handler {
			return alter(l, payloadPath(h.Last), flip)
		}, nil, ledger.PayloadDigest},
		{"a payload that is gone", func(_ *testing.T, l *testlog.Log, h, _ *testlog.Host) http.Handler {
			return refuse(l, payloadPath(h.Last), http.StatusNotFound)
		}, nil, ledger.PayloadMissing},
		{"an erasure that no entry states", func(_ *testing.T, l *testlog.Log, h, _ *testlog.Host) http.Handler {
			return refuse(l, payloadPath(h.Last), http.StatusGone)
		}, nil, ledger.PayloadMissing},
		{"addenda that are denied", func(_ *testing.T, l *testlog.Log, h, _ *testlog.Host) http.Handler {
			return refuse(l, "/addenda/", http.StatusForbidden)
		}, nil, ledger.PayloadMissing},
		{"an anchor of another history", func(t *testing.T, l *testlog.Log, h, g *testlog.Host) http.Handler {
			// A host is shown a fork, cosigned by witnesses that lie too, and what
			// it makes of that is taken into the log that others are shown.
			f := must[*testlog.Log](t)(l.Fork(3))
			must[ledger.Hash](t)(f.State(&ledger.Hold{Log: origin, To: 1, Reason: "x", Time: 1}))
			check(t, g.Measure(testlog.Files("/bin/cat")...))
			must[*ledger.Segment](t)(f.Seal(g))
			for d, b := range f.Addenda {
				l.Addenda[d] = b
			}
			must[ledger.Hash](t)(l.Add(f.Entries[len(f.Entries)-1]))
			return l
		}, nil, ledger.LogSplit},
		{"an entry of another log of the policy, anchored to that", func(t *testing.T, l *testlog.Log, _, _ *testlog.Host) http.Handler {
			other := must[*testlog.Log](t)(testlog.New("other.example", 9))
			must[*ledger.Segment](t)(other.Seal(must[*testlog.Host](t)(other.AddHost("o"))))
			for d, b := range other.Addenda {
				l.Addenda[d] = b
			}
			must[ledger.Hash](t)(l.Add(other.Entries[1]))
			return l
		}, twoLogs, ledger.AnchorMismatch},
		{"an operator's policy for another log of the policy", func(t *testing.T, l *testlog.Log, _, _ *testlog.Host) http.Handler {
			must[ledger.Hash](t)(l.State(&ledger.Retention{Log: "other.example", Policy: 1, Days: 1, Statement: "a day", Time: 1}))
			return l
		}, twoLogs, ledger.EntryWrongLog},
		{"an anchor that is gone", func(_ *testing.T, l *testlog.Log, h, _ *testlog.Host) http.Handler {
			delete(l.Addenda, h.Last.Anchor.Note)
			return l
		}, nil, ledger.AnchorMissing},
		{"an enrolment by a registrar of its own", func(t *testing.T, l *testlog.Log, _, _ *testlog.Host) http.Handler { return l },
			func(t *testing.T, l *testlog.Log) *ledger.Trust {
				other := must[*testlog.Log](t)(testlog.New("other.example", 9))
				return must[*ledger.Trust](t)(ledger.ParseTrust([]byte(l.Policy), []byte(other.Rules)))
			}, ledger.EnrolmentUnsigned},
		{"two AKs for one host", func(t *testing.T, l *testlog.Log, h, _ *testlog.Host) http.Handler {
			must[*testlog.Host](t)(l.AddHost("h"))
			return l
		}, nil, ledger.ChainFork},
		{"a segment in the place of another", func(t *testing.T, l *testlog.Log, h, _ *testlog.Host) http.Handler {
			h.Sequence--
			check(t, h.Measure(testlog.Files("/bin/other")...))
			must[*ledger.Segment](t)(l.Seal(h))
			return l
		}, nil, ledger.ChainFork},
		{"an erasure against the policy", func(t *testing.T, l *testlog.Log, h, _ *testlog.Host) http.Handler {
			p := must[ledger.Hash](t)(l.State(&ledger.Retention{Log: origin, Policy: 1, Days: 30, Statement: "a month", Time: 1}))
			must[ledger.Hash](t)(l.State(&ledger.Erasure{Log: origin, Retention: p, Erased: []ledger.Erased{{Leaf: h.Previous, Payload: h.Last.Payload.Digest}}, Reason: "too early", Time: 2}))
			must[*ledger.Segment](t)(l.Seal(h)) // anchored to a tree that has it
			return l
		}, nil, ledger.StatementInvalid},
		{"an entry that is none", func(t *testing.T, l *testlog.Log, _, _ *testlog.Host) http.Handler {
			must[ledger.Hash](t)(l.Add([]byte("nothing of ours\n")))
			return l
		}, nil, ledger.EntryMalformed},
	}
}

// twoLogs is the trust of an auditor of two logs.
func twoLogs(t *testing.T, l *testlog.Log) *ledger.Trust {
	other := must[*testlog.Log](t)(testlog.New("other.example", 9))
	key := func(l *testlog.Log) string { return strings.SplitAfter(l.Policy, "\n")[0] }
	return must[*ledger.Trust](t)(ledger.ParseTrust([]byte(key(other)+key(l)+"quorum none\n"), []byte(l.Rules)))
}

// TestLies: whatever a ledger shows in place of its log, an audit has a finding, and
// never says verified; and one that is told the truth afterwards says so.
func TestLies(t *testing.T) {
	for _, lie := range lies() {
		t.Run(lie.name, func(t *testing.T) {
			l, h, g := small(t)
			trust := l.Trust
			if lie.trust != nil {
				trust = lie.trust(t, l)
			}
			r := audit(t, monitor.Config{Ledger: serve(t, lie.play(t, l, h, g)), Trust: trust})
			found := false
			for _, f := range r.Findings {
				found = found || f.Code == lie.want
			}
			if !found || r.Class() == ledger.Noted || r.Class() != lie.want.Class() && r.Class() != ledger.Contradicted {
				t.Errorf("%s: %v, want %s", r.Class(), r.Findings, lie.want)
			}
			if lie.want.Class() == ledger.Contradicted && r.Whole() {
				t.Error("an auditor would sign it")
			}
		})
	}
}

// TestTilesTurn: tiles that go wrong while an audit goes on where one had ended are a
// finding, whichever of its readers meets them.
func TestTilesTurn(t *testing.T) {
	l := must[*testlog.Log](t)(testlog.New(origin, 2))
	h := must[*testlog.Host](t)(l.AddHost("h"))
	grow := func(n int) {
		for i := range n {
			check(t, h.Measure(testlog.Files(fmt.Sprint("/bin/", i))...))
			must[*ledger.Segment](t)(l.Seal(h))
		}
	}
	grow(300)
	before := t.TempDir()
	audit(t, monitor.Config{Ledger: serve(t, l), Trust: l.Trust, Dir: before})
	grow(200)
	h.Anchor = 100 // which nothing but this anchor is read again for
	grow(100)
	for _, tile := range []struct {
		path  string
		reads int64 // at least
	}{{"/tile/0/000", 1}, {"/tile/0/001", 2}} {
		for good := int64(0); ; good++ {
			dir := t.TempDir()
			check(t, os.CopyFS(dir, os.DirFS(before)))
			var asked atomic.Int64
			turning := alter(l, tile.path, func(b []byte) []byte {
				if asked.Add(1) > good {
					flip(b)
				}
				return b
			})
			r := audit(t, monitor.Config{Ledger: serve(t, turning), Trust: l.Trust, Dir: dir})
			if asked.Load() <= good {
				if r.Class() != ledger.Noted || r.Judged != r.Size || good < tile.reads {
					t.Errorf("%s, good for %d answers: %s, %v", tile.path, good, r.Class(), r.Findings)
				}
				break
			}
			if r.Class() != ledger.Contradicted || r.Findings[0].Code != ledger.LogTiles {
				t.Errorf("%s, good for %d answers: %s, %v", tile.path, good, r.Class(), r.Findings)
			}
		}
	}
}

// TestSeenBefore: what a log shows is held to what it has shown before, to this
// auditor.
func TestSeenBefore(t *testing.T) {
	l, h, _ := small(t)
	dir := t.TempDir()
	config := func(h http.Handler) monitor.Config {
		return monitor.Config{Ledger: serve(t, h), Trust: l.Trust, Dir: dir}
	}
	audit(t, config(l))
	r := audit(t, config(l.At(4)))
	if len(r.Findings) != 1 || r.Findings[0].Code != ledger.LogRollback || r.Class() != ledger.Undecided {
		t.Errorf("an older checkpoint: %v", r.Findings)
	}
	// Forks of the same keys, cosigned by witnesses that lie too: as large, smaller
	// and larger.
	for _, f := range []struct{ from, add int }{{5, 1}, {3, 1}, {5, 5}} {
		fork := must[*testlog.Log](t)(l.Fork(f.from))
		for i := range f.add {
			must[ledger.Hash](t)(fork.State(&ledger.Hold{Log: origin, To: uint64(i), Reason: "x", Time: 1}))
		}
		r := audit(t, config(fork))
		if len(r.Findings) != 1 || r.Findings[0].Code != ledger.LogSplit || len(r.Split) != 2 || r.Whole() {
			t.Errorf("a fork at %d, %d entries more: %v, %d checkpoints", f.from, f.add, r.Findings, len(r.Split))
		}
		for _, raw := range r.Split {
			if _, err := l.Trust.Policy.Verify(raw); err != nil {
				t.Errorf("evidence that does not verify: %v", err)
			}
		}
	}
	// The log goes on, and nothing of the forks was kept.
	must[*ledger.Segment](t)(l.Seal(h))
	if r := audit(t, config(l)); r.Class() != ledger.Noted || r.Since != 6 || r.Judged != 7 {
		t.Errorf("%+v", r)
	}
	other := must[*testlog.Log](t)(testlog.New("other.example", 9))
	both := must[*ledger.Trust](t)(ledger.ParseTrust([]byte(strings.SplitAfter(other.Policy, "\n")[0]+l.Policy), []byte(l.Rules)))
	if _, err := monitor.Audit(t.Context(), monitor.Config{Ledger: serve(t, l.At(3)), Trust: both, Dir: dir}); err != nil {
		t.Errorf("the same log by a policy of two: %v", err)
	}
}

// TestOtherWitnesses: where a trust folder has other witnesses, by which what the log has
// shown no longer has a quorum, an audit goes on, and the log is held to it.
func TestOtherWitnesses(t *testing.T) {
	l, h, _ := small(t)
	dir := t.TempDir()
	l.Cosigners = 2
	audit(t, monitor.Config{Ledger: serve(t, l), Trust: l.Trust, Dir: dir})
	trust := must[*ledger.Trust](t)(ledger.ParseTrust([]byte(strings.Replace(l.Policy, " 2 w1 w2 w3", " 2 w2 w3", 1)), []byte(l.Rules)))
	size := len(l.Entries)
	l.Cosigners = testlog.Witnesses
	fork := must[*testlog.Log](t)(l.Fork(size - 1))
	for i := range 3 {
		must[ledger.Hash](t)(fork.State(&ledger.Hold{Log: origin, To: uint64(i), Reason: "x", Time: 1}))
	}
	h.Anchor = size - 1 // which all three have signed
	must[*ledger.Segment](t)(l.Seal(h))
	if _, err := trust.Policy.Verify(must[[]byte](t)(l.Checkpoint(size))); err == nil {
		t.Fatal("the new policy takes the old checkpoint: the test tests nothing")
	}
	for _, row := range []struct {
		show http.Handler
		code ledger.Code
	}{{fork, ledger.LogSplit}, {l.At(4), ledger.LogRollback}, {l, ""}, {fork, ledger.LogSplit}} {
		r := audit(t, monitor.Config{Ledger: serve(t, row.show), Trust: trust, Dir: dir})
		switch {
		case row.code == "" && (r.Class() != ledger.Noted || r.Since != uint64(size) || r.Judged != uint64(size)+1),
			row.code != "" && (len(r.Findings) != 1 || r.Findings[0].Code != row.code):
			t.Errorf("%d to %d: %v, want %q", r.Since, r.Judged, r.Findings, row.code)
		}
	}
}

// TestErased: records that are gone are accounted for by the erasure that stands
// after them, in the same audit or in a later one.
func TestErased(t *testing.T) {
	l, h, _ := small(t)
	policy := must[ledger.Hash](t)(l.State(&ledger.Retention{Log: origin, Policy: 1, Days: 1, Statement: "a day", Time: 1}))
	digest, leaf := h.Last.Payload.Digest, h.Previous
	delete(l.Addenda, digest)
	dir := t.TempDir()
	r := audit(t, monitor.Config{Ledger: serve(t, l), Trust: l.Trust, Dir: dir})
	if len(r.Findings) != 1 || r.Findings[0].Code != ledger.PayloadMissing || r.Erased != 0 {
		t.Fatalf("%v", r.Findings)
	}
	l.Now = l.Now.Add(72 * 60 * 60 * 1e9)
	must[ledger.Hash](t)(l.State(&ledger.Erasure{Log: origin, Retention: policy, Erased: []ledger.Erased{{Leaf: leaf, Payload: digest}}, Reason: "a day is over", Time: 2}))
	for _, d := range []string{dir, ""} {
		if r := audit(t, monitor.Config{Ledger: serve(t, l), Trust: l.Trust, Dir: d}); len(r.Findings) > 0 || r.Erased != 1 {
			t.Errorf("into %q: %v, %d erased", d, r.Findings, r.Erased)
		}
	}
}

// TestMemory: what earlier audits found is refused where a byte of it is altered, and
// used by one audit at a time.
func TestMemory(t *testing.T) {
	l, _, _ := small(t)
	dir := t.TempDir()
	c := monitor.Config{Ledger: serve(t, l), Trust: l.Trust, Dir: dir}
	want := audit(t, c)
	files, err := filepath.Glob(filepath.Join(dir, "*-*"))
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		content := must[[]byte](t)(os.ReadFile(name))
		check(t, os.WriteFile(name, flip(append([]byte{}, content...)), 0o600))
		if _, err := monitor.Audit(t.Context(), c); err == nil || !strings.Contains(err.Error(), "new directory") {
			t.Errorf("%s altered: %v", name, err)
		}
		check(t, os.Remove(name))
		if _, err := monitor.Audit(t.Context(), c); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s removed: %v", name, err)
		}
		check(t, os.WriteFile(name, content, 0o600))
	}
	blocked := make(chan struct{})
	c.Ledger = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/checkpoint" {
			select {
			case <-blocked:
			default:
				other := c
				if _, err := monitor.Audit(t.Context(), other); err == nil || !strings.Contains(err.Error(), "another audit uses it") {
					t.Errorf("a second audit: %v", err)
				}
				close(blocked)
			}
		}
		l.ServeHTTP(w, r)
	}))
	got := audit(t, c)
	if got.Resumed == nil || got.Resumed.Size != want.Size || got.Resumed.Root != want.Root || got.Resumed.Witnessed != want.Witnessed {
		t.Errorf("resumed from %+v", got.Resumed)
	}
	got.Since, got.Resumed = 0, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant\n%+v", got, want)
	}
}

// TestAll: what earlier audits judged is not read again, nor what they left alone,
// unless all is asked for; and what the log has shown is held against it even then.
func TestAll(t *testing.T) {
	l, h, _ := small(t)
	dir := t.TempDir()
	config := func(h http.Handler, all bool) monitor.Config {
		return monitor.Config{Ledger: serve(t, h), Trust: l.Trust, Dir: dir, All: all}
	}
	with := func(r *monitor.Report, code ledger.Code) {
		t.Helper()
		if code == "" && len(r.Findings) > 0 || code != "" && (len(r.Findings) != 1 || r.Findings[0].Code != code) {
			t.Errorf("%v, want %q", r.Findings, code)
		}
	}
	leftAlone := config(l, false)
	leftAlone.NoPayloads = true
	with(audit(t, leftAlone), ledger.PayloadMissing)
	with(audit(t, config(l, false)), ledger.PayloadMissing)
	r := audit(t, config(l, true))
	with(r, "")
	if want := audit(t, monitor.Config{Ledger: serve(t, l), Trust: l.Trust}); !reflect.DeepEqual(r, want) {
		t.Errorf("%+v\nwant\n%+v", r, want)
	}
	altered := alter(l, payloadPath(h.Last), flip)
	with(audit(t, config(altered, false)), "")
	with(audit(t, config(altered, true)), ledger.PayloadDigest)
	with(audit(t, config(l, false)), ledger.PayloadDigest)
	with(audit(t, config(l, true)), "")
	with(audit(t, config(l.At(4), true)), ledger.LogRollback)
	if r := audit(t, config(l, false)); r.Since != 6 || r.Judged != 6 {
		t.Errorf("after a rollback: %d of %d by earlier audits", r.Since, r.Judged)
	}
}
