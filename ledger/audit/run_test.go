package audit_test

import (
	"bytes"
	"io"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

// worldAddenda serves what a world keeps.
type worldAddenda struct{ w *world }

func (a worldAddenda) Open(digest ledger.Hash) (io.ReadCloser, bool, error) {
	for _, s := range a.w.sources {
		if s.Hash == digest {
			r, err := s.Open()
			if err != nil {
				return nil, false, err
			}
			return io.NopCloser(r), true, nil
		}
	}
	return nil, false, nil
}

// worldLog has the world's segments, all in the log at once.
type worldLog struct{ w *world }

func (l worldLog) Segment(leaf ledger.Hash) (*audit.Placed, bool, error) {
	for i, h := range l.w.leaves {
		if h == leaf {
			e, err := ledger.ParseEntry(l.w.entries[i])
			seg, is := e.(*ledger.Segment)
			return &audit.Placed{Segment: seg, NotBefore: 1_800_000_000, NotAfter: 1_800_000_000}, is, err
		}
	}
	return nil, false, nil
}

func (l worldLog) NotAfter(ledger.Hash) uint64 { return uint64(l.w.now.Unix()) }

// logged are a world's entries.
func (w *world) logged(t testing.TB) []audit.Logged {
	t.Helper()
	var list []audit.Logged
	for i, raw := range w.entries {
		e, err := ledger.ParseEntry(raw)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, audit.Logged{Leaf: w.leaves[i], Entry: e, Addenda: worldAddenda{w}})
	}
	return list
}

// TestRuns: a log judged entry by entry, in runs on all processors, and in two
// parts between which the state was written down and read again, is judged alike.
func TestRuns(t *testing.T) {
	worlds := make(map[string]*world)
	worlds["fleet"], _, _ = fleet(t)
	for _, row := range erasureRows() {
		w, h := small(t)
		row.play(w, h)
		worlds[row.name] = w
	}
	for _, row := range successionRows() {
		ended, next := endedLog(t)
		row.play(ended, next)
		worlds[row.name] = ended
	}
	forked, h := small(t)
	h.alter = func(s *ledger.Segment) { s.Sequence-- }
	h.measure(1)
	h.seal(0)
	h.alter = nil
	h.measure(1)
	h.seal(0)
	worlds["fork"] = forked

	contradicted := 0
	for name, w := range worlds {
		entries := w.logged(t)
		state := audit.NewState(w.trust)
		state.SetLog(worldLog{w})
		var want [][]ledger.Finding
		for _, e := range entries {
			j := state.Judge(e.Leaf, e.Entry, e.Addenda)
			state.Commit(j)
			want = append(want, j.Findings)
			if ledger.Worst(j.Findings) == ledger.Contradicted {
				contradicted++
			}
		}
		end := written(t, state)
		for cut := range len(entries) + 1 {
			first := audit.NewState(w.trust)
			first.SetLog(worldLog{w})
			judged := first.JudgeRun(entries[:cut])
			second, err := audit.ReadState(w.trust, strings.NewReader(written(t, first)))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			second.SetLog(worldLog{w})
			judged = append(judged, second.JudgeRun(entries[cut:])...)
			for i, j := range judged {
				if !reflect.DeepEqual(j.Findings, want[i]) {
					t.Errorf("%s: cut at %d, entry %d: %v, want %v", name, cut, i, j.Findings, want[i])
				}
			}
			if got := written(t, second); got != end {
				at := 0
				for at < min(len(got), len(end)) && got[at] == end[at] {
					at++
				}
				t.Errorf("%s: cut at %d: the states differ from byte %d on: %.80q, want %.80q", name, cut, at, got[at:], end[at:])
			}
		}
	}
	if len(worlds) < 20 || contradicted < 10 {
		t.Errorf("%d worlds, %d contradictions: the test shows too little", len(worlds), contradicted)
	}
}

// TestStateOfManyErasures: an erasure is written down once, not once for each of the
// segments that it names: a log has hundreds of thousands of them in the end.
func TestStateOfManyErasures(t *testing.T) {
	w := newWorld(t)
	erased := &ledger.Erasure{Log: origin, Retention: ledger.Hash{1}, Reason: "it is time", Time: 2}
	for i := range ledger.MaxErased {
		erased.Erased = append(erased.Erased, ledger.Erased{Leaf: ledger.Hash{byte(i)}, Payload: ledger.Hash{byte(i)}})
	}
	leaf := w.state(erased)
	state := audit.NewState(w.trust)
	j := state.Judge(leaf, erased, nil)
	state.Commit(j)
	if ledger.Worst(j.Findings) == ledger.Contradicted {
		t.Fatal(j.Findings)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	text := written(t, state)
	runtime.ReadMemStats(&after)
	if taken := after.TotalAlloc - before.TotalAlloc; !strings.Contains(text, "statement") || taken > 50*uint64(len(text)) {
		t.Errorf("%d bytes of memory for a state of %d", taken, len(text))
	}
}

func written(t testing.TB, s *audit.State) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestStateCutShort: a written state that lost lines, or has a damaged one, is
// refused.
func TestStateCutShort(t *testing.T) {
	w, _, _ := fleet(t)
	state := audit.NewState(w.trust)
	state.JudgeRun(w.logged(t))
	whole := written(t, state)
	lines := strings.SplitAfter(whole, "\n")
	for n := range len(lines) - 1 {
		if _, err := audit.ReadState(w.trust, strings.NewReader(strings.Join(lines[:n], ""))); err == nil {
			t.Errorf("%d of %d lines were taken for a state", n, len(lines)-1)
		}
	}
	segment := regexp.MustCompile(`"segment":("[^"]*")`).FindStringSubmatch(whole)[1]
	mixed := regexp.MustCompile(`"enrolment":"[^"]*"`).ReplaceAllLiteralString(whole, `"enrolment":`+segment)
	for _, bad := range []string{whole + `{"end":{}}` + "\n", whole + lines[len(lines)-2], mixed, strings.Replace(whole, "{", `{"other":1,`, 1), strings.Replace(whole, `"enrolment":"aW`, `"enrolment":"aX`, 1)} {
		if _, err := audit.ReadState(w.trust, strings.NewReader(bad)); err == nil {
			t.Errorf("taken for a state: %.200s", bad)
		}
	}
}
