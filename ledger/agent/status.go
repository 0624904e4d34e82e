package agent

import (
	"errors"
	"fmt"
	"time"

	"github.com/imaledger/imaledger/ledger"
)

// A Status is what an agent shows of itself. Records are counted in the boot of
// the newest list.
type Status struct {
	Time      time.Time `json:"time"`
	Host      string    `json:"host"`
	Log       string    `json:"log"`
	Directory string    `json:"directory"`
	List      string    `json:"list,omitempty"` // folder of the untrimmed list
	Grade     string    `json:"grade,omitempty"`

	Listed     uint64 `json:"listed"`     // records known, from the list's begin
	Kernel     uint64 `json:"kernel"`     // of them in kernel memory, with those staged
	Staged     uint64 `json:"staged"`     // of them set apart
	Deleted    uint64 `json:"deleted"`    // of them deleted from kernel memory
	Unsealed   uint64 `json:"unsealed"`   // of them in no segment yet
	PassedOver uint64 `json:"passedOver"` // of them listed before a gap was closed: they are never in a segment
	Receipted  uint64 `json:"receipted"`  // of them in segments with a receipt
	Segments   uint64 `json:"segments"`   // entries of the host's chain, with enrolments
	Pending    int    `json:"pending"`    // of them without a receipt
	SpoolBytes int64  `json:"spoolBytes"` // of records without a receipt
	SpoolLimit int64  `json:"spoolLimit"`

	Receipt  *LastReceipt `json:"receipt,omitempty"`
	Problems []Problem    `json:"problems"`
}

// A LastReceipt is the newest segment that has a receipt, with the time bracket
// of its quote in Unix seconds: 0 where no witness is demanded.
type LastReceipt struct {
	Sequence  uint64 `json:"sequence"`
	Records   uint64 `json:"records"`
	NotBefore uint64 `json:"notBefore"`
	NotAfter  uint64 `json:"notAfter"`
}

// A Problem is what went wrong in the last round, and what to do about it.
type Problem struct {
	Doing string `json:"doing"`
	Error string `json:"error"`
	Mend  string `json:"mend,omitempty"`
}

// Status tells what the last round left.
func (a *Agent) Status() *Status {
	at := a.spool.state
	s := &Status{
		Time: time.Now().UTC().Truncate(time.Second), Host: a.Host, Log: a.log, Directory: a.Dir,
		Listed: at.Records, Staged: at.StagedRecords, Deleted: at.KernelRecord, Kernel: at.Records - at.KernelRecord,
		Pending: len(a.chain.pending), SpoolLimit: a.SpoolLimit, Problems: []Problem{},
	}
	if a.list != nil {
		s.List = a.spool.path(listName(a.list.number))
		begin := a.begin()
		s.Unsealed = at.Records - begin.Record
		end, _, err := a.receipted()
		if err == nil {
			s.PassedOver = at.BeginRecord
			s.Receipted = max(end.Record, at.BeginRecord) - at.BeginRecord
			s.SpoolBytes, err = a.spoolBytes()
		}
		if err != nil {
			s.Problems = append(s.Problems, problem("status", err))
		}
	}
	if !a.chain.empty {
		s.Segments = a.chain.sequence + 1
	}
	if e := a.chain.enrolment; e != nil {
		s.Grade = string(e.Grade)
	}
	s.Receipt = a.lastReceipt
	for _, doing := range doings {
		if err := a.problem[doing]; err != nil {
			s.Problems = append(s.Problems, problem(doing, err))
		}
	}
	return s
}

func problem(doing string, err error) Problem {
	return Problem{Doing: doing, Error: err.Error(), Mend: mend(err)}
}

// noteReceipt notes the newest receipt of a segment, for people.
func (a *Agent) noteReceipt(n uint64, notAfter uint64) error {
	_, entry, err := a.chain.entry(n)
	if err != nil {
		return err
	}
	s, ok := entry.(*ledger.Segment)
	if !ok {
		return nil
	}
	a.lastReceipt = &LastReceipt{Sequence: n, Records: s.Count, NotAfter: notAfter}
	anchor, err := a.spool.read(entryName(n, anchorSuffix), ledger.MaxCheckpoint)
	if errors.Is(err, errAbsent) {
		return nil // of a segment that was recovered from the log
	}
	if err != nil {
		return fmt.Errorf("anchor: %w", err)
	}
	if c, err := a.Trust.Policy.Verify(anchor); err == nil {
		a.lastReceipt.NotBefore = a.Trust.Policy.NotBefore(c)
	}
	return nil
}
