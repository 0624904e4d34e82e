package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/imaledger/imaledger/ledger/internal/durable"
)

// Names in the agent's directory. FORMAT.md, "Agent's directory", has them all.
const (
	lockFile       = "lock"
	stateFile      = "state"
	checkpointFile = "checkpoint"
	listsDir       = "lists"
	chainDir       = "chain"
	evidenceDir    = "evidence"
)

// maxState bounds the state file in bytes.
const maxState = 64 << 10

var (
	errAbsent = errors.New("no such file")
	// ErrLocked is a directory that another agent has.
	ErrLocked = errors.New("another agent runs in this directory")
)

// A state is where the agent is. What it says of a list is never ahead of the
// list's file: bytes are on disk before they are counted here, and counted here
// before a leaf speaks of them or the kernel is told to delete them. So after a
// power cut, what a file has beyond its count is also still in the kernel.
type state struct {
	Boot         string `json:"boot"` // boot ID of the kernel that the rest is about
	ResetCount   uint32 `json:"resetCount"`
	RestartCount uint32 `json:"restartCount"`
	List         int    `json:"list"`    // number of the newest list
	Bytes        int64  `json:"bytes"`   // of it
	Records      uint64 `json:"records"` // of it
	// Where in it the first segment's records begin: after those that a gap
	// swallowed.
	Begin       int64  `json:"begin"`
	BeginRecord uint64 `json:"beginRecord"`
	Gap         string `json:"gap,omitempty"`   // reason, where the list begins after a gap
	Kexec       bool   `json:"kexec,omitempty"` // the kernel was started by another one, since the last segment
	// Where in it the kernel's list begins, with what is staged.
	Kernel        int64  `json:"kernel"`
	KernelRecord  uint64 `json:"kernelRecord"`
	Staged        int64  `json:"staged"` // bytes from there that are staged
	StagedRecords uint64 `json:"stagedRecords"`
	// Where the kernel's list will begin when the deletion is done that was begun.
	Deleting       int64  `json:"deleting,omitempty"`
	DeletingRecord uint64 `json:"deletingRecord,omitempty"`
}

// A spool is the agent's directory.
type spool struct {
	dir   string
	lock  *os.File
	state state
	step  func(string)
}

func openSpool(dir string, step func(string)) (*spool, error) {
	s := &spool{dir: dir, step: step}
	for _, d := range []string{"", listsDir, chainDir, evidenceDir} {
		if err := ownDir(s.path(d)); err != nil {
			return nil, err
		}
	}
	var err error
	if s.lock, err = os.OpenFile(s.path(lockFile), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	if err := takeLock(s.lock); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), s.lock.Close())
	}
	if err := s.loadState(); err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	return s, nil
}

// lockPatience is how long the lock is asked for. Who only wants to know whether an
// agent runs takes it shared for a moment (Running), and must not keep one from
// starting.
const lockPatience = time.Second

func takeLock(f *os.File) error {
	for end := time.Now().Add(lockPatience); ; time.Sleep(lockPatience / 100) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil || !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		if time.Now().After(end) {
			return ErrLocked
		}
	}
}

// Running reports whether an agent has a directory.
func Running(dir string) bool {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if err != nil {
		return false
	}
	defer f.Close() // and with it goes the lock
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// ownDir makes a directory, durably, or checks that nobody else can write to it: who
// can, chooses what is deleted from the kernel.
func ownDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := CheckOwner(dir); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(dir))
}

// CheckOwner checks that a directory is this user's, and that nobody else can write
// to it.
func CheckOwner(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d: it must be the agent's own: chown %d %s", dir, owner, os.Geteuid(), dir)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("%s has mode %04o, so others can write to it: chmod go-w %s", dir, mode, dir)
	}
	return nil
}

func (s *spool) loadState() error {
	b, err := s.read(stateFile, maxState)
	if errors.Is(err, errAbsent) {
		return nil
	}
	if err != nil {
		return err
	}
	content, sum, found := bytes.Cut(b, []byte(stateSum))
	if !found || fmt.Sprintf("%x\n", sha256.Sum256(content)) != string(sum) || json.Unmarshal(content, &s.state) != nil {
		return fmt.Errorf("%s: %w", s.path(stateFile), errDamaged)
	}
	return nil
}

// stateSum stands between the state and its SHA-256.
const stateSum = "\nsha256 "

func (s *spool) close() error { return s.lock.Close() }

func (s *spool) path(name ...string) string {
	return filepath.Join(append([]string{s.dir}, name...)...)
}

// namesAtOnce is how many names of a directory are in memory: a host's chain comes to
// millions of files.
const namesAtOnce = 1024

// names calls f for each name in a directory, in no order. f may remove the file.
func (s *spool) names(dir string, f func(name string) error) error {
	d, err := os.Open(s.path(dir))
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(namesAtOnce)
		for _, name := range names {
			if err := f(name); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// read reads a small file; errAbsent says that there is none.
func (s *spool) read(name string, max int64) ([]byte, error) {
	f, err := os.Open(s.path(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", s.path(name), errAbsent)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(b)) > max {
		err = fmt.Errorf("%s: more than %d bytes", s.path(name), max)
	}
	return b, err
}

// write writes a file whole or not at all, and returns when it is on disk under
// its name.
func (s *spool) write(name string, content []byte) error {
	return durable.WriteFile(s.path(name), bytes.NewReader(content), 0o600)
}

// save makes the state durable. Where that fails the old one stays, in memory
// too: nothing may be deleted by what is only there.
func (s *spool) save(next state) error {
	b, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		return err
	}
	if err := s.write(stateFile, fmt.Appendf(b, "%s%x\n", stateSum, sha256.Sum256(b))); err != nil {
		return err
	}
	s.state = next
	return nil
}

// keep writes evidence of somebody else's fault, for a person to look at.
func (s *spool) keep(name string, content []byte) error {
	return s.write(filepath.Join(evidenceDir, name), content)
}
