package witness

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Config is what a witness is made of.
type Config struct {
	Keys   []*Key           // its names and private keys; each cosigns every checkpoint
	Logs   []Log            // the logs it cosigns for; every other is unknown to it
	Dir    string           // its state, see the package comment; made if it does not exist
	Now    func() time.Time // clock of the cosignatures; nil for time.Now
	Logger *slog.Logger     // nil for none
}

// Witness cosigns the checkpoints of its logs. It is an http.Handler for its
// submission prefix, and is safe for concurrent use.
type Witness struct {
	keys   []*Key
	logs   map[string]*logState // by origin; not changed after New
	byHash map[string]*logState // the same, by the SHA-256 of the origin in lower-case hex
	state  *state
	now    func() time.Time
	logger *slog.Logger
	mux    *http.ServeMux
}

// logState is a log's keys and the lock of its state.
type logState struct {
	origin string
	keys   []note.Verifier
	mu     sync.Mutex // held from reading the log's state to having replaced it on disk
}

// New opens the state directory and checks what it holds of every log. It fails
// where the directory belongs to another key or is used by another process.
// Call Close to give the directory up.
func New(config Config) (*Witness, error) { return open(config, osDisk{}) }

func open(config Config, disk disk) (w *Witness, err error) {
	if len(config.Keys) == 0 || config.Dir == "" || len(config.Logs) == 0 {
		return nil, errors.New("a witness needs a key, a state directory and at least one log")
	}
	w = &Witness{keys: config.Keys, now: config.Now, logger: config.Logger, mux: http.NewServeMux()}
	if w.now == nil {
		w.now = time.Now
	}
	if w.logger == nil {
		w.logger = slog.New(slog.DiscardHandler)
	}
	if w.logs, err = mergeLogs(config.Logs); err != nil {
		return nil, err
	}
	w.byHash = make(map[string]*logState, len(w.logs))
	for origin, log := range w.logs {
		w.byHash[originHash(origin)] = log
	}
	if err := checkKeys(w.keys, w.logs); err != nil {
		return nil, err
	}
	if w.state, err = openState(config.Dir, vkeys(w.keys), disk); err != nil {
		return nil, err
	}
	for _, log := range w.logs {
		if _, err := w.latest(log); err != nil {
			return nil, errors.Join(err, w.Close())
		}
	}
	w.routes()
	return w, nil
}

// Close waits for the requests under way and gives the state directory up.
// Requests after it fail.
func (w *Witness) Close() error {
	// A request that is writing holds its log's lock; the next process must not start before it has ended.
	for _, log := range w.logs {
		log.mu.Lock()
		defer log.mu.Unlock()
	}
	return w.state.close()
}

// latest reads what the witness last cosigned of a log. The caller holds the
// log's lock, or is New.
//
// It reads the file each time: after a failed write nothing in memory can
// disagree with what the next start would find.
func (w *Witness) latest(log *logState) (latestCheckpoint, error) {
	raw, err := w.state.get(log.origin)
	if errors.Is(err, fs.ErrNotExist) {
		return latestCheckpoint{root: emptyRoot()}, nil
	}
	if err != nil {
		return latestCheckpoint{}, err
	}
	c, err := parseCheckpoint(raw)
	if err == nil && c.origin != log.origin {
		err = fmt.Errorf("it is of the log %s", c.origin)
	}
	var timestamp uint64
	if err == nil {
		timestamp, err = w.cosigned(c)
	}
	if err != nil {
		// Never repaired: to forget a checkpoint is to be able to cosign another history.
		return latestCheckpoint{}, fmt.Errorf("state of the log %s in %s is damaged: %w", log.origin, w.state.path(log.origin), err)
	}
	return latestCheckpoint{c.size, c.root, timestamp}, nil
}

// cosigned gives the time of the witness's own cosignatures on a checkpoint,
// which all keys have made at once.
func (w *Witness) cosigned(c *checkpoint) (uint64, error) {
	var timestamp uint64
	for _, k := range w.keys {
		t, found, err := k.cosigned(c)
		if err == nil && (!found || t == 0 || timestamp != 0 && t != timestamp) {
			err = fmt.Errorf("no cosignature of %s+%08x, or one of another time", k.name, k.keyID)
		}
		if err != nil {
			return 0, err
		}
		timestamp = t
	}
	return timestamp, nil
}
