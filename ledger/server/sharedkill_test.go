package server

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/server/s3mysql"
	"github.com/imaledger/imaledger/ledger/server/s3mysql/s3mysqltest"
)

// A frontEnd is a process that is started again whenever it ends, as a service
// manager does.
type frontEnd struct {
	spec   childSpec
	starts atomic.Int64

	mu     sync.Mutex
	cmd    *exec.Cmd
	ended  bool
	exited sync.WaitGroup
}

func (f *frontEnd) run(t testing.TB) {
	t.Helper()
	encoded, err := json.Marshal(f.spec)
	if err != nil {
		t.Fatal(err)
	}
	f.exited.Go(func() {
		for {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(append(os.Environ(), s3mysqltest.Env()...), childEnv+"="+string(encoded))
			cmd.Stderr = testWriter{t}
			f.mu.Lock()
			if f.ended {
				f.mu.Unlock()
				return
			}
			err := cmd.Start()
			f.cmd = cmd
			f.mu.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
			f.starts.Add(1)
			cmd.Wait()
			time.Sleep(200 * time.Millisecond)
		}
	})
	t.Cleanup(f.end)
}

// kill sends SIGKILL; run starts it again.
func (f *frontEnd) kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cmd != nil && f.cmd.Process != nil {
		f.cmd.Process.Kill()
	}
}

func (f *frontEnd) end() {
	f.mu.Lock()
	f.ended = true
	f.mu.Unlock()
	f.kill()
	f.exited.Wait()
}

// balance spreads requests over front ends, without looking whether they are there.
func balance(t testing.TB, list []*frontEnd) (address string) {
	t.Helper()
	var next atomic.Int64
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: list[int(next.Add(1))%len(list)].spec.Address})
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	})
	t.Cleanup(proxy.Close)
	return proxy.URL
}

// newFrontEnds makes n front ends of one new ledger.
func newFrontEnds(t *testing.T, store s3mysql.Config, n int) (*childLedger, []*frontEnd) {
	t.Helper()
	c := newChildLedger(t)
	list := make([]*frontEnd, n)
	for i := range list {
		spec := c.spec
		// Keys of AWS are not JSON, and come in the environment.
		shared := store
		shared.AWS = nil
		spec.Store, spec.Address, spec.Dir = &shared, freeAddress(t), filepath.Join(t.TempDir(), "front")
		list[i] = &frontEnd{spec: spec}
	}
	c.patience = 4 * SharedCheckpointInterval
	c.testLedger.Client = &client.Client{Base: balance(t, list)}
	return c, list
}

// TestKillShared: two front ends are killed at random moments under load, and so are
// the database and the object store. Nothing that was acknowledged is lost or
// doubled, no chain forks, every proof stays true, and no restart needs a hand.
func TestKillShared(t *testing.T) {
	kills, hosts := 8, 6
	if soak {
		kills, hosts = 200, 50
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	servers := s3mysqltest.Start(t)
	store := servers.Config(t)
	c, fronts := newFrontEnds(t, store, 2)
	for _, f := range fronts {
		f.run(t)
	}
	w := startLoad(t, c.testLedger, hosts)
	for w.acks() == 0 && !t.Failed() {
		time.Sleep(50 * time.Millisecond)
	}
	killed := make(map[string]int)
	for i := range kills {
		time.Sleep(time.Duration(300+random.IntN(1500)) * time.Millisecond)
		away := time.Duration(random.IntN(1500)) * time.Millisecond
		// Each of the four has its turn in the short form too.
		switch what := []string{"front end", "database", "gateway", "front end"}[i%4]; what {
		case "database":
			killed[what]++
			servers.KillDatabase()
			time.Sleep(away)
			servers.StartDatabase(t)
		case "gateway":
			killed[what]++
			servers.KillGateway()
			time.Sleep(away)
			servers.StartGateway(t)
		default:
			killed[what]++
			fronts[random.IntN(len(fronts))].kill()
		}
	}
	before := w.acks()
	deadline := time.Now().Add(time.Minute)
	for w.acks() < before+int64(hosts) && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	if w.acks() == before {
		t.Error("nothing was acknowledged after the last kill")
	}
	w.end()
	for _, f := range fronts {
		f.end()
	}
	c.config.Dir, c.config.Storage, c.config.PublicUploads = filepath.Join(t.TempDir(), "check"), shared(t, store), true
	if acked := w.check(t, c.config); acked < 4*hosts {
		t.Fatalf("only %d entries were acknowledged: the test has tested nothing", acked)
	}
	auditShared(t, store, c.config.Trust)
	t.Logf("killed %v; the front ends were started %d and %d times; %d answers of 5xx", killed, fronts[0].starts.Load(), fronts[1].starts.Load(), w.faults())
}
