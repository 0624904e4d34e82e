package monitor

import (
	"encoding/hex"
	"fmt"
	"maps"
	"math/bits"
	"slices"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

// maxMissing bounds the findings of missing payloads that are kept until an erasure
// accounts for them. A log whose segments are erased after some months has missed all
// of them before the first erasure is read: of those over the bound one bit is kept,
// and a finding is made for all.
var maxMissing = MaxFindings

// missing are the payloads that no erasure accounts for yet.
type missing struct {
	// Missing are the first, by leaf hash.
	Missing map[string]ledger.Finding `json:"missing"`
	// Gone are those over the bound: bit i%8 of byte i/8 for the entry i.
	Gone []byte `json:"gone,omitempty"`
}

// miss keeps that an entry's payload is missing.
func (m *missing) miss(index uint64, leaf ledger.Hash, f ledger.Finding) {
	if len(m.Missing) < maxMissing {
		m.Missing[hex.EncodeToString(leaf[:])] = f
		return
	}
	for uint64(len(m.Gone)) <= index/8 {
		m.Gone = append(m.Gone, 0)
	}
	m.Gone[index/8] |= 1 << (index % 8)
}

func (m *missing) gone(index uint64) bool {
	return index/8 < uint64(len(m.Gone)) && m.Gone[index/8]&(1<<(index%8)) != 0
}

// account takes in that an entry's payload was erased.
func (w *walk) account(leaf ledger.Hash) error {
	delete(w.Missing, hex.EncodeToString(leaf[:]))
	if len(w.Gone) == 0 {
		return nil
	}
	for index := range w.leaves.find(leaf) {
		if !w.gone(index) {
			continue
		}
		// Whoever can make two leaves whose first bytes are the same must not have
		// the erasure of one account for the other.
		e, err := w.entryAt(w.ctx, index)
		if err != nil {
			return err
		}
		if e.leaf == leaf {
			w.Gone[index/8] &^= 1 << (index % 8)
		}
	}
	return nil
}

// findings returns what is missing.
func (m *missing) findings() (list []ledger.Finding) {
	for _, leaf := range slices.Sorted(maps.Keys(m.Missing)) {
		list = append(list, m.Missing[leaf])
	}
	n := 0
	for _, b := range m.Gone {
		n += bits.OnesCount8(b)
	}
	if n > 0 {
		list = append(list, ledger.Finding{Code: ledger.PayloadMissing, Subject: "payloads",
			Text: fmt.Sprintf("the records of %s are not there, and no erasure accounts for them", audit.Count(uint64(n), "more segment"))})
	}
	return list
}
