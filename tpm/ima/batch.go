package ima

import "sync"

// The size of a batch: it stays in a processor's cache, and handing it over
// costs little beside hashing it.
const (
	batchRecords = 512
	batchBytes   = 128 << 10
	batchRoom    = 4 << 10 // a longer record may take memory of its own
)

// A batch is some records read ahead, for the banks to be replayed side by side.
type batch struct {
	n     int
	recs  [batchRecords]batchRecord
	bytes []byte // of the records
	end   error  // of Reader, after the records
	banks []bankBatch
	busy  sync.WaitGroup // until every bank has it
}

// A bankBatch is what came out in one bank.
type bankBatch struct {
	after [batchRecords][MaxDigest]byte // the register that a record names, after it
	err   error                         // of the first record whose stored digest is wrong
}

type batchRecord struct {
	Record
	violation bool
	input     []byte // what its digests are over
}

func newBatch(banks int) *batch {
	return &batch{bytes: make([]byte, 0, batchBytes), banks: make([]bankBatch, banks)}
}

// fill reads records until the batch is full or the list ends.
func (b *batch) fill(r *Reader) {
	r.buf = b.bytes
	for b.n = 0; b.n < batchRecords && cap(r.buf) >= batchRoom; b.n++ {
		rec := &b.recs[b.n]
		if b.end = r.next(&rec.Record); b.end != nil {
			return
		}
		rec.violation, rec.input = rec.Violation(), rec.hashInput()
		r.buf = r.buf[len(r.buf):] // the next one stands behind it
	}
}

// replayBatch extends the bank with a batch.
func (b *replayBank) replayBatch(batch *batch, out *bankBatch) {
	out.err = nil
	for i := range batch.recs[:batch.n] {
		rec := &batch.recs[i]
		if out.err = b.digest(&rec.Record, rec.violation, rec.input); out.err != nil {
			return
		}
		if Attestable(rec.PCR) {
			b.extend(int(rec.PCR))
			copy(out.after[i][:], b.value[rec.PCR][:b.size])
		}
	}
}

// A pipeline replays the banks of a Replayer side by side: the first one where
// it is called, each other in a goroutine of its own, which is one batch ahead.
// They share nothing but batches, which they only read.
type pipeline struct {
	pcrs    *Replayer
	in      []chan *batch // of all banks but the first
	workers sync.WaitGroup
}

func newPipeline(p *Replayer) *pipeline {
	l := &pipeline{pcrs: p}
	for i := 1; i < len(p.banks); i++ {
		in := make(chan *batch, 2) // as many as there are: send never waits
		l.in = append(l.in, in)
		l.workers.Go(func() {
			for b := range in {
				p.banks[i].replayBatch(b, &b.banks[i])
				b.busy.Done()
			}
		})
	}
	return l
}

// send lets the other banks begin with a batch.
func (l *pipeline) send(b *batch) {
	b.busy.Add(len(l.in))
	for _, in := range l.in {
		in <- b
	}
}

// finish returns when every bank has the batch. The error is that of
// Replayer.Extend for the first record that has one.
func (l *pipeline) finish(b *batch) error {
	l.pcrs.banks[0].replayBatch(b, &b.banks[0])
	b.busy.Wait()
	for i := range b.banks {
		if err := b.banks[i].err; err != nil {
			return err // only the list's own bank has one
		}
	}
	for i := range b.recs[:b.n] {
		rec := &b.recs[i]
		if err := l.pcrs.checkUnreplayed(&rec.Record, rec.violation, rec.input); err != nil {
			return err
		}
	}
	return nil
}

// stop ends the goroutines, and returns when they have ended: the batches are
// the reader's memory too.
func (l *pipeline) stop() {
	for _, in := range l.in {
		close(in)
	}
	l.workers.Wait()
}
