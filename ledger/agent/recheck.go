package agent

import (
	"errors"
	"fmt"
	"slices"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

// loadReceipts verifies the newest segment's receipt again, and those of all others
// whose records may yet be deleted: the trust folder may be another one, or a file
// damaged, and nothing is deleted by a receipt that nobody believes. One that does not
// verify is asked for anew. The newest is returned, nil where it has to be asked for.
func (a *Agent) loadReceipts() (newest *audit.Receipt, err error) {
	last := a.chain.last
	if last == nil {
		return nil, nil
	}
	for n := last.Sequence + 1; n > 0; {
		n--
		raw, entry, err := a.chain.entry(n)
		if n < last.Sequence && errors.Is(err, errAbsent) {
			break // the chain was recovered from the log as far as it was needed
		}
		if err != nil {
			return nil, err
		}
		s, ok := entry.(*ledger.Segment)
		if !ok {
			continue
		}
		at := a.chain.lastPlace
		if n < last.Sequence {
			at, err = a.chain.place(n)
			if errors.Is(err, errAbsent) || err == nil && !a.kernelHas(s, at) {
				break
			}
			if err != nil {
				return nil, err
			}
		}
		if slices.Contains(a.chain.pending, n) {
			continue
		}
		receipt, err := a.loadReceipt(n, ledger.LeafHash(raw))
		switch {
		case err != nil:
			return nil, err
		case receipt == nil && at.List != nowhere:
			a.chain.pending = append(a.chain.pending, n)
		case n == last.Sequence:
			newest = receipt
		}
	}
	slices.Sort(a.chain.pending)
	return newest, nil
}

// kernelHas reports whether the kernel may have records of a segment still that a
// receipt would have deleted.
func (a *Agent) kernelHas(s *ledger.Segment, at place) bool {
	return a.Delete != DeleteNever && at.List == a.spool.state.List && endOf(s, at).Offset > a.spool.state.Kernel
}

// loadReceipt verifies a receipt again; it is nil where that fails.
func (a *Agent) loadReceipt(n uint64, leaf ledger.Hash) (*audit.Receipt, error) {
	name := entryName(n, proofSuffix)
	proof, err := a.spool.read(name, ledger.MaxProof)
	if err != nil {
		return nil, err
	}
	receipt, findings := audit.CheckReceipt(a.Trust, fmt.Sprintf("#%d", n), leaf, proof)
	if receipt == nil {
		a.Logger.Error("agent: a receipt does not verify", "file", a.spool.path(name), "findings", findings)
	}
	return receipt, nil
}
