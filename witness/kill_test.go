package witness

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// childEnv makes the test's program a witness that another kills.
const childEnv = "IMALEDGER_WITNESS_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		fmt.Fprintln(os.Stderr, child(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// child serves a witness whose key is in dir/secret and whose logs are in
// dir/logs, and prints its address.
func child(dir string) error {
	secret, err := os.ReadFile(dir + "/secret")
	if err != nil {
		return err
	}
	key, err := ParseKey(string(secret))
	if err != nil {
		return err
	}
	c := Config{Keys: []*Key{key}, Dir: dir + "/state"}
	vkeys, err := os.ReadFile(dir + "/logs")
	if err != nil {
		return err
	}
	for vkey := range strings.Lines(string(vkeys)) {
		log, err := ParseLog(strings.TrimSpace(vkey))
		if err != nil {
			return err
		}
		c.Logs = append(c.Logs, log)
	}
	w, err := New(c)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", listener.Addr())
	return http.Serve(listener, w)
}

// killTreeSize is more than a log grows by in the test.
const killTreeSize = 30_000

// A killLog is a log whose one client notes each answer it gets.
type killLog struct {
	*testLog
	size     uint64            // of the last checkpoint that was cosigned
	cosigned map[uint64]string // root by size
	answers  int
	told     *atomic.Int64 // answers of all logs
}

// talk updates the log, and tries to have other trees cosigned, until a request
// fails because the witness is gone.
func (l *killLog) talk(client *http.Client, url string, random *rand.Rand) error {
	old := l.size
	for {
		tree, from, to := l.tree, old, min(old+1+random.Uint64N(3), killTreeSize)
		switch n := random.IntN(8); {
		case n == 0:
			to = from // a refresh
		case n == 1 && old > forkAt:
			tree = l.fork // another history
		case n == 2:
			from = random.Uint64N(old + 1) // an earlier tree's successor
			to = min(from+1, killTreeSize)
		}
		body := "old " + fmtUint(from) + "\n" + l.proof(tree, from, to) + "\n" + l.signed(tree, to)
		answer, err := client.Post(url+"/add-checkpoint", "", strings.NewReader(body))
		if err != nil {
			return nil
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			return nil
		}
		switch answer.StatusCode {
		case http.StatusOK:
			l.answers++
			l.told.Add(1)
			root := base64.StdEncoding.EncodeToString(tree.HashAt(to))
			if to < l.size {
				return fmt.Errorf("%s: size %d cosigned after %d", l.origin, to, l.size)
			}
			if other, ok := l.cosigned[to]; ok && other != root {
				return fmt.Errorf("%s: two roots cosigned for size %d", l.origin, to)
			}
			if to > forkAt && tree == l.fork {
				return fmt.Errorf("%s: the fork was cosigned at size %d", l.origin, to)
			}
			l.cosigned[to], l.size, old = root, to, to
		case http.StatusConflict:
			// What was being written when the witness was killed may be there.
			if old, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err != nil || old < l.size {
				return fmt.Errorf("%s: the witness says %q after it cosigned %d", l.origin, text, l.size)
			}
		case http.StatusUnprocessableEntity:
			if tree == l.tree && from == old {
				return fmt.Errorf("%s: honest update from %d to %d refused: %s", l.origin, from, to, text)
			}
		default:
			return fmt.Errorf("%s: %d %s", l.origin, answer.StatusCode, text)
		}
	}
}

// A witness that is killed at random moments, while it starts and while 100 logs
// update at once, never has two roots for one size, nor a smaller size after a
// larger one, in any answer that a client got. IMALEDGER_SOAK=1 for 200 kills.
func TestKill(t *testing.T) {
	kills, logs := 6, 100
	if os.Getenv("IMALEDGER_SOAK") != "" {
		kills = 200
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	write(t, dir+"/secret", []byte(testKey(t, "witness.example/w1").Secret()))
	var vkeys strings.Builder
	shared := newTestLog(t, testOrigin)
	for i := treeSize; i < killTreeSize; i++ {
		shared.tree.AppendData([]byte(fmt.Sprint("leaf ", i)))
		shared.fork.AppendData([]byte(fmt.Sprint("fork ", i)))
	}
	var told atomic.Int64
	all := make([]*killLog, logs)
	for i := range all {
		all[i] = &killLog{testLog: newTestLog(t, fmt.Sprintf("log.example/%d", i)), cosigned: make(map[uint64]string), told: &told}
		all[i].tree, all[i].fork = shared.tree, shared.fork
		vkeys.WriteString(all[i].vkey + "\n")
	}
	write(t, dir+"/logs", []byte(vkeys.String()))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: logs}}
	early := 0
	for kill := range kills {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+dir)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		after := time.Duration(random.Int64N(int64(300 * time.Millisecond)))
		if kill%4 == 3 {
			// While it starts, or soon after.
			after /= 10
			time.Sleep(after)
			early++
		} else {
			lines := bufio.NewScanner(stdout)
			if !lines.Scan() {
				cmd.Wait()
				t.Fatalf("kill %d: did not start again: %s", kill, &stderr)
			}
			url := lines.Text()
			var group sync.WaitGroup
			for _, l := range all {
				r := rand.New(rand.NewPCG(random.Uint64(), 0))
				group.Go(func() {
					if err := l.talk(client, url, r); err != nil {
						t.Error(err)
					}
				})
			}
			// After so many answers and some moments more: a time alone would be over
			// before the first answer on a busy machine.
			enough := told.Load() + random.Int64N(20*int64(logs))
			for end := time.Now().Add(time.Minute); told.Load() < enough && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(after / 10)
			cmd.Process.Kill()
			group.Wait()
		}
		cmd.Process.Kill()
		cmd.Wait()
		client.CloseIdleConnections()
		if t.Failed() {
			t.Fatalf("kill %d", kill)
		}
	}
	answers, grown := 0, 0
	for _, l := range all {
		if l.size == killTreeSize {
			t.Fatal("the tree is too small for this test")
		}
		answers += l.answers
		if l.size > 0 {
			grown++
		}
	}
	t.Logf("%d kills, %d of them while it started; %d cosignatures of %d logs", kills, early, answers, grown)
	if grown < logs/2 {
		t.Errorf("only %d logs were cosigned", grown)
	}
}
