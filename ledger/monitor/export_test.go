package monitor

import (
	"slices"
	"testing"

	"github.com/imaledger/imaledger/ledger"
)

// SetMaxAnchors has a test's audits keep n anchors.
func SetMaxAnchors(t testing.TB, n int) {
	before := maxAnchors
	maxAnchors = n
	t.Cleanup(func() { maxAnchors = before })
}

// SetMaxMissing has a test's audits keep n findings of missing payloads.
func SetMaxMissing(t testing.TB, n int) {
	before := maxMissing
	maxMissing = n
	t.Cleanup(func() { maxMissing = before })
}

// Find gives the indexes at which a leaf may stand in a list, and was asked for
// after each step entries.
func Find(list []ledger.Hash, step int, leaf ledger.Hash) (found []uint64) {
	var l leaves
	for i, h := range list {
		l.add(h)
		if i%step == step-1 {
			found = slices.Collect(l.find(leaf))
		}
	}
	return found
}
