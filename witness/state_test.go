package witness

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRestartKeepsTheState(t *testing.T) {
	log := newTestLog(t, testOrigin)
	c := testConfig(t, log)
	w := start(t, c)
	want(t, w, 200, log.body(t, 0, 7))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want(t, w, 500, log.body(t, 7, 8)) // closed
	w = start(t, c)
	want(t, w, 422, log.bodyOf(t, log.fork, 7, 12))
	if got := want(t, w, 409, log.body(t, 0, 12)); got != "7\n" {
		t.Errorf("size after a restart: %q", got)
	}
	want(t, w, 200, log.body(t, 7, 12))
}

func TestDirectoryHasOneUserAndOneKey(t *testing.T) {
	log := newTestLog(t, testOrigin)
	c := testConfig(t, log)
	w := start(t, c)
	if _, err := New(c); err == nil || !strings.Contains(err.Error(), "another witness is using it") {
		t.Errorf("second witness on the directory: %v", err)
	}
	want(t, w, 200, log.body(t, 0, 7))
	w.Close()
	other := c
	other.Keys = []*Key{testKey(t, c.Keys[0].Name())}
	if _, err := New(other); err == nil || !strings.Contains(err.Error(), "belongs to the witness") {
		t.Errorf("another key on the directory: %v", err)
	}
	start(t, c) // neither refusal kept the lock
}

func TestDamagedStateIsRefused(t *testing.T) {
	log, other := newTestLog(t, testOrigin), newTestLog(t, "log.example/other")
	for name, damage := range map[string]func(dir, file string) error{
		"altered root": func(_, file string) error {
			return edit(file, func(s string) string { return strings.Replace(s, "\n7\n", "\n6\n", 1) })
		},
		"cut short": func(_, file string) error { return os.Truncate(file, 60) },
		"emptied":   func(_, file string) error { return os.Truncate(file, 0) },
		"no cosignature": func(_, file string) error {
			return edit(file, func(s string) string { return s[:strings.LastIndex(s, "—")] })
		},
		"logs removed":    func(dir, _ string) error { return os.RemoveAll(filepath.Join(dir, logsDir)) },
		"key file edited": func(dir, _ string) error { return os.WriteFile(filepath.Join(dir, keyFile), nil, 0o600) },
		"another log's": func(dir, file string) error {
			s := &state{dir: dir}
			return os.Rename(s.path(other.origin), file)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := testConfig(t, log, other)
			w := start(t, c)
			want(t, w, 200, log.body(t, 0, 7))
			want(t, w, 200, other.body(t, 0, 7))
			if err := damage(c.Dir, w.state.path(testOrigin)); err != nil {
				t.Fatal(err)
			}
			if name != "logs removed" && name != "key file edited" {
				want(t, w, 500, log.body(t, 7, 12)) // also while it runs
			}
			w.Close()
			if _, err := New(c); err == nil {
				t.Error("started with damaged state")
			}
		})
	}
}

func edit(file string, change func(string) string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	changed := change(string(old))
	if changed == string(old) {
		return errors.New("nothing changed")
	}
	return os.WriteFile(file, []byte(changed), 0o600)
}

var errDisk = errors.New("input/output error")

// failingDisk fails at the step that the count reaches zero at, before or after
// the step has had its effect.
type failingDisk struct {
	osDisk
	steps int
	after bool
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
	return errDisk
}

func (d *failingDisk) writeSync(name, content string) error {
	return d.do(func() error {
		if d.steps == 0 && d.after {
			// A full disk or a failed fsync: some of it is there.
			content = content[:len(content)/2]
		}
		return d.osDisk.writeSync(name, content)
	})
}

func (d *failingDisk) rename(from, to string) error {
	return d.do(func() error { return d.osDisk.rename(from, to) })
}

func (d *failingDisk) syncDir(dir string) error {
	return d.do(func() error { return d.osDisk.syncDir(dir) })
}

// Whichever step of persisting fails, no signature is let out, and the witness
// goes on from the old checkpoint or the new, in this process and in the next.
func TestNoAnswerBeforeItIsOnDisk(t *testing.T) {
	log := newTestLog(t, testOrigin)
	for step := 1; step <= 3; step++ {
		for _, after := range []bool{false, true} {
			for _, restart := range []bool{false, true} {
				t.Run(fmt.Sprintf("step %d, after %v, restart %v", step, after, restart), func(t *testing.T) {
					c := testConfig(t, log)
					disk := &failingDisk{after: after}
					w, err := open(c, disk)
					if err != nil {
						t.Fatal(err)
					}
					defer func() { w.Close() }()
					want(t, w, 200, log.body(t, 0, 7))
					disk.steps = step
					answer := want(t, w, 500, log.body(t, 7, 12))
					if strings.Contains(answer, errDisk.Error()) {
						t.Errorf("the client is told of the disk: %q", answer)
					}
					if disk.steps != 0 {
						t.Fatalf("the step was not reached: %d left", disk.steps)
					}
					if restart {
						w.Close()
						w = start(t, c)
					}
					size := uint64(7)
					if step == 3 || step == 2 && after {
						size = 12 // renamed
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
}

// Nothing is answered with a signature where the new directory cannot be made durable.
func TestNewDirectoryThatFails(t *testing.T) {
	log := newTestLog(t, testOrigin)
	for step := 1; step <= 4; step++ {
		c := testConfig(t, log)
		if _, err := open(c, &failingDisk{steps: step}); !errors.Is(err, errDisk) {
			t.Errorf("step %d: %v", step, err)
		}
		want(t, start(t, c), 200, log.body(t, 0, 7))
	}
}

// Of two updates from one old size to different trees, one wins and the other
// is told so: whichever comes second is a conflict.
func TestConcurrentUpdates(t *testing.T) {
	log := newTestLog(t, testOrigin)
	w := start(t, testConfig(t, log))
	old := uint64(0)
	const rivals = 4
	for round := range uint64(30) {
		var wins, conflicts int
		var won uint64
		var mu sync.Mutex
		var group sync.WaitGroup
		gate := make(chan struct{})
		for i := range uint64(rivals) {
			size := old + 1
			if round%2 == 0 {
				size += i % 2 // an update of another size, else the same twice: a refresh
			}
			body := log.body(t, old, min(size, treeSize))
			group.Go(func() {
				<-gate
				response := post(w, body)
				mu.Lock()
				defer mu.Unlock()
				switch response.Code {
				case http.StatusOK:
					wins++
					won = min(size, treeSize)
				case http.StatusConflict:
					conflicts++
				default:
					t.Errorf("got %d %q", response.Code, response.Body)
				}
			})
		}
		close(gate)
		group.Wait()
		if wins != 1 || conflicts != rivals-1 {
			t.Fatalf("round %d from %d: %d won and %d were told of a conflict, want 1 and %d", round, old, wins, conflicts, rivals-1)
		}
		old = won
		if old+2 > treeSize {
			break
		}
	}
}

// A cosignature says that the tree was the largest as of its time, so that the
// times of one log's may not go back; other logs are not concerned.
func TestClock(t *testing.T) {
	log, other := newTestLog(t, testOrigin), newTestLog(t, "log.example/other")
	c := testConfig(t, log, other)
	now := testTime
	c.Now = func() time.Time { return now }
	w := start(t, c)
	want(t, w, 200, log.body(t, 0, 7))
	now = testTime.Add(-time.Second)
	want(t, w, 503, log.body(t, 7, 12))
	want(t, w, 503, log.body(t, 7, 7))
	want(t, w, 200, other.body(t, 0, 7))
	now = testTime.Add(time.Second)
	want(t, w, 200, log.body(t, 7, 12))
	for _, bad := range []int64{0, -1} {
		now = time.Unix(bad, 0)
		c := testConfig(t, log)
		c.Now = func() time.Time { return now }
		want(t, start(t, c), 503, log.body(t, 0, 7))
	}
}
