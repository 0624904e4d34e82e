package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/tpm/securityfs"
)

// TestRefusals: a ledger, or what stands before it, says no in each way for a while, to
// all requests or to uploads and entries alone, and asks in each way to come again.
// Nothing leaves the kernel meanwhile, the status says what to do, and all goes on when
// the ledger takes it.
func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, securityfs.Staging)
	k := w.kernel
	w.round()
	later := []string{"", "1", "0", "-5", "99999999999999999999", "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "soon"}
	for i, refusal := range []struct {
		status int
		mend   string
	}{
		{400, "says why"}, {401, "says why"}, {403, "says why"}, {404, "says why"}, {405, "says why"}, {408, "tried again"},
		{409, "older copy"}, {410, "https://two.example/"}, {413, "client_max_body_size"}, {415, "says why"}, {416, "says why"},
		{422, "move its directory away"}, {429, "tried again"}, {500, "tried again"}, {501, "tried again"}, {502, "tried again"},
		{503, "tried again"}, {504, "tried again"},
	} {
		for _, all := range []bool{true, false} {
			k.measure(2)
			w.answer(func(rw http.ResponseWriter, r *http.Request) bool {
				if !all && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
					return false
				}
				rw.Header().Set("Content-Type", client.ProblemType)
				rw.Header().Set("Retry-After", later[i%len(later)])
				rw.WriteHeader(refusal.status)
				p := client.Problem{Title: http.StatusText(refusal.status), Status: refusal.status}
				if refusal.status == http.StatusGone {
					p.Successor = &client.Successor{Log: "log.example/two", URL: "https://two.example/"}
				}
				json.NewEncoder(rw).Encode(p)
				return true
			})
			a := w.running()
			for range 2 {
				if err := a.Once(t.Context()); err == nil || !strings.Contains(err.Error(), fmt.Sprint(refusal.status)) {
					t.Errorf("%d: %v", refusal.status, err)
				}
			}
			problems := a.Status().Problems
			if !slices.ContainsFunc(problems, func(p agent.Problem) bool { return strings.Contains(p.Mend, refusal.mend) }) {
				t.Errorf("%d: %+v, want a mend with %q", refusal.status, problems, refusal.mend)
			}
			if k.held() < 2 {
				t.Errorf("%d: %d records are in the kernel", refusal.status, k.held())
			}
			w.answer(nil)
			if err := a.Once(t.Context()); err != nil {
				t.Errorf("after %d: %v", refusal.status, err)
			}
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			if k.held() != 0 {
				t.Errorf("after %d: %d records are in the kernel", refusal.status, k.held())
			}
		}
	}
	if n := w.whole(); n != len(k.history[0]) {
		t.Errorf("%d records sealed, want %d", n, len(k.history[0]))
	}
}

// TestOlderCopy: the agent's directory is put back as a backup had it, in the boot that
// the backup is of and in a later one. What the log has of the time after it stands:
// nothing is deleted, the status says what to do, and when that is done all goes on.
func TestOlderCopy(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		for _, boots := range []bool{false, true} {
			w := newWorld(t, flavour)
			k := w.kernel
			k.measure(2)
			w.round()
			backup := filepath.Join(t.TempDir(), "backup")
			if err := os.CopyFS(backup, os.DirFS(w.dir)); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				k.measure(2)
				w.round()
			}
			if boots {
				k.reboot()
			}
			put := func(from string) {
				t.Helper()
				if err := errors.Join(os.RemoveAll(w.dir), os.CopyFS(w.dir, os.DirFS(from)), os.Chmod(w.dir, 0o700)); err != nil {
					t.Fatal(err)
				}
			}
			put(backup)
			k.measure(3)
			held := k.held()
			a := w.running()
			for range 2 {
				if err := a.Once(t.Context()); err == nil {
					t.Errorf("%s, boot %v: an older copy is taken", flavour, boots)
				}
			}
			mend := ""
			for _, p := range a.Status().Problems {
				mend += p.Mend
			}
			if !strings.Contains(mend, "an older copy") || k.held() != held {
				t.Errorf("%s, boot %v: %d records are in the kernel, want %d; %q", flavour, boots, k.held(), held, mend)
			}
			if err := errors.Join(a.Close(), os.RemoveAll(w.dir)); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				k.measure(1)
				w.round()
			}
			if last, _ := w.newestSegments(); last.Join.Kind != ledger.JoinContinues || last.Count != 1 {
				t.Errorf("%s, boot %v: %v of %d records", flavour, boots, last.Join, last.Count)
			}
		}
	}
}

// A breaking body ends after so many bytes, as if the line had broken.
type breaking struct {
	io.ReadCloser
	left int
}

func (b *breaking) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// TestBadLine: no upload gets further than 100 KiB before the line breaks or its time is
// over. A segment of 500 KiB is there after some of them.
func TestBadLine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, securityfs.Staging)
	k := w.kernel
	w.round()
	k.measure(5000)
	broken := 0
	w.answer(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || r.ContentLength <= 100<<10 {
			return false
		}
		broken++
		r.Body = &breaking{r.Body, 100 << 10}
		w.server.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	})
	w.round()
	if n := w.whole(); n != 5001 || broken < 4 || k.held() != 0 {
		t.Errorf("%d records sealed after %d broken uploads; %d are in the kernel", n, broken, k.held())
	}
}
