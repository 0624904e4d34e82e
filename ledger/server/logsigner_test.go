package server

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

// awaySigner is a key whose KMS can be away.
type awaySigner struct {
	note.Signer
	away atomic.Bool
}

func (s *awaySigner) Sign(msg []byte) ([]byte, error) {
	if s.away.Load() {
		return nil, errors.New("the KMS is away")
	}
	return s.Signer.Sign(msg)
}

// TestKeyAway: while the log's key does not sign, entries are durable and get no
// proof; health names the key; and it recovers by itself.
func TestKeyAway(t *testing.T) {
	l := newConfig(t, ledger.GradeSoftware)
	key := &awaySigner{Signer: l.config.Signer}
	l.config.Signer = key
	l.start(t)
	h := l.enrolHost(t, "h")
	health := func(want string) {
		t.Helper()
		within(t, "/healthz has "+want, func() bool {
			_, b := l.do(t, http.MethodGet, "/healthz", nil)
			return strings.Contains(string(b), want)
		})
	}
	health(`"status":"ok"`)
	anchor := l.anchor(t)
	key.away.Store(true)
	leaf, payload := h.segment(t, testOrigin, anchor, "/bin/ls")
	l.upload(t, payload, anchor.Raw)
	a, err := l.SubmitLeaf(t.Context(), leaf, time.Second)
	if err != nil || a.Proof != "" {
		t.Fatalf("%+v, %v", a, err)
	}
	health(`"unsigned":["` + testOrigin + `+`)
	health(`"status":"unsigned"`)
	key.away.Store(false)
	again, err := l.SubmitLeaf(t.Context(), leaf, client.MaxWait)
	if err != nil || again.Index != a.Index || again.Proof == "" {
		t.Fatalf("%+v, %v", again, err)
	}
	health(`"status":"ok"`)
}
