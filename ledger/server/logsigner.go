package server

import (
	"fmt"
	"log/slog"
	"sync"

	"golang.org/x/mod/sumdb/note"
)

// A logSigner is a key of the log, and whether it signs: one in a KMS may not.
// Tessera asks at each checkpoint, so a failure is logged when it begins and when
// it ends.
type logSigner struct {
	note.Signer
	logger *slog.Logger

	mu  sync.Mutex
	err error // of the last signature
}

// Sign implements note.Signer.
func (s *logSigner) Sign(msg []byte) ([]byte, error) {
	sig, err := s.Signer.Sign(msg)
	s.mu.Lock()
	was := s.err
	s.err = err
	s.mu.Unlock()
	switch {
	case err != nil && was == nil:
		s.logger.Error("a key of the log does not sign, and nothing is published without it", "key", s.id(), "error", err)
	case err == nil && was != nil:
		s.logger.Info("a key of the log signs again", "key", s.id())
	}
	return sig, err
}

func (s *logSigner) id() string { return fmt.Sprintf("%s+%08x", s.Name(), s.KeyHash()) }

func (s *logSigner) signs() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err == nil
}

// watchSigners wraps the log's signers. The first is Config.Signer.
func watchSigners(c *Config) (all []*logSigner, first note.Signer, more []note.Signer) {
	for _, s := range append([]note.Signer{c.Signer}, c.MoreSigners...) {
		all = append(all, &logSigner{Signer: s, logger: c.Logger})
	}
	for _, s := range all[1:] {
		more = append(more, s)
	}
	return all, all[0], more
}

// unsigned names the keys that do not sign.
func (l *treeLog) unsigned() (keys []string) {
	for _, s := range l.signers {
		if !s.signs() {
			keys = append(keys, s.id())
		}
	}
	return keys
}
