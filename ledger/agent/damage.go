package agent

import (
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
)

// ownChain checks that the directory's chain is of this host and log.
func (a *Agent) ownChain() error {
	e := a.chain.enrolment
	if e == nil || e.Host == a.Host && e.Log == a.log {
		return nil
	}
	return fmt.Errorf("%s is the directory of host %s in log %s, and not of %s in %s: name that host and ledger, or give another directory", a.Dir, e.Host, e.Log, a.Host, a.log)
}

// mendList has those records read again that are damaged in the list's file and
// that the kernel still has.
func (a *Agent) mendList() error {
	at := a.spool.state
	if a.list.sound(at.Kernel, at.Bytes) != nil {
		if err := a.list.takeBack(); err != nil {
			return err
		}
	} else if err := a.checkSegments(); err != nil {
		return err
	}
	if a.spool.state != at {
		a.Logger.Error("agent: the exported list was damaged; it is read from the kernel again", "file", a.list.path(ima.SHA1))
	}
	return nil
}

// checkSegments checks that the records of the newest list's segments are what was
// sealed. What the kernel has still is read again where it is damaged.
func (a *Agent) checkSegments() error {
	if !a.begun() {
		return nil
	}
	for n := a.chain.sequence + 1; n > 0; {
		n--
		raw, entry, err := a.chain.entry(n)
		if err != nil {
			return err
		}
		s, ok := entry.(*ledger.Segment)
		if !ok {
			continue
		}
		at, written, err := a.chain.placeOf(n)
		if err == nil && written != ledger.LeafHash(raw) {
			err = fmt.Errorf("%s: %w", a.spool.path(entryName(n, placeSuffix)), errDamaged)
		}
		if err != nil {
			return err
		}
		if at.List != a.list.number {
			return nil
		}
		h := sha256.New()
		size, err := io.Copy(h, a.list.section(at.Offset, at.Offset+int64(s.Payload.Size)))
		switch {
		case err != nil:
			return err
		case size == int64(s.Payload.Size) && ledger.Hash(h.Sum(nil)) == s.Payload.Digest:
		case at.Offset >= a.spool.state.Kernel:
			if err := a.list.takeBack(); err != nil {
				return err
			}
		case a.damaged == nil:
			a.damaged = fmt.Errorf("%s: %w: from byte %d on it is not what #%d sealed", a.list.path(ima.SHA1), errListDamaged, at.Offset, n)
		}
		if at.Offset == a.spool.state.Begin {
			break // the list's first: of those before, the places may be gone with their lists
		}
	}
	return nil
}
