//go:build figures

package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/merkle/testonly"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/witness"
)

const (
	figureLogs   = 64
	figureSizes  = 2500
	figureTime   = 6 * time.Second
	bareChildEnv = "IMALEDGER_WITNESS_BARE"
)

// A figureLog is a log whose requests were made before the clock starts.
type figureLog struct {
	vkey   string
	bodies []string // of sizes 1, 2, 3 and so on
	again  string   // a refresh of size 1
}

func figureLogsOf(t *testing.T, n, sizes int) []*figureLog {
	t.Helper()
	tree := testonly.New(rfc6962.DefaultHasher)
	for i := range sizes {
		tree.AppendData(fmt.Append(nil, i))
	}
	proofs, roots := make([]string, sizes+1), make([]string, sizes+1)
	for size := 1; size <= sizes; size++ {
		roots[size] = base64.StdEncoding.EncodeToString(tree.HashAt(uint64(size)))
		if size > 1 {
			proof, err := tree.ConsistencyProof(uint64(size-1), uint64(size))
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range proof {
				proofs[size] += base64.StdEncoding.EncodeToString(h) + "\n"
			}
		}
	}
	logs := make([]*figureLog, n)
	var group sync.WaitGroup
	for i := range logs {
		group.Go(func() {
			name := fmt.Sprintf("log.example/%d", i)
			skey, vkey, err := note.GenerateKey(rand.Reader, name)
			if err != nil {
				panic(err)
			}
			signer, err := note.NewSigner(skey)
			if err != nil {
				panic(err)
			}
			l := &figureLog{vkey: vkey}
			for size := 1; size <= sizes; size++ {
				signed, err := note.Sign(&note.Note{Text: fmt.Sprintf("%s\n%d\n%s\n", name, size, roots[size])}, signer)
				if err != nil {
					panic(err)
				}
				l.bodies = append(l.bodies, fmt.Sprintf("old %d\n%s\n%s", size-1, proofs[size], signed))
				if size == 1 {
					l.again = fmt.Sprintf("old 1\n\n%s", signed)
				}
			}
			logs[i] = l
		})
	}
	group.Wait()
	return logs
}

// A figure is what a load gave.
type figure struct {
	persecond float64
	p50, p99  time.Duration
}

func (f figure) String() string {
	return fmt.Sprintf("%6.0f/s, p50 %v, p99 %v", f.persecond, f.p50.Round(10*time.Microsecond), f.p99.Round(10*time.Microsecond))
}

// grow lets all logs grow at once, each over a connection of its own, one request
// after another.
func grow(t *testing.T, url string, logs []*figureLog, limit time.Duration) figure {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: len(logs)}}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var all []time.Duration
	var group sync.WaitGroup
	begin := time.Now()
	for _, l := range logs {
		group.Go(func() {
			var took []time.Duration
			for _, body := range l.bodies {
				at := time.Now()
				if at.Sub(begin) > limit {
					break
				}
				if err := ask(client, url, body); err != nil {
					t.Error(err)
					return
				}
				took = append(took, time.Since(at))
			}
			if len(took) == len(l.bodies) {
				t.Error("more sizes are needed")
			}
			mu.Lock()
			all = append(all, took...)
			mu.Unlock()
		})
	}
	group.Wait()
	return figureOf(all, time.Since(begin))
}

func refresh(t *testing.T, url string, l *figureLog, limit time.Duration) figure {
	t.Helper()
	client := new(http.Client)
	defer client.CloseIdleConnections()
	ask(client, url, l.bodies[0])
	var took []time.Duration
	begin := time.Now()
	for time.Since(begin) < limit {
		at := time.Now()
		if err := ask(client, url, l.again); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(at))
	}
	return figureOf(took, time.Since(begin))
}

func figureOf(all []time.Duration, over time.Duration) figure {
	slices.Sort(all)
	return figure{float64(len(all)) / over.Seconds(), all[len(all)/2], all[len(all)*99/100]}
}

func ask(client *http.Client, url, body string) error {
	answer, err := client.Post(url+"add-checkpoint", "", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", answer.Status, text)
	}
	return err
}

// startOurs starts this program, as it is built for a release.
func startOurs(t *testing.T, logs []*figureLog) string {
	t.Helper()
	url, _, _ := start(t, ours(t, logs))
	return url
}

// ours builds this program and makes its files, and gives its command line.
func ours(t *testing.T, logs []*figureLog) []string {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, name)
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	key, err := witness.GenerateKey(rand.Reader, "witness.example/w1")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/key", key.Secret(), 0o600)
	var list strings.Builder
	list.WriteString("logs/v0\n")
	for _, l := range logs {
		list.WriteString("\nvkey " + l.vkey + "\nqpd 2147483647\ncontact nobody\n")
	}
	write(t, dir+"/logs", list.String(), 0o600)
	return []string{bin, "--listen", "127.0.0.1:0", "--key", dir + "/key", "--logs", dir + "/logs", "--state", dir + "/state"}
}

// start starts it, and gives its URL, the process, and how long that took.
func start(t *testing.T, command []string) (url string, process *os.Process, took time.Duration) {
	t.Helper()
	cmd := exec.Command(command[0], firstStart(t, command[1:])...)
	cmd.Stderr = os.Stderr
	begun := time.Now()
	lines := startProcess(t, cmd)
	lines.Scan()
	lines.Scan()
	return lines.Text(), cmd.Process, time.Since(begun)
}

// resident gives the memory of a process in MiB, as the kernel counts it.
func resident(t *testing.T, p *os.Process) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var kib int
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib >> 10
}

// manyLogs is how many a large witness has.
const manyLogs = 100_000

// TestFiguresMany: memory and start-up time of a witness that has cosigned 10^5 logs.
func TestFiguresMany(t *testing.T) {
	logs := figureLogsOf(t, manyLogs, 1)
	command := ours(t, logs)
	url, process, took := start(t, command)
	t.Logf("%d logs, none cosigned: start %v, %d MiB", manyLogs, took.Round(time.Millisecond), resident(t, process))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: figureLogs}}
	begun := time.Now()
	var group sync.WaitGroup
	for i := range figureLogs {
		group.Go(func() {
			for k := i; k < len(logs); k += figureLogs {
				if err := ask(client, url, logs[k].bodies[0]); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	t.Logf("each cosigned once, %d at once: %.0f/s, %d MiB", figureLogs, manyLogs/time.Since(begun).Seconds(), resident(t, process))
	if err := process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	process.Wait()
	url, process, took = start(t, command)
	t.Logf("started again, each checked: %v, %d MiB", took.Round(time.Millisecond), resident(t, process))
	for _, l := range []*figureLog{logs[0], logs[manyLogs-1]} {
		if err := ask(client, url, l.again); err != nil {
			t.Error(err)
		}
	}
	if took > time.Minute {
		t.Error("no start takes a minute")
	}
}

// startBare starts a handler that checks the same signature and makes the same,
// and does nothing else.
func startBare(t *testing.T, logs []*figureLog) string {
	t.Helper()
	vkeys := filepath.Join(t.TempDir(), "logs")
	var b strings.Builder
	for _, l := range logs {
		b.WriteString(l.vkey + "\n")
	}
	write(t, vkeys, b.String(), 0o600)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), bareChildEnv+"="+vkeys)
	lines := startProcess(t, cmd)
	lines.Scan()
	return lines.Text()
}

func init() {
	children = append(children, func() {
		if vkeys := os.Getenv(bareChildEnv); vkeys != "" {
			fmt.Fprintln(os.Stderr, bare(vkeys))
			os.Exit(1)
		}
	})
}

func bare(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	verifiers := make(map[string]note.Verifier)
	for vkey := range strings.Lines(string(text)) {
		v, err := note.NewVerifier(strings.TrimSpace(vkey))
		if err != nil {
			return err
		}
		verifiers[v.Name()] = v
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s/\n", listener.Addr())
	return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		_, signed, _ := bytes.Cut(body, []byte("\n\n"))
		origin, _, _ := strings.Cut(string(signed), "\n")
		n, err2 := note.Open(signed, note.VerifierList(verifiers[origin]))
		if err != nil || err2 != nil {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		signature := ed25519.Sign(private, []byte("cosignature/v1\ntime 1700000000\n"+n.Text))
		io.WriteString(w, "— witness.example/w1 "+base64.StdEncoding.EncodeToString(append(make([]byte, 12), signature...))+"\n")
	}))
}

func vkeysOf(logs []*figureLog) []string {
	var vkeys []string
	for _, l := range logs {
		vkeys = append(vkeys, l.vkey)
	}
	return vkeys
}

// TestFigures prints the figures of the README, and holds them to what it says.
func TestFigures(t *testing.T) {
	logs := figureLogsOf(t, figureLogs, figureSizes)
	ours, least := startOurs(t, logs), startBare(t, logs)
	theirs := newLitewitness(t).start(t, vkeysOf(logs))
	a, b, c := grow(t, ours, logs, figureTime), grow(t, theirs, logs, figureTime), grow(t, least, logs, figureTime)
	t.Logf("%d growing logs: ours        %v", figureLogs, a)
	t.Logf("%d growing logs: litewitness %v", figureLogs, b)
	t.Logf("%d growing logs: bare        %v", figureLogs, c)
	t.Logf("ours is %.1f times litewitness, and %.0f %% of the bare handler", a.persecond/b.persecond, 100*a.persecond/c.persecond)
	if a.persecond < 3*b.persecond || a.persecond < 0.5*c.persecond {
		t.Error("slower than promised")
	}
	one := figureLogsOf(t, 1, 2)
	ours = startOurs(t, one)
	theirs = newLitewitness(t).start(t, vkeysOf(one))
	a, b = refresh(t, ours, one[0], figureTime/2), refresh(t, theirs, one[0], figureTime/2)
	t.Logf("same-size refresh: ours        %v", a)
	t.Logf("same-size refresh: litewitness %v", b)
	t.Logf("same-size refresh: bare        %v", refresh(t, startBare(t, one), one[0], figureTime/2))
	t.Logf("ours is %.1f times litewitness", a.persecond/b.persecond)
	if a.persecond < 2*b.persecond {
		t.Error("slower than promised")
	}
}
