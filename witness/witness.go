package witness

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is what a witness is made of.
type Config struct {
	Keys []*Key // its names and private keys; each cosigns every checkpoint
	Logs []Log  // the logs it cosigns for; every other is unknown to it. SetLogs changes them
	Dir  string // its state, see the package comment; made if it does not exist
	// Fence is a file apart from Dir, best beside the key, that tells an old copy of
	// Dir from the newest; empty for Dir with ".fence" after it. Made with Dir.
	Fence string
	// Expect says what must be there at the start.
	Expect Expectation
	Now    func() time.Time // clock of the cosignatures; nil for time.Now
	Logger *slog.Logger     // nil for none
	// Metrics is where they are registered; nil for nowhere.
	Metrics prometheus.Registerer
	// OnEquivocation is called with each new file of evidence that a log signed two
	// histories; nil for nothing. Close waits for it.
	OnEquivocation func(file string)
}

// An Expectation is what the operator knows of a key's past. Of an old key whose
// state and fence are both gone nothing tells that it is old, but he.
type Expectation int

// Expectations.
const (
	ExpectAny  Expectation = iota // a state is made where there is neither a state nor a used fence
	ExpectUsed                    // the key may have signed: without a state the witness does not start
	ExpectNew                     // the key has never signed: with a state or a used fence the witness does not start
)

// Witness cosigns the checkpoints of its logs. It is an http.Handler for its
// submission and its monitoring prefix, and is safe for concurrent use.
type Witness struct {
	keys   []*Key
	state  *state
	now    func() time.Time
	floor  uint64 // seconds since 1970; nothing is cosigned before this time
	logger *slog.Logger
	mux    *http.ServeMux

	metrics        *metrics
	onEquivocation func(file string)

	done  chan struct{} // closed with the witness
	once  sync.Once     // closes it
	ended sync.WaitGroup

	mu     sync.RWMutex
	logs   map[string]*logState // by origin: those to cosign for, and all that ever were
	byHash map[string]*logState // the same, by originHash
}

// logState is a log.
type logState struct {
	origin   string
	hash     string              // of the origin, see originHash
	log      atomic.Pointer[Log] // nil for one that is not cosigned for any more
	limits   atomic.Pointer[limits]
	verified atomic.Pointer[verified] // of the last request

	mu     sync.Mutex // held from reading what follows until it is replaced, and on disk
	latest latestCheckpoint
	raw    string // the checkpoint that was cosigned last, with the log's signatures and ours; empty for none
}

// New opens the state directory and checks what it holds of every log. It fails
// where the directory belongs to another key, is used by another process, is
// damaged, or is older than what the key last signed.
// Call Close to give the directory up.
func New(config Config) (*Witness, error) { return open(config, osDisk{}) }

func open(config Config, disk disk) (w *Witness, err error) {
	if len(config.Keys) == 0 || config.Dir == "" {
		return nil, errors.New("a witness needs a key and a state directory")
	}
	w = &Witness{keys: config.Keys, now: config.Now, logger: config.Logger, mux: http.NewServeMux(), done: make(chan struct{}), onEquivocation: config.OnEquivocation,
		logs: make(map[string]*logState), byHash: make(map[string]*logState)}
	if w.now == nil {
		w.now = time.Now
	}
	if w.logger == nil {
		w.logger = slog.New(slog.DiscardHandler)
	}
	// Before the state, which a mistake here must not make.
	if err := checkKeys(w.keys); err != nil {
		return nil, err
	}
	if err := w.SetLogs(config.Logs); err != nil {
		return nil, err
	}
	fence := config.Fence
	if fence == "" {
		fence = filepath.Clean(config.Dir) + fenceExt
	}
	var records map[string]string
	if w.state, records, err = openState(config.Dir, fence, vkeys(w.keys), config.Expect, disk); err != nil {
		return nil, err
	}
	w.floor = w.state.fence.time()
	for origin, raw := range records {
		if err := w.remember(origin, raw); err != nil {
			return nil, errors.Join(fmt.Errorf("state of the log %s in %s: %w", origin, config.Dir, err), w.state.close())
		}
	}
	if w.metrics, err = newMetrics(w, config.Metrics); err != nil {
		return nil, errors.Join(fmt.Errorf("register metrics: %w", err), w.state.close())
	}
	w.ended.Go(func() { w.state.keepFence(w.done) })
	w.routes()
	return w, nil
}

// remember takes up a checkpoint that was cosigned before the start.
func (w *Witness) remember(origin, raw string) error {
	c, err := parseCheckpoint(raw)
	if err != nil {
		return fmt.Errorf("damaged: %w", err)
	}
	log := w.logState(origin)
	log.latest, log.raw = latestCheckpoint{size: c.size, root: c.root}, raw
	// The journal's chain has vouched for each byte; what is wanted is the time. Keys
	// that are out of use count too: a log may have been silent since.
	if log.latest.time = c.cosignedAt(w.state.owner); log.latest.time == 0 {
		return errors.New("no cosignature of this witness")
	}
	return nil
}

// Close waits for the requests under way and gives the state directory up.
// Requests after it fail.
func (w *Witness) Close() error {
	var err error
	w.once.Do(func() {
		close(w.done)
		w.ended.Wait()
		err = w.state.close()
	})
	return err
}

// Err gives why the witness cosigns nothing any more, nil while it does. After an
// error of the disk it must be started again; after errRolledBack, never.
func (w *Witness) Err() error { return w.state.failure() }
