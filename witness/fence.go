package witness

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// fenceFormat is the first line of a fence.
const fenceFormat = "imaledger-witness/fence/v1"

// adoptFence is what an operator writes into a fence that was lost: the state
// beside it is believed to be the newest there is.
const adoptFence = "adopt"

// NewFence is what whoever makes a key writes into the file of its fence: the key
// has never signed. The first start makes a fence of it.
const NewFence = "new"

// A fence is a small file apart from the state directory, beside the key, that
// says how far the state had come: a state that is behind it is a copy of an
// older day, and one that is not there was lost. It is one sector, written in
// place, and locked: a copy of the state cannot be used beside the state.
//
// It is written when the witness starts, each second in which something was
// cosigned, and when it ends. It may be behind the state, and never before it.
type fence struct {
	name string
	f    *os.File
	new  bool // whether it said NewFence
	mu   sync.Mutex
	last fenceMark // as it is on disk
}

// fenceInterval is how far the fence may be behind.
const fenceInterval = time.Second

// A fenceMark is what a fence says.
type fenceMark struct {
	id       string // of the state
	position        // sequence 0: the state has never signed
	time     uint64 // of the latest cosignature, in seconds since 1970
}

// openFence opens and locks a fence, which is made if there is none. found says
// whether it says something; adopt, that the operator vouches for the state.
func openFence(name string) (f *fence, found, adopt bool, err error) {
	file, err := lock(name)
	if err != nil {
		return nil, false, false, err
	}
	f = &fence{name: name, f: file}
	b, err := io.ReadAll(io.LimitReader(file, 2*sectorSize))
	switch {
	case err != nil:
	case len(b) == 0:
		return f, false, false, nil
	case string(bytes.TrimSpace(b)) == adoptFence:
		return f, false, true, nil
	case string(bytes.TrimSpace(b)) == NewFence:
		f.new = true
		return f, false, false, nil
	default:
		f.last, err = parseFence(b)
	}
	if err != nil {
		return nil, false, false, errors.Join(fmt.Errorf("fence %s: %w", name, err), file.Close())
	}
	return f, true, false, nil
}

func parseFence(b []byte) (m fenceMark, err error) {
	if len(b) != sectorSize {
		return m, fmt.Errorf("it has %d bytes, want %d: damaged", len(b), sectorSize)
	}
	text, err := openSector(b)
	if err != nil {
		return m, err
	}
	var chain string
	if _, err := fmt.Sscanf(text, fenceFormat+"\nstate %s\nat %d %s\ntime %d\n", &m.id, &m.sequence, &chain, &m.time); err != nil {
		return m, fmt.Errorf("not of the format %s", fenceFormat)
	}
	raw, err := hex.DecodeString(chain)
	if err != nil || len(raw) != hashSize {
		return m, errors.New("no chain hash")
	}
	m.chain = hash(raw)
	return m, nil
}

func (m fenceMark) marshal() []byte {
	return sealSector(fmt.Sprintf("%s\nstate %s\nat %d %x\ntime %d\n", fenceFormat, m.id, m.sequence, m.chain, m.time))
}

// write makes the fence say m. A position is written when it is durable in the
// state, never before: else a crash would make the state look old.
func (f *fence) write(m fenceMark) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m == f.last {
		return nil
	}
	_, err := f.f.WriteAt(m.marshal(), 0)
	if err == nil {
		err = f.f.Truncate(sectorSize)
	}
	if err == nil {
		err = f.f.Sync()
	}
	if err != nil {
		return fmt.Errorf("write the fence %s: %w", f.name, err)
	}
	f.last = m
	return nil
}

func (f *fence) close() error { return f.f.Close() } // which drops the lock

// keepFence keeps the fence near to the state until done is closed.
func (s *state) keepFence(done <-chan struct{}) {
	tick := time.NewTicker(fenceInterval)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		if err := s.mark(); err != nil {
			s.fail(err)
		}
	}
}

// time gives the latest time of a cosignature that the fence knows of.
func (f *fence) time() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last.time
}
