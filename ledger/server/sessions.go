package server

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/imaledger/imaledger/ledger"
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

// A session is something begun, until it expires.
type session[T any] struct {
	of      T
	expires time.Time
}

// sessions are what was begun.
type sessions[T any] struct {
	mu   sync.Mutex
	open map[ledger.Hash]session[T] // by SHA-256 of the token: a look-up tells nothing of it by its time
}

func newSessions[T any]() *sessions[T] {
	return &sessions[T]{open: make(map[ledger.Hash]session[T])}
}

// add keeps what was begun and returns its token.
func (s *sessions[T]) add(of T, now, expires time.Time) (token string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= maxSessions {
		s.expire(now)
	}
	if len(s.open) >= maxSessions {
		return "", errBusy
	}
	token = rand.Text()
	s.open[sha256.Sum256([]byte(token))] = session[T]{of, expires}
	return token, nil
}

// take returns what was begun and ends the session, so that a secret can be guessed
// at once only.
func (s *sessions[T]) take(token string, now time.Time) (of T, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := sha256.Sum256([]byte(token))
	a, found := s.open[id]
	delete(s.open, id)
	if !found || !now.Before(a.expires) {
		return of, errSession
	}
	return a.of, nil
}

func (s *sessions[T]) expire(now time.Time) {
	for id, a := range s.open {
		if !now.Before(a.expires) {
			delete(s.open, id)
		}
	}
}
