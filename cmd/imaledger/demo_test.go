package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
)

// TestDemoServes: without --once the hosts go on, and reboot when their lists are
// at an end; all that they add verifies.
func TestDemoServes(t *testing.T) {
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	dir, err := os.MkdirTemp("", "demo") // Unix sockets have short names
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	d, err := startDemo(ctx, dir, time.Now)
	defer func() {
		if err := d.close(); err != nil {
			t.Error(err)
		}
	}()
	if err != nil {
		t.Fatal(err)
	}
	d.pause = time.Millisecond
	for _, h := range d.hosts {
		if err := errors.Join(h.boot(), h.enrol(ctx, d)); err != nil {
			t.Fatal(err)
		}
	}
	d.hosts[0].list = d.hosts[0].list[:firstRecords(t, d.hosts[0].list, 30)]
	var out bytes.Buffer
	serving, interrupt := context.WithCancel(ctx)
	w := writerFunc(func(b []byte) (int, error) {
		if bytes.Contains(b, []byte("web1.example  #3 ")) {
			interrupt()
		}
		return out.Write(b)
	})
	if err := d.keepServing(serving, &printer{w: w}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`#1 +0 to 19 +\d+  goes on`, `#2 +20 to 29 +\d+  goes on`, `#3 +0 to 59 +\d+  reboots`} {
		if !regexp.MustCompile(`web1\.example  ` + want + "\n").MatchString(out.String()) {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
	sources, err := d.bundle(ctx)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := packed(sources)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := d.check(raw); err != nil || r.Class() != ledger.Noted {
		t.Errorf("%v, %v", r, err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// firstRecords returns the size of a list's first n records.
func firstRecords(t *testing.T, list []byte, n int) int {
	r, size := ima.NewReader(bytes.NewReader(list), ima.Format{Bank: ima.SHA1}), 0
	for range n {
		rec, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		size += len(rec.Raw)
	}
	return size
}

// TestDemoEnds: the program serves until it is interrupted, then ends in order, and
// its TPMs with it.
func TestDemoEnds(t *testing.T) {
	base, err := os.MkdirTemp("", "demo")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(base)
	dir := filepath.Join(base, "d")
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "demo", "--dir", dir)
	cmd.Args[0] = "imaledger" // as testscript.Main tells the program from the test
	link := filepath.Join(base, "imaledger")
	if err := os.Symlink(program, link); err != nil {
		t.Fatal(err)
	}
	cmd.Path = link
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	var url string
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if m := regexp.MustCompile(`^The ledger serves on at (http://\S+) and takes a segment every 30s\. Interrupt to end\.$`).FindStringSubmatch(lines.Text()); m != nil {
			url = m[1]
			break
		}
	}
	response, err := http.Get(url + "/checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	checkpoint, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || !strings.HasPrefix(string(checkpoint), demoOrigin+"\n10\n") {
		t.Errorf("checkpoint %q, %v", checkpoint, err)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(stdout); err != nil || len(rest) > 0 {
		t.Errorf("after the interrupt: %q, %v", rest, err)
	}
	if err := cmd.Wait(); err != nil || stderr.Len() > 0 {
		t.Errorf("%v, stderr %q", err, stderr.String())
	}
	left, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range left {
		if line, err := os.ReadFile(name); err == nil && bytes.Contains(line, []byte(dir)) {
			t.Errorf("a process of the demonstration is left: %q", line)
		}
	}
}
