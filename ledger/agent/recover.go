package agent

import (
	"context"
	"fmt"
	"slices"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
)

// nowhere is the list of a segment whose records this directory does not have.
const nowhere = 0

// maxRecovered bounds how many enrolments can stand between the newest one and
// the newest segment.
const maxRecovered = 1000

// recoverChain fetches the host's entries before a sequence from the log, back to
// its newest segment. Each is the one that the next names, so the ledger cannot
// give another; the next is an enrolment, which registrars signed.
func (a *Agent) recoverChain(ctx context.Context, sequence uint64, leaf ledger.Hash) error {
	type recovered struct {
		raw, proof []byte
		entry      ledger.HostEntry
	}
	var list []recovered
	for range maxRecovered {
		if sequence == 0 {
			break
		}
		sequence--
		accepted, err := a.Ledger.Proof(ctx, leaf, a.Wait)
		if err != nil {
			return err
		}
		receipt, findings := audit.CheckReceipt(a.Trust, fmt.Sprintf("#%d", sequence), leaf, []byte(accepted.Proof))
		if receipt == nil {
			return fmt.Errorf("%w: %v", ErrLedger, findings)
		}
		raw, err := a.Ledger.Leaf(ctx, leaf)
		if err != nil {
			return err
		}
		entry, err := ledger.ParseEntry(raw)
		host, ok := entry.(ledger.HostEntry)
		if err != nil || !ok || ledger.LeafHash(raw) != leaf {
			return fmt.Errorf("%w: entry %d is not the one that #%d of this host's chain names: %v", ErrLedger, receipt.Index, sequence+1, err)
		}
		list = append(list, recovered{raw, []byte(accepted.Proof), host})
		if _, ok := entry.(*ledger.Segment); ok {
			break
		}
		_, _, leaf = host.Link()
	}
	// The oldest first, so that the chain has no hole if the power is cut.
	for _, r := range slices.Backward(list) {
		_, n, _ := r.entry.Link()
		files := map[string][]byte{proofSuffix: r.proof}
		s, ok := r.entry.(*ledger.Segment)
		if ok {
			files[placeSuffix] = place{List: nowhere}.marshal(ledger.LeafHash(r.raw))
			a.chain.last, a.chain.lastPlace = s, place{List: nowhere}
		}
		for suffix, content := range files {
			if err := a.spool.write(entryName(n, suffix), content); err != nil {
				return err
			}
		}
		if err := a.spool.write(entryName(n, entrySuffix), r.raw); err != nil {
			return err
		}
		a.Step("recovered")
	}
	return nil
}

// sameEpoch reports whether the TPM was neither reset nor restarted since the
// quote of the newest segment.
func (a *Agent) sameEpoch(q *quoted) bool {
	if a.chain.last == nil {
		return false
	}
	last, err := quote.Parse(a.chain.last.Attest)
	return err == nil && last.ResetCount == q.quote.ResetCount && last.RestartCount == q.quote.RestartCount
}

// rejoin goes on in a boot of which the log has segments and this directory has
// nothing. Where the kernel still lists all of the boot, the next segment begins
// behind what was sealed; otherwise there is a gap.
func (a *Agent) rejoin(boot string, q *quoted) error {
	if err := a.beginList(state{Boot: boot, ResetCount: q.quote.ResetCount, RestartCount: q.quote.RestartCount}); err != nil {
		return err
	}
	if err := a.readKernel(); err != nil {
		return err
	}
	sealed := a.chain.last.First + a.chain.last.Count
	if a.spool.state.Records < sealed {
		return a.gap("state-lost")
	}
	next := a.spool.state
	err := a.list.each(0, next.Bytes, func(r *ima.Record) error {
		if next.BeginRecord < sealed {
			next.BeginRecord++
			next.Begin += int64(len(r.Raw))
		}
		return nil
	})
	if err == nil {
		err = a.spool.save(next)
	}
	if err != nil {
		return err
	}
	return a.readAndSeal(q)
}
