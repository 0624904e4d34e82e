package securityfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A BusyError is the list being open elsewhere: it can be staged and deleted
// from only while nobody reads it, and read only while nobody does that.
type BusyError struct {
	Path    string
	Holders []Holder // those that could be seen
}

// A Holder is a process that has a file of the list open.
type Holder struct {
	PID  int
	Name string
	File string
}

func (e *BusyError) Error() string {
	if len(e.Holders) == 0 {
		return e.Path + ": another program has a measurement list open; it will be tried again"
	}
	var who []string
	for _, h := range e.Holders {
		who = append(who, fmt.Sprintf("%s (process %d)", h.Name, h.PID))
	}
	return fmt.Sprintf("%s: the list is held open by %s: let it read the exported list instead, or stop it; it will be tried again", e.Path, strings.Join(who, ", "))
}

// holders looks through the open files of all processes that may be looked at.
func holders(proc string) []Holder {
	var list []Holder
	entries, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "fd", "*"))
	if err != nil {
		return nil
	}
	seen := make(map[int]bool)
	for _, fd := range entries {
		target, err := os.Readlink(fd)
		if err != nil || !isList(target) {
			continue // it has ended, or belongs to somebody else
		}
		dir := filepath.Dir(filepath.Dir(fd))
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || seen[pid] || pid == os.Getpid() {
			continue
		}
		seen[pid] = true
		name, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil {
			name = []byte("a process")
		}
		list = append(list, Holder{PID: pid, Name: strings.TrimSpace(string(name)), File: target})
	}
	return list
}

// isList reports whether a path is one of the files that exclude one another.
func isList(path string) bool {
	return strings.Contains(path, "/ima/") && strings.Contains(filepath.Base(path), "_runtime_measurements")
}
