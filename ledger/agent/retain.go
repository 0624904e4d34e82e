package agent

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// currentLink names the newest list's folder, for programs that are configured
// with one path.
const currentLink = "current"

// link makes lists/current name the newest list.
func (a *Agent) link() error {
	want := fmt.Sprintf("%06d", a.list.number)
	path := a.spool.path(listsDir, currentLink)
	if have, err := os.Readlink(path); err == nil && have == want {
		return nil
	}
	if err := os.Remove(path + ".new"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink(want, path+".new"); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// retain removes the lists that are older than those to be kept, and what was
// kept for the submission of their segments. Entries and receipts stay: they are
// what the host can show against the ledger.
func (a *Agent) retain() error {
	if a.list == nil {
		return nil
	}
	if err := a.link(); err != nil {
		return err
	}
	if a.Lists <= 0 {
		return nil
	}
	oldest := a.list.number - a.Lists + 1
	if a.chain.last != nil {
		oldest = min(oldest, a.chain.lastPlace.List)
	}
	for _, n := range a.chain.pending {
		if at, err := a.chain.place(n); err == nil {
			oldest = min(oldest, at.List)
		} else if !errors.Is(err, errAbsent) {
			return err
		}
	}
	removed := false
	lists, err := os.ReadDir(a.spool.path(listsDir))
	if err != nil {
		return err
	}
	for _, l := range lists {
		if n, err := strconv.Atoi(l.Name()); err == nil && n < oldest {
			if err := os.RemoveAll(a.spool.path(listsDir, l.Name())); err != nil {
				return err
			}
			removed = true
		}
	}
	if !removed {
		return nil
	}
	return a.forgetPlaces(oldest)
}

// forgetPlaces removes what only the submission of segments of older lists needed.
func (a *Agent) forgetPlaces(oldest int) error {
	return a.spool.names(chainDir, func(name string) error {
		stem, is := strings.CutSuffix(name, placeSuffix)
		if !is {
			return nil
		}
		path := a.spool.path(chainDir, name)
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if at, _, err := parsePlace(b); err != nil || at.List >= oldest {
			return nil
		}
		// The place goes last: while it is there, the anchor is looked for again.
		if err := os.Remove(a.spool.path(chainDir, stem+anchorSuffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return os.Remove(path)
	})
}
