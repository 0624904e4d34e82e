package monitor

import (
	"encoding/hex"

	"github.com/imaledger/imaledger/ledger"
)

// A Host is what an audit says of a host's chain.
type Host struct {
	Host     string       `json:"host"`
	Verdict  string       `json:"verdict"`  // verified, undecided or contradicted: by the worst of Findings
	Sequence uint64       `json:"sequence"` // of its newest entry
	Leaf     string       `json:"leaf"`     // leaf hash of that, hex
	Seen     uint64       `json:"seen"`     // by when the log had it, Unix seconds; 0 if no witness tells
	Grade    ledger.Grade `json:"grade"`    // of its enrolment
	AK       string       `json:"ak"`       // hex
	EK       string       `json:"ek"`       // hex, empty for grade software
	Boot     uint32       `json:"boot"`     // the TPM's reset counter
	Records  uint64       `json:"records"`  // of the boot, in segments
	Gaps     int          `json:"gaps"`     // that no operator has acknowledged

	Findings []ledger.Finding `json:"findings"`
}

// fleet lists the hosts. A finding is of the host whose entry its subject names.
func (w *walk) fleet(found []ledger.Finding) []Host {
	of := make(map[string][]ledger.Finding)
	for _, f := range found {
		if host, _, ok := ledger.ParseSubject(f.Subject); ok {
			of[host] = append(of[host], f)
		}
	}
	index := w.heads()
	list := []Host{}
	for name, s := range w.state.Hosts() {
		h := Host{Host: name, Verdict: "verified", Sequence: s.Sequence, Leaf: hex.EncodeToString(s.Leaf[:]), Boot: s.Boot(), Findings: []ledger.Finding{}}
		if e := s.Enrolment; e != nil {
			h.Grade, h.AK = e.Grade, hex.EncodeToString([]byte(e.AK))
			if e.EK != ledger.NameNone {
				h.EK = hex.EncodeToString([]byte(e.EK))
			}
		}
		if s.Last != nil {
			h.Records = s.Last.First + s.Last.Count
		}
		if i, found := index[s.Leaf]; found {
			h.Seen = w.times.notAfter(i)
		}
		h.Findings = append(h.Findings, of[name]...)
		for _, f := range h.Findings {
			if f.Code == ledger.Gap {
				h.Gaps++
			}
		}
		if c := ledger.Worst(h.Findings); c != ledger.Noted {
			h.Verdict = c.String()
		}
		list = append(list, h)
	}
	return list
}

// heads finds the indexes of all hosts' newest entries in one pass.
func (w *walk) heads() map[ledger.Hash]uint64 {
	wanted := make(map[uint64]ledger.Hash)
	for _, s := range w.state.Hosts() {
		wanted[prefixOf(s.Leaf)] = s.Leaf
	}
	index := make(map[ledger.Hash]uint64, len(wanted))
	for i, p := range w.leaves.prefixes {
		if leaf, is := wanted[p]; is {
			index[leaf] = uint64(i)
		}
	}
	return index
}
