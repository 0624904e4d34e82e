package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/torchwood"
	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/witness"
)

// startWitnesses starts as many witnesses for the logs, and gives the lines of a
// policy that demands all but one.
func startWitnesses(t *testing.T, n int, vkeys ...string) (policy string, urls []string) {
	t.Helper()
	group := fmt.Sprintf("group g %d", n-1)
	for i := range n {
		key, err := witness.GenerateKey(rand.Reader, fmt.Sprintf("witness%d.example", i))
		if err != nil {
			t.Fatal(err)
		}
		// One has a second key, whose cosignatures no client here knows.
		post, err := witness.GenerateMLDSAKey(rand.Reader, "pq.example")
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		write(t, dir+"/key", key.Secret(), 0o600)
		write(t, dir+"/pq", post.Secret(), 0o600)
		args, keys := []string{"--listen", "127.0.0.1:0", "--key", dir + "/key", "--state", dir + "/state"}, 1
		if i == 0 {
			args, keys = append(args, "--key", dir+"/pq"), 2
		}
		for _, vkey := range vkeys {
			args = append(args, "--log", vkey)
		}
		got, url, stop := startService(t, keys, args...)
		t.Cleanup(func() { stop() })
		policy += fmt.Sprintf("witness w%d %s %s\n", i, got[0], strings.TrimSuffix(url, "/"))
		group += fmt.Sprintf(" w%d", i)
		urls = append(urls, url)
	}
	return policy + group + "\nquorum g\n", urls
}

// A log of Tessera's under load is cosigned by way of Tessera's own client at each
// of its checkpoints, and torchwood reads it: the checkpoint, tiles and proofs.
func TestTessera(t *testing.T) {
	skey, vkey, err := note.GenerateKey(rand.Reader, "log.example/tessera")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	witnesses, urls := startWitnesses(t, 3, vkey)
	text := "log " + vkey + "\n" + witnesses
	group, err := tessera.NewWitnessGroupFromPolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	driver, err := posix.New(ctx, posix.Config{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, tessera.NewAppendOptions().WithCheckpointSigner(signer).
		WithBatching(256, 50*time.Millisecond).WithCheckpointInterval(100*time.Millisecond).WithWitnesses(group, &tessera.WitnessOptions{Timeout: 10 * time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	torch, err := torchwood.ParsePolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	// Each checkpoint that is published meets the policy, in torchwood's eyes.
	seen, last := make(map[int64]bool), int64(0)
	look := func() {
		raw, err := reader.ReadCheckpoint(ctx)
		if err != nil {
			t.Fatal(err)
		}
		c, _, err := torchwood.VerifyCheckpoint(raw, torch)
		if err != nil {
			t.Fatalf("torchwood: %v\n%s", err, raw)
		}
		seen[c.N], last = true, c.N
	}
	var added atomic.Int64
	var load sync.WaitGroup
	var enough atomic.Bool
	defer load.Wait()
	defer enough.Store(true)
	for i := range 32 {
		load.Go(func() {
			for k := 0; !enough.Load(); k++ {
				if _, err := appender.Add(ctx, tessera.NewEntry(fmt.Appendf(nil, "entry %d of %d", k, i)))(); err != nil {
					t.Error(err)
					return
				}
				added.Add(1)
			}
		})
	}
	eventually(t, "some checkpoints, of more than a tile", func() bool { look(); return len(seen) >= 5 && added.Load() > 256 || t.Failed() })
	enough.Store(true)
	load.Wait()
	eventually(t, "a checkpoint of all", func() bool { look(); return last == added.Load() })
	if err := shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d entries, %d checkpoints seen", added.Load(), len(seen))

	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	fetcher, err := torchwood.NewTileFetcher(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	client, err := torchwood.NewClient(fetcher)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := fetcher.ReadEndpoint(ctx, "checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := torchwood.VerifyCheckpoint(raw, torch)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := ledger.ParsePolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, index := range []int64{0, c.N / 2, c.N - 1} {
		entry, proof, err := client.Entry(ctx, c.Tree, index)
		if err != nil {
			t.Fatal(err)
		}
		bundle := torchwood.FormatProof(index, proof, raw)
		if err := torchwood.VerifyProof(torch, tlog.RecordHash(entry), bundle); err != nil {
			t.Errorf("torchwood on entry %d: %v", index, err)
		}
		parsed, err := ledger.ParseProof(bundle)
		if err == nil {
			_, err = parsed.Verify(ours, ledger.LeafHash(entry))
		}
		if err != nil {
			t.Errorf("ours on entry %d: %v", index, err)
		}
	}
	// And what a witness shows monitors is the log's, too.
	logKey, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	_, shown := fetch(t, http.DefaultClient, urls[0]+fmt.Sprintf("%x/checkpoint", sha256.Sum256([]byte("log.example/tessera"))))
	if _, err := note.Open([]byte(shown), note.VerifierList(logKey)); err != nil {
		t.Errorf("%v\n%s", err, shown)
	}
}

// The requests that torchwood tests its witness with, a Sigsum log's, are answered
// as torchwood wants them answered.
func TestTorchwoodRequests(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "filippo.io/torchwood").Output()
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(strings.TrimSpace(string(dir)) + "/cmd/litewitness/testdata/litewitness.txt")
	if err != nil {
		t.Fatal(err)
	}
	public := regexp.MustCompile(`add-sigsum-log -key=([0-9a-f]{64})`).FindSubmatch(script)
	if public == nil {
		t.Fatal("no log in the script")
	}
	key, err := hex.DecodeString(string(public[1]))
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := note.NewEd25519VerifierKey(fmt.Sprintf("sigsum.org/v1/tree/%x", sha256.Sum256(key)), key)
	if err != nil {
		t.Fatal(err)
	}
	keyFile, _, _ := files(t)
	_, url, stop := startWitness(t, "--listen", "127.0.0.1:0", "--key", keyFile, "--state", t.TempDir()+"/state", "--log", vkey)
	defer stop()
	requests := regexp.MustCompile("(?s)POST http://localhost:7380/add-checkpoint\n```\n(.*?)```\nHTTP (\\d+)\n(?:\\[Asserts\\]\nbody == \"(\\d+)\\\\n\"\n)?").FindAllSubmatch(script, -1)
	for i, r := range requests {
		answer, err := http.Post(url+"add-checkpoint", "", strings.NewReader(string(r[1])))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if strconv.Itoa(answer.StatusCode) != string(r[2]) || len(r[3]) > 0 && string(body) != string(r[3])+"\n" {
			t.Errorf("request %d: %d %q, want %s %q", i+1, answer.StatusCode, body, r[2], r[3])
		}
	}
	if len(requests) != 9 {
		t.Errorf("%d requests in the script", len(requests))
	}
}
