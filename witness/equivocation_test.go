package witness

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// evidenceOf makes a witness cosign one request and refuse another, and gives
// the files that it keeps.
func evidenceOf(t *testing.T, log *testLog, first string, refused int, second string) (files []string) {
	t.Helper()
	c := twoKeys(t, log)
	w := start(t, c)
	want(t, w, 200, first)
	want(t, w, refused, second)
	want(t, w, refused, second) // kept once
	files, err := filepath.Glob(filepath.Join(c.Dir, evidenceDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestEquivocation(t *testing.T) {
	log := newTestLog(t, testOrigin)
	hashLine := strings.SplitAfter(proofLines(t, log.tree, 7, 12), "\n")[0]
	for _, test := range []struct {
		name          string
		first, second string
		status        int
		proves        string // a part of what is proven; "open" for what is not; empty for nothing kept
	}{
		{"two trees of one size", log.body(t, 0, 7), log.bodyOf(t, log.fork, 7, 7), 422, "two trees of size 7"},
		{"two trees of one size, from another size", log.body(t, 0, 7), log.bodyOf(t, log.fork, 3, 7), 409, "two trees of size 7"},
		{"two trees of one size, as a first one", log.body(t, 0, 7), log.bodyOf(t, log.fork, 0, 7), 409, "two trees of size 7"},
		{"a longer history with its own proof", log.body(t, 0, 7), log.bodyOf(t, log.fork, 7, 12), 422, "one of size 12 whose first 7 leaves are others"},
		{"a longer history with our proof", log.body(t, 0, 7), "old 7\n" + proofLines(t, log.tree, 7, 12) + "\n" + sign(t, log.text(log.fork, 12), log.signer), 422, "open"},
		{"an honest checkpoint with a wrong proof", log.body(t, 0, 7), "old 7\n" + hashLine + "\n" + sign(t, log.text(log.tree, 12), log.signer), 422, "open"},
		{"an honest checkpoint from another size", log.body(t, 0, 7), log.body(t, 5, 12), 409, ""},
		{"an earlier checkpoint", log.body(t, 0, 7), log.body(t, 3, 5), 409, ""},
		{"a proof where none belongs", log.body(t, 0, 7), strings.Replace(log.body(t, 7, 7), "old 7\n", "old 7\n"+hashLine, 1), 422, ""},
		{"not signed", log.body(t, 0, 7), corrupt(t, log.bodyOf(t, log.fork, 7, 12)), 403, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := evidenceOf(t, log, test.first, test.status, test.second)
			if test.proves == "" {
				if len(files) > 0 {
					t.Fatalf("kept %v", files)
				}
				return
			}
			if len(files) != 1 {
				t.Fatalf("kept %d files", len(files))
			}
			b := read(t, files[0])
			e, err := ParseEquivocation(b)
			if err != nil {
				t.Fatalf("%v\n%s", err, b)
			}
			what, err := e.Verify()
			if test.proves == "open" {
				if !errors.Is(err, ErrNotProven) || filepath.Ext(files[0]) != openExt {
					t.Errorf("%s: %q, %v", files[0], what, err)
				}
				return
			}
			if err != nil || !strings.Contains(what, test.proves) || filepath.Ext(files[0]) != provenExt {
				t.Errorf("%s: %q, %v", files[0], what, err)
			}
			if cosigned := e.Cosignatures(); len(cosigned) != 2 || !cosigned[0].Time.Equal(testTime) {
				t.Errorf("cosignatures %v", cosigned)
			}
			if len(e.LogKeys) != 1 || e.LogKeys[0] != log.vkey {
				t.Errorf("log keys %v", e.LogKeys)
			}
			// Without the log's key nobody makes such a file.
			for i := range b {
				altered := bytes.Clone(b)
				altered[i] ^= 1
				if e, err := ParseEquivocation(altered); err == nil {
					if again, err := e.Verify(); err == nil && again != what {
						t.Fatalf("a bit of byte %d altered: %q", i, again)
					}
				}
			}
			stranger := newTestLog(t, testOrigin)
			forged := strings.Replace(string(b), log.vkey, stranger.vkey, 1)
			if e, err := ParseEquivocation([]byte(forged)); err != nil {
				t.Error(err)
			} else if _, err := e.Verify(); err == nil || errors.Is(err, ErrNotProven) {
				t.Errorf("verifies with a key that did not sign: %v", err)
			}
		})
	}
}

// Evidence that is made up: honest checkpoints of one log.
func TestNoEquivocation(t *testing.T) {
	log, other := newTestLog(t, testOrigin), newTestLog(t, "log.example/other")
	signed := func(l *testLog, size uint64) string { return sign(t, l.text(l.tree, size), l.signer) }
	proof := ""
	for line := range strings.Lines(proofLines(t, log.tree, 7, 12)) {
		proof += "proof " + line
	}
	head := EquivocationFormat + "\nlog " + log.vkey + "\n"
	for name, text := range map[string]string{
		"the same checkpoint twice":   head + "\n" + signed(log, 7) + "\n" + signed(log, 7),
		"trees that agree":            head + proof + "\n" + signed(log, 7) + "\n" + signed(log, 12),
		"the wrong way round":         head + proof + "\n" + signed(log, 12) + "\n" + signed(log, 7),
		"from the empty tree":         head + "\n" + signed(log, 0) + "\n" + signed(log, 7),
		"checkpoints of two logs":     head + "log " + other.vkey + "\n\n" + signed(log, 7) + "\n" + signed(other, 7),
		"one that is not the log's":   head + "\n" + signed(log, 7) + "\n" + sign(t, log.text(log.fork, 7), newTestLog(t, testOrigin).signer),
		"a key that is no log's":      EquivocationFormat + "\nlog " + testKey(t, "w").VKey() + "\n\n" + signed(log, 7) + "\n" + signed(log, 12),
		"no key":                      EquivocationFormat + "\n\n" + signed(log, 7) + "\n" + sign(t, log.text(log.fork, 7), log.signer),
		"lines in another order":      EquivocationFormat + "\n" + proof + "log " + log.vkey + "\n\n" + signed(log, 7) + "\n" + signed(log, 12),
		"another format":              "x\n\n" + signed(log, 7) + "\n" + signed(log, 12),
		"one checkpoint":              head + "\n" + signed(log, 7),
		"carriage returns":            strings.ReplaceAll(head+"\n"+signed(log, 7)+"\n"+sign(t, log.text(log.fork, 7), log.signer), "\n", "\r\n"),
		"something after the last":    head + "\n" + signed(log, 7) + "\n" + sign(t, log.text(log.fork, 7), log.signer) + "\n",
		"a carriage return in a note": head + "\n" + signed(log, 7) + "\n" + sign(t, log.text(log.fork, 7), log.signer) + "\r",
	} {
		e, err := ParseEquivocation([]byte(text))
		if err == nil {
			_, err = e.Verify()
		}
		if err == nil || errors.Is(err, ErrNotProven) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Evidence reaches the operator once: by the hook and the metrics. What a log can
// sign without end is kept in part.
func TestEvidenceIsTold(t *testing.T) {
	log := newTestLog(t, testOrigin)
	c := testConfig(t, log)
	registry := prometheus.NewRegistry()
	c.Metrics = registry
	var told atomic.Int32
	c.OnEquivocation = func(file string) {
		if _, err := os.Stat(file); err == nil {
			told.Add(1)
		}
	}
	w := start(t, c)
	want(t, w, 200, log.body(t, 0, 7))
	for i := range maxEvidence + 3 {
		fork := "old 7\n\n" + sign(t, log.text(log.fork, 7, strings.Repeat("x", i+1)+"\n"), log.signer)
		want(t, w, 422, fork)
		want(t, w, 422, fork)
	}
	want(t, w, 200, log.body(t, 7, 8)) // the history that it has cosigned goes on
	files, err := w.Evidence()
	if err != nil || len(files) != maxEvidence {
		t.Errorf("%d files, %v", len(files), err)
	}
	w.Close()
	if got := told.Load(); got != maxEvidence {
		t.Errorf("told %d times", got)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			values[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	if values["imaledger_witness_equivocations_total"] != maxEvidence || values["imaledger_witness_requests_total"] != 2*(maxEvidence+3)+2 || values["imaledger_witness_logs"] != 1 {
		t.Errorf("%v", values)
	}
}

func FuzzEquivocation(f *testing.F) {
	log := newTestLog(f, testOrigin)
	f.Add([]byte(EquivocationFormat + "\nlog " + log.vkey + "\n\n" + sign(f, log.text(log.tree, 7), log.signer) + "\n" + sign(f, log.text(log.fork, 7), log.signer)))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseEquivocation(b)
		if err != nil {
			return
		}
		e.Verify() // must not panic
		if !bytes.Equal(e.Bytes(), b) {
			t.Fatal("another file")
		}
	})
}
