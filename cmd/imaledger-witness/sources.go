package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/witness"
)

// How often files of logs are looked at, and lists of others pulled.
const (
	reloadEvery = time.Second
	pullEvery   = time.Hour
)

// A logSource is where the operator says which logs to cosign for: one key, or a
// file with a list.
type logSource struct{ vkey, file string }

func (s logSource) read() ([]witness.Log, error) {
	if s.file == "" {
		log, err := witness.ParseLog(s.vkey)
		return []witness.Log{log}, err
	}
	text, err := cli.ReadFile(s.file, witness.MaxLogList)
	if err != nil {
		return nil, err
	}
	logs, err := witness.ParseLogList(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.file, err)
	}
	return logs, nil
}

// sources are all that say which logs to cosign for. The operator's own word is
// the files' as they are now. Lists that others publish only add to it, and what
// they once added stays, on disk too.
type sources struct {
	own    *cli.Reloaded[[]witness.Log]
	logger *slog.Logger
	pulls  []pull
	keys   []*witness.Key // of the witness
	dir    string         // of what was pulled

	mu     sync.Mutex
	pulled []witness.Log
}

func openSources(list []logSource, pulls []pull, state string, keys []*witness.Key, logger *slog.Logger) (*sources, error) {
	s := &sources{logger: logger, pulls: pulls, keys: keys, dir: filepath.Join(state, "lists")}
	var files []string
	for _, source := range list {
		if source.file != "" {
			files = append(files, source.file)
		}
	}
	var err error
	s.own, err = cli.Reload(logger, func() ([]witness.Log, error) {
		var logs []witness.Log
		for _, source := range list {
			more, err := source.read()
			if err != nil {
				return nil, err
			}
			logs = append(logs, more...)
		}
		return logs, nil
	}, files...)
	if err != nil {
		return nil, cli.Usagef("%w", err)
	}
	for _, p := range pulls {
		logs, err := p.kept(s.dir)
		if err != nil {
			return nil, cli.Usagef("%w", err)
		}
		s.add(p, logs)
	}
	return s, nil
}

// add adds what a list has and nobody had before. A log that the witness's keys
// cannot sign for is left out: it must not keep the others out.
func (s *sources) add(p pull, logs []witness.Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	logs = slices.DeleteFunc(slices.Clone(logs), func(l witness.Log) bool {
		err := witness.CheckLog(s.keys, &l)
		if err != nil {
			s.logger.Warn("a list of others has a log that cannot be cosigned for", "list", p.url, "error", err)
		}
		return err != nil
	})
	if s.pulled, err = witness.AddLogs(s.pulled, logs); err != nil {
		s.logger.Warn("a list of others changes logs, which it cannot", "list", p.url, "error", err)
	}
}

// logs gives all logs.
func (s *sources) logs() []witness.Log {
	own := s.own.Get()
	s.mu.Lock()
	defer s.mu.Unlock()
	// Where the operator names a log himself, his word holds.
	all, _ := witness.AddLogs(own, s.pulled)
	return all
}

// follow keeps the witness's logs as the sources have them, until the context ends.
func (s *sources) follow(ctx context.Context, w *witness.Witness) {
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	last := s.logs()
	for next := time.Now(); ; {
		if len(s.pulls) > 0 && !time.Now().Before(next) {
			next = time.Now().Add(pullEvery)
			s.pullAll(ctx)
		}
		if now := s.logs(); !sameLogs(last, now) {
			if err := w.SetLogs(now); err != nil {
				s.logger.Error("the lists of logs do not go together; what they said before holds", "error", err)
			} else {
				s.logger.Info("logs", "before", len(last), "now", len(now))
			}
			last = now
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *sources) pullAll(ctx context.Context) {
	for _, p := range s.pulls {
		logs, err := p.fetch(ctx)
		if err != nil {
			s.logger.Warn("cannot pull a list; what it said before holds", "list", p.url, "error", err)
			continue
		}
		before, err := p.kept(s.dir)
		if err == nil {
			logs, _ = witness.AddLogs(before, logs)
			err = p.keep(s.dir, logs)
		}
		if err != nil {
			s.logger.Error("cannot keep a list", "list", p.url, "error", err)
			continue
		}
		s.add(p, logs)
	}
}

// sameLogs reports whether two lists say the same.
func sameLogs(a, b []witness.Log) bool {
	return slices.EqualFunc(a, b, func(a, b witness.Log) bool {
		return a.Origin == b.Origin && a.QPD == b.QPD && a.Contact == b.Contact &&
			slices.EqualFunc(a.Keys, b.Keys, func(a, b witness.LogKey) bool { return a.VKey == b.VKey })
	})
}

// writeFile writes a file whole, or leaves the old one.
func writeFile(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if again := f.Close(); err == nil {
		err = again
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	return err
}
