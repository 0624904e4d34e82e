package server

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/quote"
)

const (
	// DefaultSessionLife is how long a TPM has for an activation. It needs a second.
	DefaultSessionLife = 2 * time.Minute
	// maxSessions bounds enrolments begun and not ended.
	maxSessions = 4096
)

var (
	errSession    = errors.New("no such enrolment session: it was used, has expired, or never was; begin again")
	errActivation = errors.New("this is not the secret that the credential holds; begin again")
)

// A candidate is what a host asks to be enrolled with, after it was checked.
type candidate struct {
	host  string
	ak    *quote.AK
	ek    *quote.EK // nil for grade software
	grade ledger.Grade
	ledger.EnrolmentEvidence
}

// An activation is an enrolment begun: the candidate, and what its TPM must
// answer. It never leaves the server, so the second step can change nothing of
// what the first one checked.
type activation struct {
	candidate *candidate
	secret    []byte
	expires   time.Time
}

// sessions are the enrolments begun.
type sessions struct {
	mu   sync.Mutex
	open map[ledger.Hash]*activation // by SHA-256 of the token: a look-up tells nothing of it by its time
}

func newSessions() *sessions { return &sessions{open: make(map[ledger.Hash]*activation)} }

// add keeps an activation and returns its token.
func (s *sessions) add(a *activation, now time.Time) (token string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= maxSessions {
		s.expire(now)
	}
	if len(s.open) >= maxSessions {
		return "", errBusy
	}
	token = rand.Text()
	s.open[sha256.Sum256([]byte(token))] = a
	return token, nil
}

// take returns a session's activation and ends the session, so that a secret
// can be guessed at once only.
func (s *sessions) take(token string, now time.Time) (*activation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := sha256.Sum256([]byte(token))
	a := s.open[id]
	delete(s.open, id)
	if a == nil || !now.Before(a.expires) {
		return nil, errSession
	}
	return a, nil
}

func (s *sessions) expire(now time.Time) {
	for id, a := range s.open {
		if !now.Before(a.expires) {
			delete(s.open, id)
		}
	}
}
