package witness

import (
	"encoding/binary"
	"net/http"
	"sync"
	"testing"
)

// quickDisk does not wait for the disk.
type quickDisk struct{ osDisk }

func (d quickDisk) create(name string) (diskFile, error) {
	f, err := d.osDisk.create(name)
	return quickFile{f}, err
}

type quickFile struct{ diskFile }

func (quickFile) Sync() error { return nil }

// Of two updates from one old size to different trees, one wins and the other
// is told so: whichever comes second is a conflict.
func TestConcurrentUpdates(t *testing.T) {
	log := newTestLog(t, testOrigin)
	w, err := open(testConfig(t, log), quickDisk{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	const rounds, rivals = 10_000, 4
	for i := treeSize; i < 2*rounds; i++ {
		log.tree.AppendData(binary.BigEndian.AppendUint32(nil, uint32(i)))
	}
	old := uint64(0)
	for round := range uint64(rounds) {
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
			body := log.body(t, old, size)
			group.Go(func() {
				<-gate
				response := post(w, body)
				mu.Lock()
				defer mu.Unlock()
				switch response.Code {
				case http.StatusOK:
					wins++
					won = size
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
	}
}
