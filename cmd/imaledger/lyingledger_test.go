package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
)

// liedTo are the commands that read a ledger, each with what it asks for.
func liedTo(url, trust, state, out string) map[string][]string {
	at := []string{"--ledger", url, "--trust", trust}
	command := func(args ...string) []string { return append(append([]string{args[0]}, at...), args[1:]...) }
	return map[string][]string{
		"audit":         command("audit"),
		"audit again":   command("audit", "--state", state),
		"cosign":        command("cosign", "--state", filepath.Join(out, "cosign"), "--key", filepath.Join(out, "auditor.key")),
		"bundle":        command("bundle", "--host", "web1.example", "--out", filepath.Join(out, "b.tar")),
		"bundle, boot":  command("bundle", "--host", "web1.example", "--boot", "--out", filepath.Join(out, "b.tar")),
		"prove":         command("prove", "--host", "web1.example", "--sequence", "2"),
		"prove, path":   command("prove", "--host", "web1.example", "--path", "boot_aggregate"),
		"prove, index":  command("prove", "--index", "2"),
		"record":        command("record", "--host", "web1.example", "--sequence", "2", "--record", "3", "--sealed", "--out", filepath.Join(out, "r")),
		"record, short": command("record", "--host", "web1.example", "--sequence", "2", "--record", "3", "--out", filepath.Join(out, "s")),
		"search":        command("search", "--path", "boot_aggregate", "--complete"),
		"timeline":      command("timeline", "web1.example"),
	}
}

// TestLyingLedger: no command that reads a ledger says verified where a ledger alters,
// withholds or reorders what it has, or shows another history; and each says so
// where it is told the truth.
func TestLyingLedger(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	d, err := startDemo(ctx, dir, time.Now)
	t.Cleanup(func() { d.close() })
	if err != nil {
		t.Fatal(err)
	}
	web := d.hosts[0]
	if err := web.boot(); err != nil {
		t.Fatal(err)
	}
	if err := web.enrol(ctx, d); err != nil {
		t.Fatal(err)
	}
	var segments []*ledger.Segment
	seal := func() {
		t.Helper()
		if _, err := web.measure(10); err != nil {
			t.Fatal(err)
		}
		if _, err := web.seal(ctx, d, 0); err != nil {
			t.Fatal(err)
		}
		s, err := ledger.ParseSegment(d.entries[len(d.entries)-1])
		if err != nil {
			t.Fatal(err)
		}
		segments = append(segments, s)
	}
	for range 2 {
		seal()
	}
	older, err := d.client.Checkpoint(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		seal()
	}
	trust, state := filepath.Join(dir, "trust"), filepath.Join(dir, "state")
	l := startLiar(t, d.url)
	if code, _, talk := tool(t, "keygen", "--kind", "witness", "--name", "auditor.example", "--out", filepath.Join(dir, "auditor.key")); code != 0 {
		t.Fatal(talk)
	}
	for name, args := range liedTo(l.url, trust, state, dir) {
		if code, out, talk := tool(t, args...); code != 0 {
			t.Fatalf("%s, told the truth: %d\n%s%s", name, code, out, talk)
		}
	}
	payload := "/" + ledger.AddendumPath(segments[1].Payload.Digest)
	anchor := "/" + ledger.AddendumPath(segments[1].Anchor.Note)
	swapped := func(b []byte) []byte { // the first two entries of a file
		n := 2 + int(b[0])<<8 + int(b[1])
		m := n + 2 + int(b[n])<<8 + int(b[n+1])
		return append(append(append([]byte{}, b[n:m]...), b[:n]...), b[m:]...)
	}
	others := func(but ...string) (list []string) {
		for name := range liedTo("", "", "", "") {
			if !slices.Contains(but, name) {
				list = append(list, name)
			}
		}
		return list
	}
	for _, row := range []struct {
		name string
		lie  falsehood
		// passes are commands that the lie does not reach: what they say is true.
		passes []string
	}{
		{"a payload altered", lieAt(payload, flipped), []string{"audit again", "record", "record, short"}},
		{"a payload withheld", answers(payload, http.StatusNotFound), []string{"audit again", "record", "record, short"}},
		{"an erasure claimed that no entry states", answers(payload, http.StatusGone), []string{"audit again", "record", "record, short"}},
		{"a record's proof altered", lieAt("/record/", flipped), others("record", "record, short")},
		{"a record's proof of another place", func(path string, status int, body []byte) (int, []byte) {
			if strings.HasPrefix(path, "/record/") {
				body = bytes.Replace(body, []byte("\nindex 3\n"), []byte("\nindex 4\n"), 1)
			}
			return status, body
		}, others("record", "record, short")},
		{"the sealed proof of a record altered", func(path string, status int, body []byte) (int, []byte) {
			// The short one is honest, and rests on it.
			if strings.HasPrefix(path, "/record/") && isSealed(t, body) {
				body = flipped(body)
			}
			return status, body
		}, others("record", "record, short")},
		{"another record's proof", func(path string, status int, body []byte) (int, []byte) {
			if other, is := strings.CutSuffix(path, "/3"); is && strings.HasPrefix(path, "/record/") {
				return status, another(t, d.url+other+"/4", isSealed(t, body))
			}
			return status, body
		}, others("record", "record, short")},
		{"a record's proof refused", answers("/record/", http.StatusForbidden), others("record", "record, short")},
		{"no proofs of records, as a mirror", answers("/record/", http.StatusNotFound), others()},
		{"an anchor altered", lieAt(anchor, flipped), []string{"audit again"}},
		{"an anchor withheld", answers(anchor, http.StatusNotFound), []string{"audit again", "prove, path", "search"}},
		{"an entry altered", lieInEntries(flipped), []string{"audit again"}},
		{"entries reordered", func(path string, status int, body []byte) (int, []byte) {
			if strings.HasPrefix(path, "/tile/entries/") && status == http.StatusOK {
				body = swapped(body)
			}
			if strings.HasPrefix(path, "/leaf/") { // as a mirror, which has entries in files alone
				return http.StatusNotFound, nil
			}
			return status, body
		}, []string{"audit again"}},
		{"a tile altered", lieAt("/tile/0/", flipped), []string{"audit again"}},
		{"a tile withheld", answers("/tile/0/", http.StatusNotFound), []string{"audit again"}},
		{"a checkpoint altered", lieAt("/checkpoint", flipped), nil},
		{"a checkpoint without the log's signature", lieAt("/checkpoint", unsigned("demo.example")), nil},
		{"a checkpoint without a quorum", lieAt("/checkpoint", unsigned("witness")), nil},
		{"no checkpoint", answers("/checkpoint", http.StatusNotFound), nil},
		{"a checkpoint of a forked log", lieAt("/checkpoint", func([]byte) []byte { return d.forkedCheckpoint(t, 6) }), nil},
		{"an older checkpoint", lieAt("/checkpoint", func([]byte) []byte { return older }),
			// What they prove of the older tree is true, and they say of which time it
			// is; an older tree than was seen is found by who remembers.
			[]string{"audit", "cosign", "bundle", "bundle, boot", "prove", "prove, path", "prove, index", "record", "record, short", "timeline"}},
		{"a host's newest segment withheld", func(path string, status int, body []byte) (int, []byte) {
			if strings.HasSuffix(path, "/head") {
				body = bytes.Replace(body, []byte(`"sequence":4`), []byte(`"sequence":3`), 1)
			}
			return status, body
		}, []string{"audit", "audit again", "cosign", "prove", "prove, index", "record", "record, short", "search"}},
		{"a chain's list with another's index", func(path string, status int, body []byte) (int, []byte) {
			if strings.HasSuffix(path, "/chain") {
				body = bytes.ReplaceAll(body, []byte(`"index":2`), []byte(`"index":1`))
			}
			return status, body
		}, []string{"audit", "audit again", "cosign", "prove, index"}},
	} {
		for name, args := range liedTo(l.url, trust, state, dir) {
			t.Run(row.name+"/"+name, func(t *testing.T) {
				l.tell(row.lie)
				defer l.honest()
				passes := false
				for _, p := range row.passes {
					passes = passes || p == name
				}
				if name == "cosign" {
					args = append(args, "--state", filepath.Join(t.TempDir(), "cosign"))
					// Its key has cosigned before: a new folder is a witness's rollback.
					args = append(args, "--key", newAuditorKey(t))
				}
				code, out, talk := tool(t, args...)
				if passes {
					if code != 0 {
						t.Errorf("exit code %d\n%s%s", code, out, talk)
					}
					return
				}
				if code != 1 && code != 3 {
					t.Errorf("exit code %d, want 1 or 3\n%s%s", code, out, talk)
				}
				if strings.Contains(out, "VERIFIED") && !strings.Contains(talk, "undecided") {
					t.Errorf("it says verified:\n%s", out)
				}
				if l.told.Load() == 0 {
					t.Error("nothing was altered: the test shows nothing")
				}
			})
		}
	}
}

func newAuditorKey(t *testing.T) string {
	t.Helper()
	key := filepath.Join(t.TempDir(), "auditor.key")
	if code, _, talk := tool(t, "keygen", "--kind", "witness", "--name", "auditor.example", "--out", key); code != 0 {
		t.Fatal(talk)
	}
	return key
}

func isSealed(t *testing.T, body []byte) bool {
	p, err := ledger.ParseRecordProof(body)
	if err != nil {
		t.Error(err)
		return false
	}
	return p.Banks != nil
}

// another gets the proof of another record, which is as good as any.
func another(t *testing.T, url string, sealed bool) []byte {
	if sealed {
		url += "?sealed=true"
	}
	r, err := http.Get(url)
	if err != nil {
		t.Error(err)
		return nil
	}
	b, err := io.ReadAll(r.Body)
	if err = errors.Join(err, r.Body.Close()); err != nil || r.StatusCode != http.StatusOK {
		t.Errorf("%s: %s, %v", url, r.Status, err)
	}
	return b
}

// TestTwoRecords: a ledger may not show one record in the place that the quote covers
// and another in what was committed to.
func TestTwoRecords(t *testing.T) {
	quoted := &ledger.RecordProof{Index: 3, Record: []byte("a record")}
	if err := sameRecord(quoted, &ledger.RecordProof{Index: 3, Record: []byte("a record")}); err != nil {
		t.Error(err)
	}
	err := sameRecord(quoted, &ledger.RecordProof{Index: 3, Record: []byte("a recorD")})
	if cli.Code(err) != cli.ExitContradicted {
		t.Errorf("two records: %v", err)
	}
}
