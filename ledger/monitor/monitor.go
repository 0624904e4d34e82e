// Package monitor reads a whole log over HTTP and judges all of it: every tile and
// entry against the root that the log signed, every entry as package audit does,
// every checkpoint that hosts are anchored to against the tree, every payload that
// it may read. It goes on where it was when it is called again, and holds what the
// log shows then to what it has shown before.
//
// It believes nothing that the ledger, or what is before it, says: an answer that
// evidence rules out is a finding, and an answer that does not come is an error.
package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
)

// Config says what to audit.
type Config struct {
	Ledger *client.Client
	Trust  *ledger.Trust
	// Dir keeps how far the audit has come, and what it found; empty for nowhere.
	// One process at a time uses it.
	Dir string
	// NoPayloads leaves the records alone: quotes and chains are judged, and
	// nothing is said of what was measured.
	NoPayloads bool
	// All has everything judged again that earlier audits into Dir had judged, with
	// the keys that are trusted and the evidence that is given now. What the log has
	// shown before stays, and the log is held to it.
	All bool
	// Progress is told how many of how many entries are judged; nil for nobody.
	Progress func(done, total uint64)
}

// A Report is what all audits of a log into one directory have found.
type Report struct {
	Log       string `json:"log"`
	Size      uint64 `json:"size"`                // of the newest checkpoint that verified
	Root      string `json:"root"`                // hex
	Witnessed uint64 `json:"witnessed,omitempty"` // Unix seconds, 0 where the policy demands no witness
	Since     uint64 `json:"since"`               // entries that earlier audits had judged
	Judged    uint64 `json:"judged"`              // entries that are judged now, from the first on
	// Resumed is where earlier audits had ended, nil where there were none: what they
	// had judged was not read again.
	Resumed *Resumed `json:"resumed,omitempty"`
	Hosts   int      `json:"hosts"`
	Counts
	// Noted counts what contradicts nothing, by code.
	Noted map[ledger.Code]uint64 `json:"noted"`
	// Findings are what is undecided or contradicted.
	Findings []ledger.Finding `json:"findings"`
	// More counts findings over the first MaxFindings.
	More uint64 `json:"more,omitempty"`
	// Checkpoint is the newest that verified, as it was signed.
	Checkpoint []byte `json:"-"`
	// Fleet are the hosts, by name.
	Fleet []Host `json:"-"`
	// Split are two checkpoints that no one history leads to, older first.
	Split [][]byte `json:"split,omitempty"`
}

// Resumed is the newest checkpoint that an earlier audit verified.
type Resumed struct {
	Size      uint64 `json:"size"`
	Root      string `json:"root"`                // hex
	Witnessed uint64 `json:"witnessed,omitempty"` // as in a Report
}

// Counts count what was judged.
type Counts struct {
	Segments   uint64 `json:"segments"`
	Enrolments uint64 `json:"enrolments"`
	Statements uint64 `json:"statements"`
	Records    uint64 `json:"records"`    // that were replayed
	Violations uint64 `json:"violations"` // records whose contents no register binds
	Erased     uint64 `json:"erased"`     // segments whose records were erased
	Unreadable uint64 `json:"unreadable"` // addenda that the caller may not read
}

// MaxFindings bounds the findings that are kept. A log with more is not one that
// the next one tells more about.
const MaxFindings = 10_000

// Class returns the report's verdict.
func (r *Report) Class() ledger.Class { return ledger.Worst(r.Findings) }

// Whole reports whether every entry of the newest checkpoint was judged and nothing
// contradicts the log: what an auditor may put his name to.
func (r *Report) Whole() bool {
	return r.Size > 0 && r.Judged == r.Size && r.Class() != ledger.Contradicted && len(r.Split) == 0
}

// Audit audits a log up to its newest checkpoint. An error means that the audit
// could not be made, or could not be ended; what was judged until then is kept in
// the directory, and the next call goes on from there.
func Audit(ctx context.Context, c Config) (*Report, error) {
	m, err := openMemory(c.Dir, c.Trust)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	defer m.close()
	w := &walk{Config: c, ctx: ctx, memory: m, since: m.Next, resumed: m.seen, anchors: make(map[ledger.Hash]*anchor), bundles: make(map[uint64][]entry)}
	w.buffers.New = func() any { return new(bytes.Buffer) }
	found, err := w.checkpoint()
	if err == nil && found == nil {
		w.state.SetOrigin(w.seen.Origin)
		w.state.SetLog(w)
		found, err = w.entries()
	}
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return w.report(found), nil
}

// checkpoint reads the newest checkpoint, and holds it to the newest that was seen.
func (w *walk) checkpoint() (found []ledger.Finding, err error) {
	raw, err := w.Ledger.Checkpoint(w.ctx)
	if err != nil {
		return nil, err
	}
	at, err := w.Trust.Policy.Verify(raw)
	if err != nil {
		return []ledger.Finding{{Code: audit.CheckpointCode(err), Subject: "checkpoint", Text: err.Error()}}, nil
	}
	seen := w.seen
	switch {
	case seen == nil:
	case at.Origin != seen.Origin:
		return nil, fmt.Errorf("%s holds an audit of log %s, this one is %s: give another directory", w.Dir, seen.Origin, at.Origin)
	case at.Size < seen.Size:
		return w.rollback(at, seen)
	default:
		if err := w.Ledger.Consistent(w.ctx, seen, at); err != nil {
			return w.inconsistent(seen, at, err)
		}
	}
	if w.All {
		w.memory, w.since = w.anew(w.Trust), 0
	}
	if at.Unknown > 0 {
		w.noted(ledger.SignatureUnknown)
	}
	w.seen, w.Checkpoint = at, at.Raw
	w.tree = w.Ledger.Tree(at)
	w.times.add(at.Size, w.Trust.Policy.NotAfter(at))
	return nil, nil
}

// rollback tells a log that shows an older checkpoint than before from one that signed
// two histories. The log need not have the tiles of the newer tree any more: then the
// entries of the older one are held to those that were judged.
func (w *walk) rollback(at, seen *ledger.Checkpoint) ([]ledger.Finding, error) {
	differ := func(what string) ([]ledger.Finding, error) {
		w.split = [][]byte{at.Raw, seen.Raw}
		return []ledger.Finding{{Code: ledger.LogSplit, Subject: "checkpoint", Text: fmt.Sprintf("the tree of size %d, which was shown before, does not continue the tree of size %d, which is shown now: %s", seen.Size, at.Size, what)}}, nil
	}
	older := ledger.Finding{Code: ledger.LogRollback, Subject: "checkpoint",
		Text: fmt.Sprintf("the log has shown size %d, witnessed by %s, and shows %d now", seen.Size, audit.Time(w.Trust.Policy.NotAfter(seen)), at.Size)}
	err := w.Ledger.Consistent(w.ctx, at, seen)
	switch {
	case err == nil:
		return []ledger.Finding{older}, nil
	case errors.Is(err, ledger.ErrConsistency):
		return differ(err.Error())
	}
	w.tree = w.Ledger.Tree(at)
	for from := uint64(0); from < min(at.Size, w.Next); from += windowSize {
		list, err := w.readEntries(w.ctx, from, min(from+windowSize, at.Size, w.Next))
		if err != nil {
			if w.ctx.Err() != nil {
				return nil, w.ctx.Err()
			}
			if found := wrongTiles(err); found != nil {
				return append(found, older), nil
			}
			older.Text += fmt.Sprintf("; whether that is its begin could not be found out: %v", err)
			return []ledger.Finding{older}, nil
		}
		for i, e := range list {
			if !w.leaves.is(from+uint64(i), e.leaf) {
				return differ(fmt.Sprintf("entry %d is another", from+uint64(i)))
			}
		}
	}
	return []ledger.Finding{older}, nil
}

// inconsistent tells a log that signed two histories from one whose tiles are wrong,
// or cannot be had.
func (w *walk) inconsistent(older, newer *ledger.Checkpoint, err error) ([]ledger.Finding, error) {
	switch {
	case errors.Is(err, ledger.ErrConsistency):
		w.split = [][]byte{older.Raw, newer.Raw}
		return []ledger.Finding{{Code: ledger.LogSplit, Subject: "checkpoint", Text: fmt.Sprintf("the tree of size %d does not continue the tree of size %d: %v", newer.Size, older.Size, err)}}, nil
	}
	if found := wrongTiles(err); found != nil {
		return found, nil
	}
	return nil, err
}

// wrongTiles tells tiles that do not lead to the root from those that cannot be had:
// for these it returns nil.
func wrongTiles(err error) []ledger.Finding {
	var other *client.OtherBytesError
	if !errors.As(err, &other) && !errors.Is(err, client.ErrTiles) {
		return nil
	}
	return []ledger.Finding{{Code: ledger.LogTiles, Subject: "tiles", Text: err.Error()}}
}

// report puts together what all audits have found, and what this one found of the
// log itself.
func (w *walk) report(found []ledger.Finding) *Report {
	r := &Report{Since: w.since, Judged: w.Next, Hosts: w.state.CountHosts(), Counts: w.Counts, Noted: maps.Clone(w.Noted), More: w.More,
		Findings: append([]ledger.Finding{}, w.Findings...), Split: w.split, Checkpoint: w.Checkpoint}
	if w.seen != nil {
		r.Log, r.Size, r.Root, r.Witnessed = w.seen.Origin, w.seen.Size, fmt.Sprintf("%x", w.seen.Root), w.Trust.Policy.NotAfter(w.seen)
	}
	if w.since > 0 {
		r.Resumed = &Resumed{w.resumed.Size, fmt.Sprintf("%x", w.resumed.Root), w.Trust.Policy.NotAfter(w.resumed)}
	}
	r.Findings = append(r.Findings, w.missing.findings()...)
	if w.Unreadable > 0 {
		r.Findings = append(r.Findings, ledger.Finding{Code: ledger.PayloadMissing, Subject: "addenda",
			Text: fmt.Sprintf("the ledger does not let this caller read %d addenda that entries name: nothing is said of their contents", w.Unreadable)})
	}
	if w.LeftAlone > 0 {
		r.Findings = append(r.Findings, ledger.Finding{Code: ledger.PayloadMissing, Subject: "payloads",
			Text: "the records were not looked at, as was asked for: those of " + audit.Count(w.LeftAlone, "segment")})
	}
	r.Findings = append(r.Findings, found...)
	r.Fleet = w.fleet(r.Findings)
	return r
}
