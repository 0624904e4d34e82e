package audit_test

import (
	"crypto/ed25519"
	"slices"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

const nextOrigin = "log.example/next"

// endedLog is a log with a host, and an empty one that is to follow it. They have
// the same witnesses, and one trust folder.
func endedLog(t testing.TB) (ended, next *world) {
	ended, _ = small(t)
	next = newWorld(t)
	next.origin, next.log, next.now = nextOrigin, ed25519.NewKeyFromSeed(seed("next log")), ended.now
	nextKey, _ := vkey(1, nextOrigin, next.log)
	ended.policy = strings.Replace(ended.policy, "\n", "\nlog "+nextKey+"\n", 1)
	next.policy = ended.policy
	ended.setTrust()
	next.setTrust()
	return ended, next
}

// freeze ends the log; alter has a hand in what is stated.
func (w *world) freeze(next *world, alter func(*ledger.Freeze)) ledger.Hash {
	key, _ := vkey(1, next.origin, next.log)
	f := &ledger.Freeze{Log: w.origin, Successor: key, URL: "https://next.example/", Reason: "a new key", Time: 1}
	if alter != nil {
		alter(f)
	}
	return w.state(f)
}

// succeed begins the log that follows an ended one.
func (w *world) succeed(ended *world, freeze ledger.Hash, alter func(*ledger.Succession)) {
	w.now = ended.now
	s := &ledger.Succession{Log: w.origin, Predecessor: ended.origin, Freeze: freeze, Size: uint64(len(ended.leaves)), Root: treeRoot(ended.leaves), Reason: "a new key", Time: 2}
	if alter != nil {
		alter(s)
	}
	w.state(s)
}

type successionRow struct {
	name string
	play func(ended, next *world)
	want ledger.Code
}

func successionRows() []successionRow {
	linked := func(alter func(*ledger.Succession)) func(ended, next *world) {
		return func(ended, next *world) { next.succeed(ended, ended.freeze(next, nil), alter) }
	}
	return []successionRow{
		{"two logs that name each other", linked(nil), ""},
		{"a log that ended, and nothing follows yet", func(ended, next *world) { ended.freeze(next, nil) }, ""},
		{"a log that went on", func(ended, next *world) {
			next.succeed(ended, ended.freeze(next, nil), nil)
			ended.retain(1, 30)
		}, ledger.LogFrozen},
		{"a log that was ended twice", func(ended, next *world) {
			ended.freeze(next, nil)
			ended.freeze(next, func(f *ledger.Freeze) { f.Time++ })
		}, ledger.LogFrozen},
		{"another root", linked(func(s *ledger.Succession) { s.Root[0] ^= 1 }), ledger.StatementInvalid},
		{"another size", linked(func(s *ledger.Succession) { s.Size-- }), ledger.StatementInvalid},
		{"another predecessor", linked(func(s *ledger.Succession) { s.Predecessor = "other.example" }), ledger.StatementInvalid},
		{"an entry that ended nothing", func(ended, next *world) {
			ended.freeze(next, nil)
			next.succeed(ended, ended.leaves[1], nil)
		}, ledger.StatementInvalid},
		{"an entry that is not at hand", func(ended, next *world) {
			ended.freeze(next, nil)
			next.succeed(ended, ledger.Hash{1}, nil)
		}, ledger.EntryMissing},
		{"a succession that is not first", func(ended, next *world) {
			freeze := ended.freeze(next, nil)
			next.state(&ledger.Retention{Log: nextOrigin, Policy: 1, Days: 30, Statement: "thirty days", Time: 1})
			next.succeed(ended, freeze, nil)
		}, ledger.StatementInvalid},
		{"another successor", func(ended, next *world) {
			freeze := ended.freeze(next, func(f *ledger.Freeze) { f.Successor, _ = vkey(1, "other.example", next.log) })
			next.succeed(ended, freeze, nil)
		}, ledger.StatementInvalid},
		{"the successor by another key", func(ended, next *world) {
			freeze := ended.freeze(next, func(f *ledger.Freeze) { f.Successor, _ = vkey(1, nextOrigin, ended.log) })
			next.succeed(ended, freeze, nil)
		}, ledger.CheckpointUnknown},
		{"a freeze that no operator signed", func(ended, next *world) {
			operator := ended.operator
			ended.operator, _ = noteSigner(ended.t, "stranger.example")
			freeze := ended.freeze(next, nil)
			ended.operator = operator
			next.succeed(ended, freeze, nil)
		}, ledger.StatementUnsigned},
	}
}

func TestSuccession(t *testing.T) {
	for _, row := range successionRows() {
		t.Run(row.name, func(t *testing.T) {
			ended, next := endedLog(t)
			row.play(ended, next)
			r := ended.check(ended.write(append(ended.files(nil), next.files(nil)...)))
			if row.want != "" {
				if !slices.Contains(codes(r), row.want) || len(r.Successions) > 0 {
					t.Fatalf("%v, %v, want %s", r.Findings, r.Successions, row.want)
				}
				return
			}
			if r.Class() != ledger.Noted {
				t.Fatal(r.Findings)
			}
			want := []audit.Succession{{From: origin, Size: uint64(len(ended.leaves)), To: nextOrigin, URL: "https://next.example/"}}
			if len(next.leaves) > 0 && !slices.Equal(r.Successions, want) {
				t.Errorf("%+v, want %+v", r.Successions, want)
			}
		})
	}
}

// TestWholeLog: who sees all entries of a log in their order needs no indexes.
func TestWholeLog(t *testing.T) {
	for _, row := range successionRows() {
		switch row.name {
		case "two logs that name each other", "a log that went on", "a log that was ended twice", "a succession that is not first":
		default:
			continue
		}
		ended, next := endedLog(t)
		row.play(ended, next)
		var found []ledger.Code
		for _, w := range []*world{ended, next} {
			s := audit.NewState(w.trust)
			for _, raw := range w.entries {
				e, err := ledger.ParseEntry(raw)
				if err != nil {
					t.Fatal(err)
				}
				j := s.Judge(ledger.LeafHash(raw), e, nil)
				s.Commit(j)
				for _, f := range j.Findings {
					if f.Class() == ledger.Contradicted {
						found = append(found, f.Code)
					}
				}
			}
		}
		if row.want == "" && len(found) > 0 || row.want != "" && !slices.Contains(found, row.want) {
			t.Errorf("%s: %v, want %s", row.name, found, row.want)
		}
	}
}

// TestTwoLogsOfOneSize: trees of two logs are not two trees of one log.
func TestTwoLogsOfOneSize(t *testing.T) {
	ended, next := endedLog(t)
	for range ended.leaves {
		next.state(&ledger.Hold{Log: nextOrigin, Host: "stock", From: 1, To: uint64(len(next.leaves)) + 2, Reason: "court order", Time: 1})
	}
	if r := ended.check(ended.write(append(ended.files(nil), next.files(nil)...))); r.Class() != ledger.Noted {
		t.Error(r.Findings)
	}
}

// TestOneHostInTwoLogs: a host has a chain in each log, and evidence of both is one
// bundle.
func TestOneHostInTwoLogs(t *testing.T) {
	ended, next := endedLog(t)
	freeze := ended.freeze(next, nil)
	next.succeed(ended, freeze, nil)
	h := next.newHost("stock", "stock-6.1/boot1/cut1")
	h.reboot(readFile(t, recordings+"stock-6.1/boot1/cut4/binary_runtime_measurements"))
	for _, n := range []int{5, 20} {
		h.measure(n)
		h.seal(0)
	}
	r := ended.check(ended.write(append(ended.files(nil), next.files(nil)...)))
	if len(r.Findings) > 0 || len(r.Segments) != 5 || len(r.Successions) != 1 {
		t.Fatalf("%d segments, %v", len(r.Segments), r.Findings)
	}
	if got := r.Statements(); len(got) != 2 || !strings.HasPrefix(got[0], "records 0 to 24 of host stock") || !strings.HasPrefix(got[1], "records 0 to 44 of host stock") {
		t.Errorf("%q", got)
	}
	if r.Segments[2].RecordsNotBefore != 0 && r.Segments[2].Log != r.Segments[1].Log {
		t.Error("a chain's first records are held to another chain's quote")
	}
}
