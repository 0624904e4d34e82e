//go:build figures

package server

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

// A prepared host has segments that only wait to be sent.
type prepared struct {
	leaves   [][]byte
	payloads [][]byte
}

// prepare enrols hosts and makes n segments of each, of about 2 KiB. If store is
// true their payloads are there already.
func prepare(t testing.TB, l *testLedger, hosts, n int, store bool) []prepared {
	t.Helper()
	anchor := l.anchor(t)
	l.upload(t, anchor.Raw)
	list, enrolled := make([]prepared, hosts), l.enrolAll(t, hosts)
	parallel(hosts, func(i int) {
		h := enrolled[i]
		for k := range n {
			leaf, payload := h.segment(t, testOrigin, anchor, fmt.Sprintf("/usr/bin/%s-%d", h.name, k), "/usr/lib/x86_64-linux-gnu/libc.so.6")
			h.took(leaf)
			list[i].leaves, list[i].payloads = append(list[i].leaves, leaf), append(list[i].payloads, payload)
			if store {
				l.place(t, payload)
			}
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	return list
}

// place puts an addendum where the ledger looks for it. Nothing is synced: it need
// not outlive the machine.
func (l *testLedger) place(t testing.TB, addendum []byte) {
	name := filepath.Join(l.config.Dir, filepath.FromSlash(ledger.AddendumPath(sha256.Sum256(addendum))))
	err := os.WriteFile(name, addendum, 0o644)
	if os.IsNotExist(err) {
		if err = os.MkdirAll(filepath.Dir(name), 0o755); err == nil {
			err = os.WriteFile(name, addendum, 0o644)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

// enrolAll enrols hosts. A ledger admits enrolments one after the other, each once
// the one before is durable. In this process they are written to the log at once, as
// another front end's would be, and the ledger judges each when it reads them.
func (l *testLedger) enrolAll(t testing.TB, hosts int) []*testHost {
	t.Helper()
	list := make([]*testHost, hosts)
	evidence := &ledger.EnrolmentEvidence{}
	if l.server != nil {
		l.place(t, evidence.Marshal())
	}
	parallel(hosts, func(i int) {
		if t.Failed() {
			return // one that failed says why; ten thousand say no more
		}
		h := &testHost{name: strings.ToLower("host-" + rand.Text()), tpm: newTestAK(t)}
		list[i] = h
		if l.server == nil {
			_, a, err := l.Enrol(t.Context(), client.EnrolRequest{Host: h.name, AKPublic: h.tpm.ak}, 0)
			if err != nil {
				t.Error(err)
				return
			}
			h.leaf = ledger.LeafHash(a.Entry)
			return
		}
		e := &ledger.Enrolment{Log: testOrigin, Host: h.name, AK: h.tpm.akName(), AKPublic: h.tpm.ak, Grade: ledger.GradeSoftware, Evidence: evidence.Addendum()}
		if err := ledger.Sign(e, l.config.Registrars[0]); err != nil {
			t.Error(err)
			return
		}
		raw := e.Marshal()
		h.leaf = ledger.LeafHash(raw)
		if _, err := l.server.log.append(raw); err != nil {
			t.Error(err)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	if l.server != nil {
		if err := l.server.readOn(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range list {
		if l.server != nil && l.server.chains.host(h.name) == nil {
			t.Fatalf("%s is not enrolled", h.name)
		}
	}
	return list
}
