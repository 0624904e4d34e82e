package server

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
)

// TestCheckSignatures alters each byte of the checkpoints that a ledger keeps. Two
// keys of the log have signed them and all three witnesses, so that one line more
// or less changes nothing of the quorum; what a reader then may pass over is damage
// to who keeps the file.
func TestCheckSignatures(t *testing.T) {
	l := newConfig(t, ledger.GradeSoftware)
	pq, pqKey := mldsaSigner(t, testOrigin)
	l.config.MoreSigners, l.config.Trust = []note.Signer{pq}, l.trusting(t, l.vkey, pqKey)
	l.start(t)
	l.submit(t, l.enrolHost(t, "h"), "/bin/sh")
	head := l.anchor(t)
	l.kill()
	time.Sleep(50 * time.Millisecond)

	published := filepath.Join(l.config.Dir, logDir, "checkpoint")
	days, err := filepath.Glob(filepath.Join(l.config.Dir, historyDir, "2*"))
	if err != nil || len(days) == 0 {
		t.Fatal(days, err)
	}
	signers := []note.Signer{l.config.Signer, pq}
	for _, w := range l.witnesses {
		signers = append(signers, w.signer)
	}
	text, _, _ := strings.Cut(string(head.Raw), "\n\n")
	full, err := note.Sign(&note.Note{Text: text + "\n"}, signers...)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{published, days[0]} {
		if err := os.WriteFile(name, full, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mustCheck(t, l.config.Dir, l.config.Trust)

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for _, name := range []string{published, days[0]} {
		rel, _ := filepath.Rel(l.config.Dir, name)
		altered, passed := 0, 0
		for at := range full {
			if fromLineEnd(full, at) > 200 && random.IntN(50) > 0 {
				continue // of the ML-DSA-44 signature, some are enough
			}
			b := bytes.Clone(full)
			b[at] ^= 1 << random.IntN(8)
			if err := os.WriteFile(name, b, 0o644); err != nil {
				t.Fatal(err)
			}
			r, err := Check(t.Context(), l.config.Dir, l.config.Trust, noProgress)
			_, verified := l.config.Trust.Policy.Verify(b)
			var few *ledger.QuorumError
			undecided := verified == nil || errors.As(verified, &few)
			if undecided {
				passed++
			}
			if err != nil || r.Class() == ledger.Noted || r.Class() == ledger.Undecided && !undecided {
				t.Fatalf("%s: byte %d of %d was made %q: %v %+v", rel, at, len(full), b[at], err, r)
			}
			altered++
		}
		t.Logf("%s: %d of %d bytes altered, one at a time; readers pass over %d of them", rel, altered, len(full), passed)
		if altered < 500 || passed < 40 {
			t.Errorf("%s: the test has tested too little", rel)
		}
		if err := os.WriteFile(name, full, 0o644); err != nil {
			t.Fatal(err)
		}
	}

	// What is said to mend it does.
	if err := os.WriteFile(published, full[:len(full)-1], 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := Check(t.Context(), l.config.Dir, l.config.Trust, noProgress)
	if err != nil || len(r.Damage) != 1 || len(r.Findings)+len(r.Unknown) > 0 {
		t.Fatalf("%v %+v", err, r)
	}
	if err := os.Remove(published); err != nil {
		t.Fatal(err)
	}
	l.start(t)
	l.submit(t, l.enrolHost(t, "i"), "/bin/ls")
	if r := mustCheck(t, l.config.Dir, l.config.Trust); r.Published != 4 {
		t.Errorf("%+v", r)
	}
}

// fromLineEnd returns how far a place is from the nearer end of its line.
func fromLineEnd(note []byte, at int) int {
	from := bytes.LastIndexByte(note[:at], '\n')
	to := bytes.IndexByte(note[at:], '\n')
	return min(at-from, to)
}
