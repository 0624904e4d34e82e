package witness

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"sync"
	"time"
)

// Room in a new journal beyond what it begins with, in bytes. Journals that fill
// soon are followed by larger ones.
const (
	minRoom = 2 * maxBatch
	maxRoom = 16 << 20
)

// gather is how long a batch waits for more where the one before had several:
// about as long as a disk takes to sync. Under load that is many fewer syncs, each
// of which keeps a processor from the requests; a log alone never waits.
const gather = time.Millisecond

// A committer makes checkpoints durable, those of all logs that wait at once with
// one sync: the disk's latency is shared, and bounds no log's number of others.
type committer struct {
	state   *state
	written chan struct{} // closed when the writer has ended

	mu      sync.Mutex
	wake    *sync.Cond
	waiting []*commit
	closed  bool
	failed  error    // why nothing can be made durable any more; nothing is signed after it
	at      position // durable
	time    uint64   // of the latest cosignature that may have been given out

	// The writer's own.
	file    diskFile
	offset  int64
	size    int64
	room    int64
	records map[string]string // the newest of each log that is durable
}

// A commit is a checkpoint that waits to be durable.
type commit struct {
	origin, record string
	time           uint64 // of our cosignature
	err            error
	done           chan struct{}
}

// newCommitter writes a journal with the records and begins to take more.
func newCommitter(s *state, records map[string]string, at position) (*committer, error) {
	c := &committer{state: s, at: at, records: make(map[string]string, len(records)), room: minRoom, written: make(chan struct{})}
	for origin, record := range records {
		c.records[origin] = record
	}
	c.wake = sync.NewCond(&c.mu)
	if _, err := c.renew(); err != nil {
		return nil, err
	}
	go c.write()
	return c, nil
}

// put makes a log's checkpoint durable: when it returns nil, it outlives a crash
// of the machine.
func (c *committer) put(origin, record string, time uint64) error {
	w := &commit{origin: origin, record: record, time: time, done: make(chan struct{})}
	c.mu.Lock()
	if err := c.usable(); err != nil {
		c.mu.Unlock()
		return err
	}
	c.waiting = append(c.waiting, w)
	c.mu.Unlock()
	c.wake.Signal()
	<-w.done
	return w.err
}

// touch notes the time of a cosignature that needs no writing of its own.
func (c *committer) touch(time uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.usable(); err != nil {
		return err
	}
	c.time = max(c.time, time)
	return nil
}

// usable says why the committer cannot be used. The caller holds the lock.
func (c *committer) usable() error {
	if c.failed != nil {
		return c.failed
	}
	if c.closed {
		return errClosed
	}
	return nil
}

// fail makes the witness sign nothing any more.
func (c *committer) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = err
	}
}

// failure gives why nothing is signed any more, nil where that is not so.
func (c *committer) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// durable gives how far the journal has come on disk, and the latest time of a
// cosignature.
func (c *committer) durable() (position, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at, c.time
}

// write is the writer: it takes what waits, until the committer is closed.
func (c *committer) write() {
	defer close(c.written)
	crowded := false
	for {
		c.mu.Lock()
		for len(c.waiting) == 0 && !c.closed {
			c.wake.Wait()
		}
		if crowded && !c.closed {
			c.mu.Unlock()
			time.Sleep(gather)
			c.mu.Lock()
		}
		batch, err := c.take(), c.failed
		c.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		crowded = len(batch) > 1
		if err == nil {
			err = c.persist(batch)
		}
		for _, w := range batch {
			w.err = err
			close(w.done)
		}
	}
}

// take takes as many waiting commits as fit into a batch. The caller holds the lock.
func (c *committer) take() []*commit {
	n, size := 0, 0
	for n < len(c.waiting) && (n == 0 || size+recordHeader+len(c.waiting[n].record) <= maxBatch) {
		size += recordHeader + len(c.waiting[n].record)
		n++
	}
	batch := c.waiting[:n:n]
	c.waiting = c.waiting[n:]
	return batch
}

// persist appends a batch to the journal and syncs it.
//
// After a failure here the disk may have the batch or not, and the kernel may
// not tell again: nothing more is written, and the next start reads what is
// there. Either is safe, since no cosignature of the batch was given out.
func (c *committer) persist(batch []*commit) error {
	records := make([]string, len(batch))
	latest := uint64(0)
	for i, w := range batch {
		records[i], latest = w.record, max(latest, w.time)
	}
	// The writer alone changes the position.
	b, next := appendBatch(nil, c.at, records)
	if c.offset+int64(len(b)) > c.size {
		// The old journal is whole until the new one has its name.
		if again, err := c.renew(); err != nil {
			if again {
				return fmt.Errorf("%w: %w", errUnavailable, err)
			}
			c.fail(err)
			return err
		}
		b, next = appendBatch(nil, c.at, records)
	}
	_, err := c.file.WriteAt(b, c.offset)
	if err == nil {
		err = c.file.Sync()
	}
	if err != nil {
		err = fmt.Errorf("write the journal in %s: %w; nothing is cosigned until the witness is started again", c.state.dir, err)
		c.fail(err)
		return err
	}
	c.offset += int64(len(b))
	for _, w := range batch {
		c.records[w.origin] = w.record
	}
	c.mu.Lock()
	c.at, c.time = next, max(c.time, latest)
	c.mu.Unlock()
	return nil
}

// renew writes a new journal, with the newest checkpoint of each log and room
// for more, in place of the old one. again says that after an error the old one
// is still good, and that it may be tried again: on a full disk, say.
func (c *committer) renew() (again bool, err error) {
	w := journalWriter{header: journalHeader{id: c.state.id, position: position{c.at.sequence, randomHash()}}, room: c.room}
	f, renamed, err := writeWhole(c.state.disk, filepath.Join(c.state.dir, journalFile), func(f diskFile) error {
		return w.write(f, maps.Values(c.records))
	})
	if err != nil {
		return !renamed, fmt.Errorf("write a new journal in %s: %w", c.state.dir, err)
	}
	if c.file != nil {
		err = c.file.Close()
	}
	c.file, c.offset, c.size, c.room = f, w.offset, w.header.size, min(2*c.room, maxRoom)
	c.mu.Lock()
	c.at = w.at
	c.mu.Unlock()
	return false, err
}

// close ends the writer, once what waits is written.
func (c *committer) close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return errClosed
	}
	c.closed = true
	c.mu.Unlock()
	c.wake.Signal()
	<-c.written
	return errors.Join(c.failure(), c.file.Close())
}
