package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
)

// A TPM is what the agent needs of the host's TPM.
type TPM interface {
	AK() ([]byte, error) // TPMT_PUBLIC
	Banks() ([]ima.Bank, error)
	Quote(nonce []byte, selection ima.Selection) (attest, signature []byte, err error)
	ReadPCRs(selection ima.Selection) (ima.Values, error)
}

// An Enroller is a TPM that can show that the AK lives in it. One that cannot
// enrols at grade software, where a ledger allows that.
type Enroller interface {
	EK() ([]byte, error)
	EKCertificate() ([]byte, error) // or quote.ErrNoCertificate
	ActivateCredential(idObject, encryptedSecret []byte) (secret []byte, err error)
}

// A Kernel is the kernel's list. See package securityfs, whose errors these
// methods return.
type Kernel interface {
	Count() (uint64, error)
	Read(from int64, f func(io.Reader) error) error
	Stage() error
	ReadStaged(f func(io.Reader) error) error
	DeleteStaged(check func(io.Reader) error) error
	DeleteFirst(n uint64, check func(io.Reader) error) error
}

// A Ledger is the ledger, as client.Client speaks to it, or a folder that is carried
// to it (package carry).
type Ledger interface {
	Enrol(ctx context.Context, r client.EnrolRequest, wait time.Duration) (*client.Challenge, *client.Accepted, error)
	Activate(ctx context.Context, a client.Activation, wait time.Duration) (*client.Accepted, error)
	HasAddendum(ctx context.Context, digest ledger.Hash) (size int64, found bool, err error)
	PutAddendum(ctx context.Context, digest ledger.Hash, size int64, r io.Reader) error
	SubmitLeaf(ctx context.Context, entry []byte, wait time.Duration) (*client.Accepted, error)
	Proof(ctx context.Context, leaf ledger.Hash, wait time.Duration) (*client.Accepted, error)
	Leaf(ctx context.Context, leaf ledger.Hash) ([]byte, error)
	Checkpoint(ctx context.Context) ([]byte, error)
	Consistent(ctx context.Context, older, newer *ledger.Checkpoint) error
}

// A Deletion says how receipted records leave kernel memory.
type Deletion string

// The ways.
const (
	DeleteStaged Deletion = "stage" // set apart, then deleted
	DeleteCount  Deletion = "count" // the first N
	DeleteNever  Deletion = "never" // the list only grows
)

// What a kernel may say, which is no failure. The errors of the Kernel given are
// compared with these.
type KernelErrors struct {
	Staged    error // something is staged already
	Nothing   error // there are no such records
	Suspended error // measurement is suspended for a reboot or kexec
}

// A Config is all that an agent needs. Only Step may be nil.
type Config struct {
	Host   string
	Trust  *ledger.Trust // its policy names one log, its rules who enrols the host
	Dir    string        // the agent's directory, made if it is missing
	TPM    TPM
	Kernel Kernel
	Errors KernelErrors
	Delete Deletion
	// Shrinks says that the kernel lets records be deleted, by others too.
	Shrinks bool
	Ledger  Ledger
	BootID  func() (string, error) // of the running kernel: another one after each boot and kexec
	// Banks are those of the exported lists, besides SHA-1.
	Banks []ima.Bank
	// QuoteAll has PCR 0 to 9 quoted in every bank, for verifiers that want the same
	// registers in each.
	QuoteAll bool
	// Lists is how many untrimmed lists are kept, the newest among them; 0 keeps
	// all. One with segments that have no receipt is kept in any case.
	Lists      int
	SpoolLimit int64         // bytes of records without a receipt, from which on nothing more is read; 0 for no limit
	MaxSegment int64         // bytes of records that a segment can have, 0 for those of the format
	Wait       time.Duration // for witnesses, at each submission
	Logger     *slog.Logger
	// Step is told of each step that was done, so that a test can cut the power
	// there.
	Step func(string)
}

// An Agent is one host's. Its methods must not be called at the same time.
type Agent struct {
	Config
	log     string // origin
	spool   *spool
	chain   *chain
	list    *list // the newest, nil before the first
	ak      *quote.AK
	trusted *ledger.Checkpoint // the newest one verified, nil before the first
	seen    *ledger.Checkpoint // one that the log signed, and that the policy does not accept any more; nil for none
	moved   bool               // in this round the kernel's list was not where it was left
	problem map[string]error   // what went wrong last, by what was being done

	due  func() bool // of Run: see submitPending
	more bool        // the last round left entries to the next one

	damaged error // of the newest list, in what the kernel does not list any more

	renew time.Time // not before, where the trust folder does not bear the enrolment out

	lastReceipt *LastReceipt
}

// ErrPolicy is a trust folder that does not name one log. A log whose keys change
// has several lines, and one origin.
var ErrPolicy = errors.New("the trust folder's policy must name exactly one log: a host submits to one")

// New opens the agent's directory, which has one agent at a time.
func New(c Config) (*Agent, error) {
	a := &Agent{Config: c, problem: make(map[string]error)}
	if a.log = c.Trust.Policy.Origin(); a.log == "" {
		return nil, ErrPolicy
	}
	if a.Step == nil {
		a.Step = func(string) {}
	}
	var err error
	if a.spool, err = openSpool(c.Dir, a.Step); err != nil {
		return nil, err
	}
	if err := a.load(); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *Agent) load() (err error) {
	if a.chain, err = loadChain(a.spool); err != nil {
		return err
	}
	if err := a.ownChain(); err != nil {
		return err
	}
	if a.spool.state.List == 0 && a.chain.last != nil && a.chain.lastPlace.List != nowhere {
		return fmt.Errorf("%s is missing: %w", a.spool.path(stateFile), errDamaged)
	}
	if n := a.spool.state.List; n > 0 {
		if a.list, a.damaged, err = openList(a.spool, n); err != nil {
			return err
		}
	}
	if err := a.checkSegments(); err != nil {
		return err
	}
	receipt, err := a.loadReceipts()
	if err == nil && receipt != nil {
		err = a.noteReceipt(a.chain.last.Sequence, receipt.NotAfter)
	}
	if err != nil {
		return err
	}
	raw, err := a.spool.read(checkpointFile, ledger.MaxCheckpoint)
	if errors.Is(err, errAbsent) {
		return nil
	}
	if err != nil {
		return err
	}
	if a.trusted, err = a.Trust.Policy.Verify(raw); err == nil {
		return nil
	}
	if receipt != nil {
		a.trusted = receipt.Checkpoint
	}
	var unsigned error
	if a.seen, unsigned = a.Trust.Policy.VerifyUnwitnessed(raw); unsigned == nil {
		a.Logger.Warn("agent: the newest checkpoint that was trusted does not verify any more; the log is held to it", "error", err)
		return nil
	}
	a.Logger.Error("agent: the newest checkpoint that was trusted does not verify; it is set aside", "error", err)
	return errors.Join(a.spool.keep(checkpointFile, raw), os.Remove(a.spool.path(checkpointFile)))
}

// EnrolledAK returns the TPMT_PUBLIC that the host is enrolled with, nil before it is.
func (a *Agent) EnrolledAK() []byte {
	if a.chain.enrolment == nil {
		return nil
	}
	return a.chain.enrolment.AKPublic
}

// Close closes the agent's directory.
func (a *Agent) Close() error {
	var err error
	if a.list != nil {
		err = a.list.close()
	}
	return errors.Join(err, a.spool.close())
}

// Once makes one round: what waits is submitted, what is new is quoted, cut,
// spooled and submitted, and what has its receipt is deleted from the kernel. A
// step that fails does not keep the others from being done: that the ledger is
// away stops deletion, and never measurement. The error tells all that failed.
func (a *Agent) Once(ctx context.Context) error {
	a.problem, a.moved, a.more = make(map[string]error), false, false
	if a.damaged != nil {
		a.problem["list"] = a.damaged
	}
	a.try("tpm", func() error { return a.loadAK() })
	if a.ak != nil {
		a.try("enrol", func() error { return a.ensureEnrolled(ctx) })
		a.try("checkpoint", func() error { return a.refreshCheckpoint(ctx) })
		a.try("segment", func() error { return a.cut(ctx) })
	}
	a.try("submit", func() error { return a.submitPending(ctx, a.due) })
	if !a.split() && a.believed() {
		a.try("delete", a.trim)
	}
	a.try("retain", a.retain)
	return a.problems()
}

// split reports whether this round found that the log signed two histories. Then
// nothing is deleted, not even by an older receipt: it may be of the history that
// the log drops.
func (a *Agent) split() bool {
	for _, err := range a.problem {
		if errors.Is(err, ErrSplit) {
			return true
		}
	}
	return false
}

// try does one part of a round.
func (a *Agent) try(what string, f func() error) {
	if err := f(); err != nil {
		a.problem[what] = err
		a.Logger.Error("agent: "+what, "error", err)
	}
}

// doings are the parts of a round, in their order.
var doings = []string{"tpm", "enrol", "checkpoint", "segment", "spool", "submit", "delete", "retain", "list"}

// problems joins what went wrong.
func (a *Agent) problems() error {
	var list []error
	for _, what := range doings {
		if err := a.problem[what]; err != nil {
			list = append(list, fmt.Errorf("%s: %w", what, err))
		}
	}
	return errors.Join(list...)
}

// loadAK asks for the AK in each round: it is another one if the TPM is.
func (a *Agent) loadAK() error {
	public, err := a.TPM.AK()
	if err != nil {
		return err
	}
	if a.ak != nil && bytes.Equal(a.ak.Raw, public) {
		return nil
	}
	ak, err := quote.ParseAK(public)
	if err == nil {
		a.ak = ak
	}
	return err
}
