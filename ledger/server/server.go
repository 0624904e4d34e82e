// Package server is the ledger: it admits what package audit does not contradict
// to a Merkle tile log (c2sp.org/tlog-tiles), has the log's checkpoints cosigned
// by witnesses, gives proofs, and enrols hosts.
//
// API.md has what it takes and gives over HTTP, and who may do what. What it
// refuses is RFC 9457 problem details with the audit's findings: 409 where the
// host's chain went another way, 422 otherwise.
//
// One directory holds everything, and serves one process at a time:
//
//	log/                  Tessera's tiles, entries and newest checkpoint
//	addenda/              payloads, anchors, enrolment evidence (c2sp.org/tlog-addenda)
//	history/              the first checkpoint of each day
//	uploads/pending/      marks of addenda that no entry names yet
//	uploads/unfinished/   uploads that broke off
//	upload-token.key      what upload tokens are made with
//	evidence/conflicts/   what was refused because the host's chain went another way
//	evidence/refusals.json  what was refused lately, for the operator
//	holds/                names of the holds that the storage knows of: see Holder
//	index/                the search index, if there is one; it may be deleted
//	lock                  held by the process
//
// Several front ends can share a ledger whose log, addenda and evidence are
// elsewhere: see Storage. Then a front end's directory has uploads, refusals and the
// index only.
//
// The log is the truth. What else the server knows, which leaf has which index
// and where each host's chain ends, it reads from the log when it starts.
package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/internal/payload"
)

// Defaults, from measurements on one local disk: a batch of 20 ms keeps the
// disk's fsyncs few, and witnesses can follow five checkpoints a second.
const (
	DefaultBatchMaxAge        = 20 * time.Millisecond
	DefaultCheckpointInterval = 200 * time.Millisecond
	// DefaultRepublishInterval bounds how old the cosignatures on an idle log get,
	// and so how close below a quote's anchor can stand.
	DefaultRepublishInterval = time.Minute
	// SharedCheckpointInterval is the shortest where front ends share a storage.
	SharedCheckpointInterval = time.Second
)

// maxSubmissions bounds the entries that are being judged or written at once.
const maxSubmissions = 1024

// Config is what a ledger is made of. Fields with a default may be left out.
type Config struct {
	Dir string // made if it does not exist
	// Storage is where the log, addenda and evidence are; default: in Dir. With one
	// that several front ends share, Dir is this front end's alone, and holds nothing
	// that cannot be lost.
	Storage *Storage
	Signer  note.Signer   // signs checkpoints; its name is the log's origin
	Trust   *ledger.Trust // the auditor's view: what it would refuse is not admitted

	// MoreSigners sign each checkpoint beside Signer, under the same name: an
	// ML-DSA-44 key, the key that Signer takes the place of, or the one that will
	// take Signer's. The policy must name the key of each.
	MoreSigners []note.Signer

	// Registrars sign enrolments. Together they must satisfy Trust. With none,
	// the ledger enrols nobody by itself.
	Registrars []note.Signer
	// RemoteRegistrars are services that others run.
	RemoteRegistrars []Registrar
	// Pinned lists EKs that the operator vouches for, each with its host. A
	// host that stands here is enrolled with one of its EKs or not at all.
	Pinned map[ledger.Name]string
	// AllowSoftware lets hosts enrol an AK that lives in no TPM. It is for
	// demonstrations: whoever asks first gets the name.
	AllowSoftware bool

	// Search answers searches, from an index that follows the log.
	Search bool
	// PublicPayloads serves addenda to everyone.
	PublicPayloads bool
	MaxPayload     int64 // bytes of an addendum; default ledger.MaxPayload

	BatchMaxAge        time.Duration // how long entries are gathered for one write
	CheckpointInterval time.Duration // at least 100 ms
	RepublishInterval  time.Duration // after which an idle log's checkpoint is cosigned anew; at least CheckpointInterval
	SessionLife        time.Duration // how long a TPM has for an activation

	// Who may do what. Access may be nil.
	PublicUploads  bool           // take addenda from everyone, without tokens
	PrivateEntries bool           // entries and host chains are read by those of Access alone
	Access         *Access        // auditors and operators; see SetAccess
	TokenKey       []byte         // of upload tokens, 32 bytes or more; default: one that the directory keeps
	TokenLife      time.Duration  // of an upload token
	Limits         Limits         // default: none
	Proxies        []netip.Prefix // whose X-Forwarded-For is believed
	Stall          time.Duration  // how long a transfer has for each 32 KiB
	PendingLife    time.Duration  // how long an addendum that no entry names is kept

	// Eraser is an operator's key: with it the ledger erases by itself what the
	// retention policy no longer keeps.
	Eraser        note.Signer
	EraseInterval time.Duration // default: an hour

	Metrics prometheus.Registerer // default: none

	Logger *slog.Logger     // default: none
	Now    func() time.Time // default: time.Now
	Rand   io.Reader        // default: crypto/rand
}

// ErrStopped is what a server answers after Close, or after its storage failed.
var ErrStopped = errors.New("the ledger has stopped")

// A Server is a ledger. It implements http.Handler.
type Server struct {
	config     Config
	mux        *http.ServeMux
	patterns   []string // of the routes
	lock       io.Closer
	storage    *Storage
	log        *treeLog
	addenda    Addenda
	chains     *chains
	anchors    anchors
	history    *history
	follower   follower
	metrics    *metrics
	desk       *desk
	sessions   *sessions[*enrolling]
	registrars []Registrar
	slots      chan struct{} // one for each submission at work

	uploadSlots chan struct{} // one for each upload at work
	uploads     *counted      // uploads at work, by uploader
	pending     *pending
	spool       *spool
	tokens      *tokens
	access      atomic.Pointer[Access]
	hostRate    *limiter
	addressRate *limiter
	refused     *refusals
	holds       *holds
	search      *searcher // nil without Config.Search
	// recordProofs has a place for each proof of a record that is being made.
	recordProofs chan struct{}

	gate sync.RWMutex // see enter

	active    sync.WaitGroup // submissions; Add only under stop.RLock
	stop      sync.RWMutex   // held to close draining
	writable  writable
	draining  chan struct{}
	drainOnce sync.Once
	closeOnce sync.Once

	failOnce sync.Once
	failure  error
	failed   chan struct{} // closed after failure is set
}

// New opens the ledger in config.Dir, or starts an empty one, and reads the
// whole log: what the log states, and not a table beside it, is what the server
// goes on from. It refuses a log that the audit contradicts. The context is for
// the opening only.
func New(ctx context.Context, config Config) (*Server, error) {
	s := &Server{config: config, slots: make(chan struct{}, maxSubmissions), uploadSlots: make(chan struct{}, maxUploads), recordProofs: make(chan struct{}, maxRecordProofs),
		draining: make(chan struct{}), failed: make(chan struct{})}
	if err := s.setDefaults(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.config.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	s.writable.dir = s.config.Dir
	var err error
	if s.lock, err = lockFile(filepath.Join(s.config.Dir, "lock")); err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	s.routes()
	return s, nil
}

func (s *Server) open(ctx context.Context) (err error) {
	s.storage = s.config.Storage
	if s.storage == nil {
		s.storage = Directory(s.config.Dir)
		if s.storage.Addenda, err = payload.Open(filepath.Join(s.config.Dir, addendaDir)); err != nil {
			return fmt.Errorf("ledger: %w", err)
		}
	}
	s.addenda = s.storage.Addenda
	if err := s.openDoor(); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	if s.history, err = openHistory(ctx, s.storage.Files, s.config.Trust.Policy, s.Origin()); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	if s.log, err = openLog(ctx, &s.config, s.storage, s.fail); err != nil {
		return fmt.Errorf("ledger: open the log: %w", err)
	}
	if err := s.checkWitnessed(ctx); err != nil {
		s.log.close()
		return fmt.Errorf("ledger: compare with the witnesses: %w", err)
	}
	s.chains, s.holds = newChains(s.config.Trust, s.Origin()), newHolds()
	if s.metrics, err = newMetrics(s, s.config.Metrics); err != nil {
		s.log.close()
		return fmt.Errorf("ledger: metrics: %w", err)
	}
	if err := s.rebuild(ctx); err != nil {
		s.log.close()
		return fmt.Errorf("ledger: read the log: %w", err)
	}
	if err := s.follow(ctx); err != nil {
		s.log.close()
		return fmt.Errorf("ledger: %w", err)
	}
	if s.storage.Sequencer == nil { // else tidy does, where others may be at it
		if err := s.finishErasures(); err != nil {
			s.log.close()
			return fmt.Errorf("ledger: finish erasures: %w", err)
		}
	}
	s.log.newest.keep = s.history.add
	s.log.watch()
	go s.watchWitnesses()
	go s.watchDoor()
	go s.watchErasures()
	go s.watchHolds()
	s.openSearch()
	return nil
}

func (s *Server) setDefaults() error {
	s.config.BatchMaxAge = or(s.config.BatchMaxAge, DefaultBatchMaxAge)
	s.config.CheckpointInterval = or(s.config.CheckpointInterval, DefaultCheckpointInterval)
	if c := s.config.Storage; c != nil && c.Sequencer != nil {
		s.config.CheckpointInterval = max(s.config.CheckpointInterval, SharedCheckpointInterval)
		if s.config.TokenKey == nil && !s.config.PublicUploads {
			return errors.New("ledger: front ends that share a storage need one key of upload tokens: give each the same")
		}
	}
	s.config.RepublishInterval = max(or(s.config.RepublishInterval, DefaultRepublishInterval), s.config.CheckpointInterval)
	s.config.SessionLife = or(s.config.SessionLife, DefaultSessionLife)
	s.config.TokenLife = or(s.config.TokenLife, DefaultTokenLife)
	s.config.Stall = or(s.config.Stall, DefaultStall)
	s.config.EraseInterval = or(s.config.EraseInterval, DefaultEraseInterval)
	s.config.PendingLife = or(s.config.PendingLife, DefaultPendingLife)
	s.config.MaxPayload = min(or(s.config.MaxPayload, ledger.MaxPayload), ledger.MaxPayload)
	if s.config.Logger == nil {
		s.config.Logger = slog.New(slog.DiscardHandler)
	}
	if s.config.Now == nil {
		s.config.Now = time.Now
	}
	if s.config.Rand == nil {
		s.config.Rand = rand.Reader
	}
	switch {
	case s.config.Dir == "" || s.config.Signer == nil || s.config.Trust == nil:
		return errors.New("ledger: a directory, a signer and a trust folder are needed")
	case !ledger.ValidOrigin(s.config.Signer.Name()):
		return fmt.Errorf("ledger: the signer's name %q is no log origin", s.config.Signer.Name())
	}
	if e := s.config.Eraser; e != nil && !slices.ContainsFunc(s.config.Trust.Operators, func(v note.Verifier) bool { return v.Name() == e.Name() && v.KeyHash() == e.KeyHash() }) {
		return fmt.Errorf("ledger: the eraser's key %s is no operator's of the trust folder", e.Name())
	}
	return s.openRegistrars()
}

func or[T comparable](value, standard T) T {
	if value == *new(T) {
		return standard
	}
	return value
}

// Origin returns the log's origin.
func (s *Server) Origin() string { return s.config.Signer.Name() }

// VerifierKey returns the key of Config.Signer, as the policy has it.
func (s *Server) VerifierKey() string { return logKey(s.config.Trust.Policy, s.config.Signer) }

// fail stops the ledger for good: a log whose state is not known takes no
// further entry. Restarting reads the log, which settles what it holds.
func (s *Server) fail(err error) {
	s.failOnce.Do(func() {
		s.failure = fmt.Errorf("%w: %w", ErrStopped, err)
		s.config.Logger.Error("the ledger stops", "error", err)
		close(s.failed)
	})
}

// Failed is closed when the ledger has stopped because it cannot go on; Err
// says why. The process should end and be started again.
func (s *Server) Failed() <-chan struct{} { return s.failed }

// Err returns why the ledger stopped, nil while it runs.
func (s *Server) Err() error {
	select {
	case <-s.failed:
		return s.failure
	default:
		return nil
	}
}

// begin counts a submission as active, unless the ledger stops.
func (s *Server) begin() error { return s.beginIn(s.slots) }

func (s *Server) beginIn(slots chan struct{}) error {
	s.stop.RLock()
	defer s.stop.RUnlock()
	if err := s.Err(); err != nil {
		return err
	}
	select {
	case <-s.draining:
		return ErrStopped
	default:
	}
	select {
	case slots <- struct{}{}:
		s.active.Add(1)
		return nil
	default:
		return errBusy
	}
}

func (s *Server) end() { s.endIn(s.slots) }

func (s *Server) endIn(slots chan struct{}) {
	<-slots
	s.active.Done()
}

// Drain refuses new entries from now on, and lets nobody wait for witnesses any
// longer: whoever waits is told where to ask for the proof. Reading goes on.
func (s *Server) Drain() {
	s.drainOnce.Do(func() {
		s.stop.Lock()
		defer s.stop.Unlock()
		close(s.draining)
	})
}

// Close drains, lets the entries at work end, waits until the witnesses have seen
// them or the context ends, and releases the directory. Entries that the
// witnesses have not seen are durable all the same.
func (s *Server) Close(ctx context.Context) (err error) {
	s.Drain()
	s.closeOnce.Do(func() {
		s.active.Wait()
		if err := s.refused.save(); err != nil {
			s.config.Logger.Error("the list of refusals cannot be written", "error", err)
		}
		if s.Err() == nil {
			if err := s.awaitWitnesses(ctx); err != nil {
				s.config.Logger.Warn("stopping before the witnesses have seen every entry; they will after the next start", "error", err)
			}
		}
		s.search.close()
		s.log.close()
		err = s.lock.Close()
	})
	return err
}
