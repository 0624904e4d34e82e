package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger/server/s3mysql"
	"github.com/imaledger/imaledger/ledger/server/s3mysql/s3mysqltest"
)

// storageArgs are the flags that name a store.
func storageArgs(t *testing.T, c s3mysql.Config) []string {
	t.Helper()
	dsn := filepath.Join(t.TempDir(), "dsn")
	if err := os.WriteFile(dsn, []byte(c.DSN+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--storage", fmt.Sprintf("s3://%s/%s?endpoint=%s", c.LogBucket, c.PayloadBucket, c.Endpoint), "--database", dsn}
}

// TestStorage: two front ends serve one ledger from S3 and MySQL; it is checked there,
// copied to a directory and to another store, and is sound in each.
func TestStorage(t *testing.T) {
	for _, kv := range s3mysqltest.Env() {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value)
	}
	servers := s3mysqltest.Start(t)
	first, second := storageArgs(t, servers.Config(t)), storageArgs(t, servers.Config(t))
	args := setup(t, "")
	trust := args[6]
	command := func(args ...string) string {
		t.Helper()
		var out, talk bytes.Buffer
		if err := run(t.Context(), args, nil, &out, &talk); err != nil {
			t.Fatalf("%s: %v\n%s%s", args[0], err, &out, &talk)
		}
		return out.String()
	}
	t.Run("serve", func(t *testing.T) {
		for i := range 2 {
			front := append(append([]string{}, args...), append(first, "--dir", filepath.Join(t.TempDir(), fmt.Sprint("front", i)), "--public-uploads", "--public-payloads", "--search")...)
			_, url := serve(t, front)
			if found := get(t, url+"search"); !strings.Contains(found, `"hits":[]`) {
				t.Errorf("front end %d: %s", i, found)
			}
			if health := get(t, url+"readyz"); !strings.Contains(health, `"status":"ok"`) {
				t.Errorf("front end %d: %s", i, health)
			}
			deadline := time.Now().Add(time.Minute)
			for {
				resp, err := http.Get(url + "checkpoint")
				if err == nil {
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				if err == nil && resp.StatusCode == http.StatusOK {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("no checkpoint: %v", err)
				}
				time.Sleep(50 * time.Millisecond)
			}
		}
	})
	with := func(command string, more ...string) []string {
		return append([]string{command, "--trust", trust}, more...)
	}
	sound := func(out string) {
		t.Helper()
		if !strings.HasPrefix(out, "sound: ledger.example/t") {
			t.Errorf("%s", out)
		}
	}
	sound(command(with("check", first...)...))
	dir := filepath.Join(t.TempDir(), "ledger")
	command(append(with("migrate", first...), "--to", dir)...)
	sound(command(with("check", "--dir", dir)...))
	command(append(with("migrate", second...), "--from", dir)...)
	sound(command(with("check", second...)...))
	if out := command(append(with("migrate", second...), "--from", dir)...); !strings.Contains(out, " 0 files new") {
		t.Errorf("again: %s", out)
	}
	command(with("rebuild", second...)...)

	for want, args := range map[string][]string{
		"no s3:// URL of two buckets": with("check", "--storage", "s3://one"),
		"without --database":          with("check", first[:2]...),
		"one of --from and --to":      with("migrate", append(first, "--from", "a", "--to", "b")...),
		"no --storage":                with("migrate", "--from", "a"),
		"unknown parameter":           with("check", append(first, "--storage", "s3://a/b?endpoind=x")...),
		"--object-lock":               with("check", append(first, "--object-lock", "governance")...),
		"can be read by others":       with("check", append(first, "--database", filepath.Join(trust, "policy"))...),
		"make it first":               with("check", append(first, "--storage", "s3://none-log/none-payloads?endpoint="+servers.Endpoint())...),
	} {
		err := run(t.Context(), args, nil, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
		if code := cli.Code(err); want != "make it first" && code != cli.ExitUsage {
			t.Errorf("%q: exit code %d", want, code)
		}
	}
}
