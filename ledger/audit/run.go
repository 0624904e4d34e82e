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
	var chains [][]int // of each host, indexes into run
	place := make(map[chainID]int)
	for i, e := range run {
		id := chainOf(e.Entry.(*ledger.Segment))
		n, known := place[id]
		if !known {
			n = len(chains)
			place[id], chains = n, append(chains, nil)
		}
		chains[n] = append(chains[n], i)
	}
	var next atomic.Int64 // of chains
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(chains)) {
		workers.Go(func() {
			for n := next.Add(1); n <= int64(len(chains)); n = next.Add(1) {
				chain := chains[n-1]
				h := s.before(run[chain[0]].Entry)
				for _, i := range chain {
					j := s.judge(run[i].Leaf, run[i].Entry, run[i].Addenda, h)
					if !j.fork {
						h = j.next // as Commit will
					}
					judged[i] = j
				}
			}
		})
	}
	workers.Wait()
}
