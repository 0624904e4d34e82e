package witness

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

var errDisk = errors.New("input/output error")

// failingDisk fails at the step that the count reaches zero at, before or after
// the step has had its effect. It counts the syncs of files, too.
type failingDisk struct {
	osDisk
	err   error // nil for errDisk
	steps int
	after bool
	syncs int
}

func (d *failingDisk) do(step func() error) error {
	d.steps--
	if d.steps != 0 {
		return step()
	}
	if d.after {
		if err := step(); err != nil {
			return err
		}
	}
	if d.err != nil {
		return d.err
	}
	return errDisk
}

func (d *failingDisk) create(name string) (f diskFile, err error) {
	err = d.do(func() (err error) {
		f, err = d.osDisk.create(name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &failingFile{d, f}, nil
}

func (d *failingDisk) rename(from, to string) error {
	return d.do(func() error { return d.osDisk.rename(from, to) })
}

func (d *failingDisk) syncDir(dir string) error {
	return d.do(func() error { return d.osDisk.syncDir(dir) })
}

type failingFile struct {
	disk *failingDisk
	diskFile
}

func (f *failingFile) WriteAt(b []byte, offset int64) (n int, err error) {
	err = f.disk.do(func() error {
		if f.disk.steps == 0 && f.disk.after {
			b = b[:len(b)/2/sectorSize*sectorSize] // some of it is there
		}
		n, err = f.diskFile.WriteAt(b, offset)
		return err
	})
	return n, err
}

func (f *failingFile) Sync() error {
	f.disk.syncs++
	return f.disk.do(f.diskFile.Sync)
}

// Whichever step of persisting fails, no signature is let out, then or later, and
// the next process goes on from the old checkpoint or the new.
func TestNoAnswerBeforeItIsOnDisk(t *testing.T) {
	log := newTestLog(t, testOrigin)
	for step, name := range []string{"write", "sync"} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, after %v", name, after), func(t *testing.T) {
				c := testConfig(t, log)
				disk := &failingDisk{after: after}
				w, err := open(c, disk)
				if err != nil {
					t.Fatal(err)
				}
				want(t, w, 200, log.body(t, 0, 7))
				disk.steps = step + 1
				answer := want(t, w, 500, log.body(t, 7, 12))
				if strings.Contains(answer, errDisk.Error()) {
					t.Errorf("the client is told of the disk: %q", answer)
				}
				if disk.steps != 0 {
					t.Fatalf("the step was not reached: %d left", disk.steps)
				}
				if !errors.Is(w.Err(), errDisk) {
					t.Errorf("the operator is told %v", w.Err())
				}
				want(t, w, 500, log.body(t, 7, 12))
				want(t, w, 500, log.body(t, 7, 7))
				w.Close()
				w = start(t, c)
				size := uint64(7)
				if name == "sync" {
					size = 12
				}
				if got := want(t, w, 409, log.body(t, 1, 20)); got != fmt.Sprintf("%d\n", size) {
					t.Errorf("size after the failure %q, want %d", got, size)
				}
				want(t, w, 422, log.bodyOf(t, log.fork, size, 20))
				want(t, w, 200, log.body(t, size, 20))
			})
		}
	}
}

// Where the first start fails at any step, the next one begins anew; none that
// fails has answered.
func TestNewDirectoryThatFails(t *testing.T) {
	log := newTestLog(t, testOrigin)
	for step := 1; ; step++ {
		c := testConfig(t, log)
		w, err := open(c, &failingDisk{steps: step})
		if err == nil {
			w.Close()
			if step < 10 {
				t.Errorf("only %d steps", step)
			}
			break
		}
		if !errors.Is(err, errDisk) {
			t.Errorf("step %d: %v", step, err)
		}
		want(t, start(t, c), 200, log.body(t, 0, 7))
	}
}

// A later start that fails at any step has lost nothing.
func TestStartThatFails(t *testing.T) {
	log := newTestLog(t, testOrigin)
	for step := 1; ; step++ {
		c := testConfig(t, log)
		w := start(t, c)
		want(t, w, 200, log.body(t, 0, 7))
		w.Close()
		w, err := open(c, &failingDisk{steps: step, after: step%2 == 0})
		if err == nil {
			w.Close()
			if step < 5 {
				t.Errorf("only %d steps", step)
			}
			break
		}
		w = start(t, c)
		want(t, w, 409, log.body(t, 0, 7))
		want(t, w, 200, log.body(t, 7, 12))
	}
}

// On a full disk nothing is cosigned and nothing is lost; when there is room, it
// goes on by itself.
func TestDiskFull(t *testing.T) {
	log := newTestLog(t, testOrigin)
	c := testConfig(t, log)
	disk := &failingDisk{err: syscall.ENOSPC}
	w, err := open(c, disk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	want(t, w, 200, log.body(t, 0, 7))
	w.state.offset = w.state.size // full
	for range 3 {
		disk.steps = 2 // the new journal's first bytes
		want(t, w, 503, log.body(t, 7, 12))
	}
	disk.steps = 0
	want(t, w, 200, log.body(t, 7, 7))
	want(t, w, 200, log.body(t, 7, 12))
	w.Close()
	want(t, start(t, c), 200, log.body(t, 12, 20))
}

// A same-size refresh that changes nothing is not written.
func TestRefreshIsNotWritten(t *testing.T) {
	log := newTestLog(t, testOrigin)
	disk := &failingDisk{}
	w, err := open(testConfig(t, log), disk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	want(t, w, 200, log.body(t, 0, 7))
	before := disk.syncs
	for range 10 {
		want(t, w, 200, log.body(t, 7, 7))
	}
	if disk.syncs != before {
		t.Errorf("%d syncs for 10 refreshes", disk.syncs-before)
	}
	want(t, w, 200, log.body(t, 7, 12))
	if disk.syncs != before+1 {
		t.Errorf("%d syncs for an update", disk.syncs-before)
	}
}

// The journal is renewed over and over, and has everything.
func TestJournalIsRenewed(t *testing.T) {
	log, other := newTestLog(t, testOrigin), newTestLog(t, "log.example/other")
	c := testConfig(t, log, other)
	disk := &failingDisk{}
	w, err := open(c, disk)
	if err != nil {
		t.Fatal(err)
	}
	want(t, w, 200, other.body(t, 0, 9))
	for size := range uint64(treeSize - 1) {
		if size%5 == 0 {
			w.state.offset = w.state.size
		}
		want(t, w, 200, log.body(t, size, size+1))
	}
	w.Close()
	if names, err := filepath.Glob(filepath.Join(c.Dir, "*"+tempExt)); err != nil || len(names) > 0 {
		t.Errorf("left behind: %v, %v", names, err)
	}
	w = start(t, c)
	want(t, w, 200, log.body(t, treeSize-1, treeSize))
	want(t, w, 200, other.body(t, 9, 10))
}
