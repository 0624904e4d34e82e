package server

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// openDoor opens what stands between the network and the log: uploads, tokens,
// limits, and the list of what was refused.
func (s *Server) openDoor() (err error) {
	c := &s.config
	dir := filepath.Join(c.Dir, "uploads")
	if s.pending, err = openPending(filepath.Join(dir, "pending"), c.Limits.Pending, c.PendingLife, c.Now); err != nil {
		return err
	}
	if s.spool, err = openSpool(filepath.Join(dir, "unfinished"), s.pending); err != nil {
		return err
	}
	key := c.TokenKey
	if key == nil {
		if key, err = readTokenKey(c.Dir, c.Rand); err != nil {
			return err
		}
	}
	if len(key) < tokenKeySize {
		return fmt.Errorf("the key of upload tokens has %d bytes, want %d or more", len(key), tokenKeySize)
	}
	s.tokens = &tokens{key, c.TokenLife, c.Now}
	s.access.Store(c.Access)
	s.uploads = newCounted(c.Limits.Uploads)
	s.hostRate = newLimiter(c.Limits.Host, c.Limits.Burst, c.Now)
	s.addressRate = newLimiter(c.Limits.Address, c.Limits.AddressBurst, c.Now)
	s.refused, err = openRefusals(filepath.Join(c.Dir, "evidence", "refusals.json"), c.Now)
	return err
}

// watchDoor tidies up from time to time.
func (s *Server) watchDoor() {
	tick := time.NewTicker(tidyInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.tidy()
		case <-s.draining:
			return
		case <-s.log.ctx.Done():
			return
		}
	}
}

// tidy removes what was uploaded and is named by no entry, and writes the list of
// refusals.
func (s *Server) tidy() {
	if err := s.refused.save(); err != nil {
		s.config.Logger.Error("the list of refusals cannot be written", "error", err)
	}
	if err := s.begin(); err != nil {
		return
	}
	defer s.end()
	if err := s.finishErasures(); err != nil {
		s.config.Logger.Error("a payload that was erased is still there", "error", err)
	}
	whole, err := s.pending.sweep(s.addenda.Delete, s.withheld)
	parts, e := s.spool.sweep(s.config.Now(), s.config.PendingLife)
	if err = errors.Join(err, e); err != nil {
		s.config.Logger.Error("uploads that nobody came back to are not removed", "error", err)
	}
	if whole+parts > 0 {
		s.config.Logger.Info("uploads that nobody came back to are removed", "whole", whole, "parts", parts)
	}
}
