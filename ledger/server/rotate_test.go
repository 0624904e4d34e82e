package server

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/witness"
)

// mldsaSigner makes a key that signs checkpoints with ML-DSA-44.
func mldsaSigner(t *testing.T, name string) (note.Signer, string) {
	t.Helper()
	skey, vkey, err := fnote.GenerateMLDSAKey(name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseSigner("", []byte(skey), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s, vkey
}

// trusting is the ledger's trust folder with other lines for the log.
func (l *testLedger) trusting(t *testing.T, logs ...string) *ledger.Trust {
	t.Helper()
	lines := ""
	for _, vkey := range logs {
		lines += "log " + vkey + "\n"
	}
	p, err := ledger.ParsePolicy([]byte(strings.Replace(string(l.policy), "log "+l.vkey+"\n", lines, 1)))
	if err != nil {
		t.Fatal(err)
	}
	trust := *l.config.Trust
	trust.Policy = p
	return &trust
}

// tell starts the witnesses again with these keys of the log.
func (l *testLedger) tell(t *testing.T, vkeys ...string) {
	t.Helper()
	var logs []witness.Log
	for _, vkey := range vkeys {
		log, err := witness.ParseLog(vkey)
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, log)
	}
	for _, w := range l.witnesses {
		if err := w.Witness.Close(); err != nil {
			t.Fatal(err)
		}
		c := w.config
		c.Logs = logs
		var err error
		if w.Witness, err = witness.New(c); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.Witness.Close() })
	}
}

// TestRotation takes a log from one key to the next. Whoever has the old trust
// folder, the new one, or the one between, verifies all that is made in his time,
// and whoever keeps the old key's line verifies all of it.
func TestRotation(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	next, nextKey := signer(t, testOrigin)
	pq, pqKey := mldsaSigner(t, testOrigin)
	before, both := l.trusting(t, l.vkey), l.trusting(t, l.vkey, nextKey)
	after, postQuantum := l.trusting(t, nextKey), l.trusting(t, pqKey)
	h := l.enrolHost(t, "h")

	type receipt struct {
		leaf  ledger.Hash
		proof []byte
	}
	submit := func(file string) receipt {
		t.Helper()
		_, a := l.submit(t, h, file)
		return receipt{h.leaf, []byte(a.Proof)}
	}
	verified := func(trust *ledger.Trust, r receipt) bool {
		got, findings := audit.CheckReceipt(trust, "receipt", r.leaf, r.proof)
		return got != nil && ledger.Worst(findings) == ledger.Noted
	}
	type who struct {
		name  string
		trust *ledger.Trust
		sees  bool
	}
	expect := func(when string, r receipt, all ...who) {
		t.Helper()
		for _, w := range all {
			if verified(w.trust, r) != w.sees {
				t.Errorf("%s: trust folder %s verifies: %v", when, w.name, !w.sees)
			}
		}
	}
	restart := func(trust *ledger.Trust, signers ...note.Signer) {
		t.Helper()
		l.config.Signer, l.config.MoreSigners, l.config.Trust = signers[0], signers[1:], trust
		l.restart(t)
	}
	old := l.config.Signer

	first := submit("/bin/first")
	expect("before", first, who{"before", before, true}, who{"both", both, true}, who{"after", after, false})

	// Both sign. The witnesses, and the agents, know the old key still.
	restart(both, old, next)
	during := submit("/bin/during")
	expect("both sign", during, who{"before", before, true}, who{"both", both, true}, who{"after", after, true})

	// The witnesses learn the new key, and the old one signs no more.
	l.tell(t, l.vkey, nextKey, pqKey)
	restart(l.trusting(t, l.vkey, nextKey, pqKey), next, pq)
	last := submit("/bin/last")
	expect("the new one signs", last, who{"before", before, false}, who{"both", both, true}, who{"after", after, true}, who{"post-quantum", postQuantum, true})
	expect("what was before", first, who{"both", both, true})
	if l.server.VerifierKey() != nextKey {
		t.Errorf("verifier key %s", l.server.VerifierKey())
	}

	// Each entry of the log has a proof by the new key now.
	a, err := l.Proof(t.Context(), first.leaf, 0)
	if err != nil {
		t.Fatal(err)
	}
	expect("the first entry, proven anew", receipt{first.leaf, []byte(a.Proof)}, who{"after", after, true})

	// A line by a known key that fails is a finding, whichever else verifies.
	checkpoint, err := l.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(checkpoint), "\n")
	for i, line := range lines {
		if !strings.HasPrefix(line, "— "+testOrigin+" ") {
			continue
		}
		damaged := append([]string(nil), lines...)
		at := len(line) - 40
		damaged[i] = line[:at] + string("AB"[btoi(line[at] == 'A')]) + line[at+1:]
		if _, err := l.config.Trust.Policy.Verify([]byte(strings.Join(damaged, ""))); !errors.Is(err, ledger.ErrLogSignature) {
			t.Errorf("damaged line %d of %d bytes: %v", i, len(line), err)
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestSignersOfALog: what a log may sign with.
func TestSignersOfALog(t *testing.T) {
	l := newConfig(t, ledger.GradeSoftware)
	next, nextKey := signer(t, testOrigin)
	other, otherKey := signer(t, "another.example")
	pq, pqKey := mldsaSigner(t, testOrigin)
	old := l.config.Signer
	for want, test := range map[string]struct {
		trust   *ledger.Trust
		signers []note.Signer
	}{
		fmt.Sprintf("the policy does not accept this log's key %s+%08x", testOrigin, next.KeyHash()): {l.trusting(t, l.vkey), []note.Signer{old, next}},
		"is given twice":             {l.trusting(t, l.vkey, nextKey), []note.Signer{old, next, next}},
		"a log's keys have one name": {l.trusting(t, l.vkey, otherKey), []note.Signer{old, other}},
		"is no Ed25519 key":          {l.trusting(t, l.vkey, pqKey), []note.Signer{pq, old}},
	} {
		c := l.config
		c.Trust, c.Signer, c.MoreSigners, c.Dir = test.trust, test.signers[0], test.signers[1:], tempDir(t)
		if _, err := New(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}
