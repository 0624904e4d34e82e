package agent

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
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

// mend says what a person can do, where the error does not say it itself.
func mend(err error) string {
	var refused *client.Problem
	var network net.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "make room on the disk of the agent's directory, or stop the agent, move the directory to another disk and name it in the configuration; the kernel keeps its records meanwhile. Then it goes on by itself, or at once with imaledger-agent resume"
	case errors.Is(err, syscall.EROFS):
		return "the disk of the agent's directory is read-only, mostly after an error of the disk: see the kernel's log, mount it for writing; then it goes on by itself, or at once with imaledger-agent resume"
	case errors.Is(err, os.ErrPermission):
		return "the agent must run as root and own its directory"
	case errors.Is(err, ErrSpoolFull):
		return "find out why receipts do not come, which is another of these problems; or give more room with spool-limit, 0 for all there is"
	case errors.Is(err, ErrSplit):
		return "keep the two checkpoints in the directory's folder evidence, and tell the ledger's operator and the auditors: together they prove that the log signed two histories. Records stay in the kernel"
	case errors.Is(err, ErrLedger):
		return "the ledger's answer does not fit the trust folder: is the policy that of this ledger, and are its witnesses running? Records stay in the kernel until it does"
	case errors.As(err, &certificate):
		return "the ledger's TLS certificate is not accepted: is this host's clock right? It says " + time.Now().UTC().Format(time.RFC3339) + ". If it is, the certificate is another's, has expired, or comes from an authority that this machine does not know"
	case errors.As(err, &refused) && refused.Status < 500:
		return "the ledger refuses this, and says why; its findings are listed in FORMAT.md"
	case errors.As(err, &refused), errors.As(err, &network), errors.Is(err, ErrUnwitnessed):
		return "the ledger or its witnesses cannot be reached now; it is tried again, and records are kept meanwhile"
	}
	return ""
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
