//go:build !race

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/cmd/internal/trustdir"
	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/tpm"
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/securityfs"
)

// What the agent may need for a list, besides what a Go program has before it does
// anything, and what ten times as long a list may add. In bytes.
const (
	maxMemory = 32 << 20
	maxGrowth = 8 << 20
)

// childVariable tells this test to be the agent whose memory is measured.
const childVariable = "IMALEDGER_TEST_AGENT"

// A childJob is what that agent is given.
type childJob struct {
	Dir, Trust, Ledger string
	Registers          map[string]string // what the TPM holds, hex
}

// TestMemory: the peak of an agent that seals, submits and exports a list of 10^6
// records of 200 bytes, in a process of its own, is bounded and that of 10^5.
func TestMemory(t *testing.T) {
	if job := os.Getenv(childVariable); job != "" {
		memoryChild(t, job)
		return
	}
	peak := make(map[int]int64)
	for _, n := range []int{100_000, 1_000_000} {
		w := newWorld(t, securityfs.ReadOnly)
		job := childJob{Dir: t.TempDir(), Trust: filepath.Join(t.TempDir(), "trust"), Ledger: w.client.Base}
		w.writeTrust(job.Trust)
		job.Registers = writeLongList(t, job.Dir, n)
		b, err := json.Marshal(job)
		if err != nil {
			t.Fatal(err)
		}
		c := exec.Command(os.Args[0], "-test.run=^TestMemory$", "-test.v")
		c.Env = append(os.Environ(), childVariable+"="+string(b))
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var before, after int64
		var records uint64
		_, rest, _ := strings.Cut(string(out), "memory ")
		if _, err := fmt.Sscanf(rest, "%d %d %d", &before, &after, &records); err != nil || records != uint64(n) {
			t.Fatalf("%d records sealed, want %d; %v: %s", records, n, err, out)
		}
		peak[n] = after - before
		t.Logf("%d records: %.1f MiB at the begin, %.1f MiB more at the peak", n, float64(before)/(1<<20), float64(after-before)/(1<<20))
		if peak[n] > maxMemory {
			t.Errorf("%d records: %d bytes, at most %d", n, peak[n], maxMemory)
		}
	}
	if growth := peak[1_000_000] - peak[100_000]; growth > maxGrowth {
		t.Errorf("ten times the records need %d bytes more", growth)
	}
}

// memoryChild makes the agent's first round, and prints its memory.
func memoryChild(t *testing.T, text string) {
	var job childJob
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		t.Fatal(err)
	}
	before, peak := watchMemory(t)
	trust, err := trustdir.Read(job.Trust)
	if err != nil {
		t.Fatal(err)
	}
	soft, err := tpm.NewSoftware(rand.Reader, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	soft.Firmware = make(ima.Values)
	for slot, value := range job.Registers {
		s, err := ima.ParseSlot(slot)
		if err != nil {
			t.Fatal(err)
		}
		if soft.Firmware[s], err = hex.DecodeString(value); err != nil {
			t.Fatal(err)
		}
	}
	soft.Reset()
	source, err := securityfs.Open(job.Dir)
	if err != nil {
		t.Fatal(err)
	}
	a, err := agent.New(agent.Config{
		Host: "h.example", Trust: trust, Dir: filepath.Join(job.Dir, "agent"), TPM: soft, Kernel: source, Ledger: &client.Client{Base: job.Ledger},
		BootID: func() (string, error) { return "boot", nil }, Delete: agent.DeleteNever, Banks: []ima.Bank{ima.SHA256},
		SpoolLimit: 1 << 30, Wait: 20 * time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Once(context.Background()); err != nil {
		t.Fatal(err)
	}
	s := a.Status()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("memory %d %d %d\n", before, peak(), s.Receipted)
}

// watchMemory returns the memory that this process has of its own, in bytes, and a
// function that ends the watch and returns the most it had since. Pages of the
// program's file are not counted: how many of them the kernel maps depends on how it
// keeps the file, which was written a moment ago. What Go has had stays for seconds,
// so that a look each 5 ms sees it.
func watchMemory(t *testing.T) (now int64, peak func() int64) {
	t.Helper()
	now = ownMemory(t)
	stop, most := make(chan struct{}), make(chan int64)
	go func() {
		largest := now
		for {
			select {
			case <-stop:
				most <- max(largest, ownMemory(t))
				return
			case <-time.After(5 * time.Millisecond):
				largest = max(largest, ownMemory(t))
			}
		}
	}()
	return now, func() int64 {
		close(stop)
		return <-most
	}
}

func ownMemory(t *testing.T) int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "RssAnon:" {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				t.Error(err)
			}
			return n << 10
		}
	}
	t.Error("no RssAnon")
	return 0
}

// writeLongList writes a list of n records of 200 bytes as the kernel shows it, and
// returns what it leads to.
func writeLongList(t *testing.T, dir string, n int) map[string]string {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "binary_runtime_measurements"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	p, err := ima.NewReplayer([]ima.Bank{ima.SHA1, ima.SHA256}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	aggregate, _ := ima.BootAggregate(ima.SHA256, func(s ima.Slot) []byte { return make([]byte, s.Bank.Size()) })
	for i := range n {
		path, digest := "boot_aggregate", aggregate
		if i > 0 {
			path, digest = fmt.Sprintf("/usr/lib/%-93d", i), bytes.Repeat([]byte{byte(i)}, 32)
		}
		data := append(sized(append([]byte("sha256:\x00"), digest...)), sized([]byte(path+"\x00"))...)
		stored := sha1.Sum(data)
		raw := append(binary.LittleEndian.AppendUint32(nil, 10), stored[:]...)
		raw = append(append(raw, sized([]byte("ima-ng"))...), sized(data)...)
		rec, err := ima.NewReader(bytes.NewReader(raw), ima.Format{Bank: ima.SHA1}).Next()
		if err == nil {
			err = p.Extend(rec)
		}
		if err == nil {
			_, err = w.Write(raw)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "runtime_measurements_count"), fmt.Appendln(nil, n), 0o644); err != nil {
		t.Fatal(err)
	}
	values := make(map[string]string)
	for slot, v := range p.Values() {
		values[slot.String()] = hex.EncodeToString(v)
	}
	return values
}
