package audit

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/imaledger/imaledger/ledger"
)

// A Logged is an entry of a log, and what it names.
type Logged struct {
	Leaf    ledger.Hash
	Entry   ledger.Entry
	Addenda Addenda // may be nil, as for Judge
}

// JudgeRun judges entries that follow one another in the log, and commits them, as
// Judge and Commit would one by one. It is for one who reads a whole log: the chains
// of different hosts do not depend on one another until an entry comes that is no
// segment, so they are judged side by side, on all processors. Addenda, and the Log
// of SetLog, must be safe for concurrent use.
func (s *State) JudgeRun(run []Logged) []*Judgement {
	judged := make([]*Judgement, len(run))
	for from := 0; from < len(run); {
		to := from
		for to < len(run) && isSegment(run[to].Entry) {
			to++
		}
		if to == from { // what it states may count for every entry after it
			judged[from] = s.Judge(run[from].Leaf, run[from].Entry, run[from].Addenda)
			s.Commit(judged[from])
			from++
			continue
		}
		s.judgeSegments(run[from:to], judged[from:to])
		for _, j := range judged[from:to] {
			s.Commit(j)
		}
		from = to
	}
	return judged
}

func isSegment(e ledger.Entry) bool { _, is := e.(*ledger.Segment); return is }

// judgeSegments judges segments, each host's in their order.
func (s *State) judgeSegments(run []Logged, judged []*Judgement) {
	SideBySide(len(run), func(i int) chainID { return chainOf(run[i].Entry.(*ledger.Segment)) }, func(chain []int) {
		h := s.before(run[chain[0]].Entry)
		for _, i := range chain {
			j := s.judge(run[i].Leaf, run[i].Entry, run[i].Addenda, h)
			if !j.fork {
				h = j.next // as Commit will
			}
			judged[i] = j
		}
	})
}

// SideBySide calls f for each chain of the indexes below n: those with one key, in
// their order. Chains are worked on at once, on all processors.
func SideBySide[K comparable](n int, key func(i int) K, f func(chain []int)) {
	var chains [][]int
	place := make(map[K]int)
	for i := range n {
		k := key(i)
		at, known := place[k]
		if !known {
			at = len(chains)
			place[k], chains = at, append(chains, nil)
		}
		chains[at] = append(chains[at], i)
	}
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(chains)) {
		workers.Go(func() {
			for c := next.Add(1); c <= int64(len(chains)); c = next.Add(1) {
				f(chains[c-1])
			}
		})
	}
	workers.Wait()
}
