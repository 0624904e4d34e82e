package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/cmd/internal/trustdir"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/server"
)

// A scriptedLedger is the demonstration's, with clocks that a script moves.
type scriptedLedger struct {
	*demo
	next    note.Signer  // of the log that may follow
	ahead   atomic.Int64 // nanoseconds that the witnesses' clocks are ahead
	process *exec.Cmd    // imaledgerd, or nil
}

type scriptedLedgerKey struct{}

// scriptLedger runs a ledger for a script: "ledger start" gives $LEDGER, the
// folder trust and the operator's key operator.key, and has web1.example submit
// two segments; "ledger db" has db1.example boot, enrol and submit one; "ledger reboot" has
// web1.example boot again and submit one; "ledger days N" lets N days pass for the witnesses, after which
// web1.example submits another; "ledger bundle FILE [SEQUENCE]" writes everything
// that the log has, but for segments before a sequence number. "ledger process" has
// the program imaledgerd serve it from then on, and gives $IMALEDGERD and $DIR;
// "ledger kill" is SIGKILL to it. "ledger next" starts an empty ledger with another log, $NEXT, whose key
// is $NEXTKEY; from "ledger start" on the trust folder names it too, if asked for by
// "ledger start next".
func scriptLedger(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: ledger start [next]|process|kill|db|reboot|days N|bundle FILE [SEQUENCE]|next")
	}
	l, _ := ts.Value(scriptedLedgerKey{}).(**scriptedLedger)
	ctx := context.Background()
	switch args[0] {
	case "start":
		s := &scriptedLedger{}
		*l = s
		// Unix sockets have short names.
		dir, err := os.MkdirTemp("", "ledger")
		ts.Check(err)
		ts.Defer(func() { os.RemoveAll(dir) })
		var nextKey string
		s.next, nextKey, err = demoKey("demo.example/next")
		ts.Check(err)
		ts.Setenv("NEXTKEY", nextKey)
		s.demo, err = startDemo(ctx, dir, func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }, nextKey)
		ts.Defer(func() { s.demo.close() })
		ts.Check(err)
		for _, file := range []string{ledger.TrustPolicyFile, ledger.TrustRulesFile} {
			b, err := os.ReadFile(filepath.Join(dir, "trust", file))
			ts.Check(err)
			if len(args) > 1 && file == ledger.TrustPolicyFile {
				b = append([]byte("log "+nextKey+"\n"), b...)
			}
			ts.Check(os.MkdirAll(ts.MkAbs("trust"), 0o755))
			ts.Check(os.WriteFile(filepath.Join(ts.MkAbs("trust"), file), b, 0o644))
		}
		ts.Check(os.WriteFile(ts.MkAbs("operator.key"), []byte(s.operatorKey+"\n"), 0o600))
		ts.Setenv("LEDGER", s.url)
		web := s.hosts[0]
		ts.Check(web.boot())
		ts.Check(web.enrol(ctx, s.demo))
		s.submitOne(ts, 20)
		s.submitOne(ts, 10)
	case "process":
		(*l).startProcess(ts)
	case "kill":
		(*l).killProcess()
	case "db":
		db := (*l).hosts[1]
		ts.Check(db.boot())
		ts.Check(db.enrol(ctx, (*l).demo))
		_, err := db.measure(60)
		ts.Check(err)
		_, err = db.seal(ctx, (*l).demo, 0)
		ts.Check(err)
	case "reboot":
		ts.Check((*l).hosts[0].boot())
		(*l).submitOne(ts, 12)
	case "next":
		ts.Setenv("NEXT", (*l).startNext(ts))
	case "days":
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		(*l).ahead.Add(int64(n) * int64(24*time.Hour))
		(*l).submitOne(ts, 3)
	case "bundle":
		from := 0
		if len(args) > 2 {
			var err error
			from, err = strconv.Atoi(args[2])
			ts.Check(err)
		}
		sources, err := (*l).everything(ctx, uint64(from))
		ts.Check(err)
		ts.Check(writeBundle(ts.MkAbs(args[1]), sources))
	}
}

func (s *scriptedLedger) submitOne(ts *testscript.TestScript, records int) {
	web := s.hosts[0]
	_, err := web.measure(records)
	ts.Check(err)
	_, err = web.seal(context.Background(), s.demo, 0)
	ts.Check(err)
}

// startProcess ends the ledger of this process, and starts imaledgerd on its
// directory with its keys; again, if it did so before.
func (s *scriptedLedger) startProcess(ts *testscript.TestScript) {
	program := ts.Getenv("IMALEDGERD")
	if program == "" {
		program = filepath.Join(s.dir, "imaledgerd")
		if out, err := exec.Command("go", "build", "-o", program, "../imaledgerd").CombinedOutput(); err != nil {
			ts.Fatalf("%v\n%s", err, out)
		}
		ts.Check(os.WriteFile(ts.MkAbs("log.key"), []byte(s.logKey+"\n"), 0o600))
		ts.Setenv("IMALEDGERD", program)
		ts.Setenv("DIR", filepath.Join(s.dir, "ledger"))
		// The ledger and what serves it came last.
		for range 2 {
			n := len(s.closers) - 1
			ts.Check(s.closers[n]())
			s.closers = s.closers[:n]
		}
	}
	cmd := exec.Command(program, "serve", "--config", "/dev/null", "--dir", ts.Getenv("DIR"), "--key", ts.MkAbs("log.key"), "--trust", ts.MkAbs("trust"),
		"--listen", "127.0.0.1:0", "--public-payloads", "--checkpoint-interval", "100ms")
	var talk bytes.Buffer
	cmd.Stderr = &talk
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	s.process = cmd
	ts.Defer(s.killProcess)
	lines := bufio.NewReader(out)
	_, err1 := lines.ReadString('\n') // the log's key
	url, err2 := lines.ReadString('\n')
	if err := errors.Join(err1, err2); err != nil {
		s.killProcess()
		ts.Fatalf("imaledgerd: %v\n%s", err, talk.String())
	}
	s.url = strings.TrimSpace(url)
	s.client = &client.Client{Base: s.url}
	ts.Setenv("LEDGER", s.url)
}

func (s *scriptedLedger) killProcess() {
	if s.process != nil {
		s.process.Process.Kill()
		s.process.Wait()
		s.process = nil
	}
}

// startNext starts a ledger with the log that follows, by the trust folder of the
// script, and returns its URL.
func (s *scriptedLedger) startNext(ts *testscript.TestScript) string {
	trust, err := trustdir.Read(ts.MkAbs("trust"))
	ts.Check(err)
	next, err := server.New(context.Background(), server.Config{
		Dir: filepath.Join(s.dir, "next"), Signer: s.next, Trust: trust, CheckpointInterval: 100 * time.Millisecond, BatchMaxAge: 5 * time.Millisecond,
	})
	ts.Check(err)
	s.closers = append(s.closers, func() error { return next.Close(context.Background()) })
	url, err := s.serve(next)
	ts.Check(err)
	return url
}

// everything is a bundle of the whole log but for segments before a sequence number,
// read as a stranger reads it. What is erased is not in it.
func (s *scriptedLedger) everything(ctx context.Context, from uint64) ([]ledger.BundleSource, error) {
	raw, err := s.client.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	c, err := s.trust.Policy.Verify(raw)
	if err != nil {
		return nil, err
	}
	var sources []ledger.BundleSource
	seen := make(map[ledger.Hash]bool)
	for i := range c.Size {
		raw, err := s.client.Entry(ctx, i, c.Size)
		if err != nil {
			return nil, err
		}
		leaf := ledger.LeafHash(raw)
		entry, err := ledger.ParseEntry(raw)
		if err != nil {
			return nil, err
		}
		if seg, ok := entry.(*ledger.Segment); ok && seg.Sequence < from {
			continue
		}
		a, err := s.client.Proof(ctx, leaf, demoWait)
		if err != nil {
			return nil, err
		}
		sources = append(sources, ledger.SourceBytes(ledger.FolderLeaves, raw, ledger.Hash{}), ledger.SourceBytes(ledger.FolderProofs, []byte(a.Proof), leaf))
		for _, digest := range entry.Addenda() {
			folder := ledger.FolderEvidence
			if seg, ok := entry.(*ledger.Segment); ok {
				if folder = ledger.FolderPayloads; digest == seg.Anchor.Note {
					folder = ledger.FolderAnchors
				}
			}
			var content bytes.Buffer
			err := s.client.Addendum(ctx, digest, ledger.MaxPayload, &content)
			var p *client.Problem
			switch {
			case errors.As(err, &p) && p.Status == http.StatusGone, seen[digest]:
			case err != nil:
				return nil, err
			default:
				seen[digest] = true
				sources = append(sources, ledger.SourceBytes(folder, content.Bytes(), ledger.Hash{}))
			}
		}
	}
	return sources, nil
}
