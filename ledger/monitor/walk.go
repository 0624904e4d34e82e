package monitor

import (
	"context"
	"encoding/hex"
	"errors"
	"sync"

	"github.com/transparency-dev/merkle/compact"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
)

const (
	// bundleSize is how many entries one file of a log has.
	bundleSize = 256
	// windowSize is how many entries are read ahead, and judged side by side.
	windowSize = 4 * bundleSize
	// saveEvery is after how many entries what was judged is written down, which grows
	// with the log: in a log that is long for it, after an eighth more.
	saveEvery = 64 * windowSize
)

// A walk is one audit. It implements audit.Log.
type walk struct {
	Config
	*memory
	ctx   context.Context
	since uint64
	// resumed is the newest checkpoint of the audit before, nil where there was none.
	resumed *ledger.Checkpoint
	tree    *client.Tree
	grown   *compact.Range // of the entries that the anchors' roots are computed up to
	split   [][]byte

	buffers sync.Pool // of *bytes.Buffer

	mu      sync.Mutex
	anchors map[ledger.Hash]*anchor // verified, by digest
	bundles map[uint64][]entry      // of what statements refer to
}

// An entry of the log. It has no Entry where it is none.
type entry struct {
	leaf ledger.Hash
	ledger.Entry
	err error // why it has none
}

// A window is a run of entries, read and held to the root.
type window struct {
	entries []entry
	err     error
}

// entries judges all entries that no earlier audit has judged. What is found is of
// the log itself; what is found of entries is in the memory.
func (w *walk) entries() (found []ledger.Finding, err error) {
	ctx, stop := context.WithCancel(w.ctx)
	windows := make(chan window, 1)
	var reader sync.WaitGroup
	reader.Go(func() { w.read(ctx, windows) })
	defer reader.Wait()
	defer stop()
	saved := w.Next
	for read := range windows {
		if read.err != nil {
			if found := wrongTiles(read.err); found != nil {
				return found, w.save()
			}
			return nil, errors.Join(read.err, w.save())
		}
		split, err := w.judge(read.entries)
		if err != nil {
			// A part of the window was judged, so the memory is between two
			// entries: what was saved last counts.
			if found := wrongTiles(err); found != nil {
				return found, nil
			}
			return nil, err
		}
		if split != nil {
			return split, w.save()
		}
		if w.Progress != nil {
			w.Progress(w.Next, w.seen.Size)
		}
		if w.Next-saved >= max(saveEvery, saved/8) {
			if err := w.save(); err != nil {
				return nil, err
			}
			saved = w.Next
		}
	}
	return nil, errors.Join(w.ctx.Err(), w.save())
}

// read reads the entries from the next on, a window ahead of who judges them.
func (w *walk) read(ctx context.Context, windows chan<- window) {
	defer close(windows)
	for from := w.Next; from < w.seen.Size; {
		to := min(from-from%windowSize+windowSize, w.seen.Size)
		list, err := w.readEntries(ctx, from, to)
		select {
		case windows <- window{list, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
		from = to
	}
}

// readEntries reads the files that have the entries from one index to another, side
// by side.
func (w *walk) readEntries(ctx context.Context, from, to uint64) ([]entry, error) {
	first := from / bundleSize
	parts := make([][]entry, (to-1)/bundleSize-first+1)
	errs := make([]error, len(parts))
	var readers sync.WaitGroup
	for i := range parts {
		readers.Go(func() {
			raw, leaves, err := w.tree.EntriesAndLeaves(ctx, max(from, (first+uint64(i))*bundleSize))
			errs[i], parts[i] = err, make([]entry, len(raw))
			for n := range raw {
				e := &parts[i][n]
				e.leaf = leaves[n]
				e.Entry, e.err = ledger.ParseEntry(raw[n])
			}
		})
	}
	readers.Wait()
	list := make([]entry, 0, to-from)
	for i, part := range parts {
		if errs[i] != nil {
			return nil, errs[i]
		}
		list = append(list, part...)
	}
	return list[:to-from], nil // the last file may have more
}

// judge judges a window, and moves on. After an error nothing that it changed may be
// kept.
func (w *walk) judge(list []entry) (split []ledger.Finding, err error) {
	anchors, split, err := w.judgeAnchors(list)
	if err != nil || split != nil {
		return split, err
	}
	sources := make([]*source, len(list))
	var run []audit.Logged
	for i, e := range list {
		if e.Entry == nil {
			w.find(ledger.Finding{Code: ledger.EntryMalformed, Subject: subject(w.Next+uint64(i), e), Text: e.err.Error(), Entry: hex.EncodeToString(e.leaf[:])})
			continue
		}
		logged := audit.Logged{Leaf: e.leaf, Entry: e.Entry}
		if _, is := e.Entry.(*ledger.Segment); !is || !w.NoPayloads {
			sources[i] = &source{w: w, leaf: e.leaf}
			logged.Addenda = sources[i]
		}
		run = append(run, logged)
	}
	for _, e := range list {
		w.leaves.add(e.leaf)
	}
	judged := w.state.JudgeRun(run)
	at := 0
	for i, e := range list {
		if e.Entry == nil {
			continue
		}
		j := judged[at]
		at++
		if j.Err != nil {
			return nil, j.Err
		}
		if err := w.count(w.Next+uint64(i), e, j, sources[i]); err != nil {
			return nil, err
		}
	}
	for _, f := range anchors {
		w.find(f)
	}
	w.Next += uint64(len(list))
	return nil, nil
}

// count keeps what was found of an entry.
func (w *walk) count(index uint64, e entry, j *audit.Judgement, s *source) error {
	denied := s != nil && s.denied
	if denied {
		w.Unreadable++
	}
	for _, f := range j.Findings {
		switch {
		case denied && (f.Code == ledger.PayloadMissing || f.Code == ledger.EnrolmentEvidenceMissing):
		case w.NoPayloads && f.Code == ledger.PayloadMissing:
		case f.Code == ledger.PayloadMissing:
			w.miss(index, e.leaf, f)
		default:
			w.find(f)
		}
	}
	switch x := e.Entry.(type) {
	case *ledger.Segment:
		w.Segments++
		if s == nil {
			w.LeftAlone++
		}
		if j.Segment != nil && j.Segment.Replayed {
			w.Records += j.Segment.Count
			w.Violations += j.Segment.Violations
		}
	case *ledger.Enrolment:
		w.Enrolments++
	default:
		w.Statements++
		if ledger.Worst(j.Findings) == ledger.Contradicted {
			break // it states nothing
		}
		switch x := x.(type) {
		case *ledger.Erasure: // it stands after the segments
			for _, erased := range x.Erased {
				w.Erased++
				if err := w.account(erased.Leaf); err != nil {
					return err
				}
			}
		case *ledger.Acknowledgement:
			w.acknowledge(x)
		}
	}
	return nil
}

// find keeps a finding; of what contradicts nothing its number is enough.
func (w *walk) find(f ledger.Finding) {
	switch {
	case f.Class() == ledger.Noted:
		w.noted(f.Code)
	case len(w.Findings) < MaxFindings:
		w.Findings = append(w.Findings, f)
	default:
		w.More++
	}
}

func (w *walk) noted(c ledger.Code) { w.Noted[c]++ }

// acknowledge: an operator has said what a gap is.
func (w *walk) acknowledge(a *ledger.Acknowledgement) {
	if a.Finding != ledger.Gap {
		return
	}
	of := hex.EncodeToString(a.Entry[:])
	kept := w.Findings[:0]
	for _, f := range w.Findings {
		if f.Code == ledger.Gap && f.Entry == of {
			w.noted(ledger.GapAcknowledged)
		} else {
			kept = append(kept, f)
		}
	}
	w.Findings = kept
}
