package testlog

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/tpm"
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
)

// A Host is a machine that writes to a log: registers, a list, a chain.
type Host struct {
	Name     string
	Sequence uint64      // of its next entry
	Previous ledger.Hash // of its newest entry
	Last     *ledger.Segment
	TPM      *tpm.Software

	ak   *quote.AK
	list []byte // that no segment has
	// Anchor is the size of the tree that its segments are anchored to; negative
	// for the newest.
	Anchor int
}

// NewHost makes a machine that is not enrolled. It has booted.
func (l *Log) NewHost(name string) (*Host, error) {
	s, err := tpm.NewSoftware(l.random, func() time.Time { return l.Now })
	if err != nil {
		return nil, err
	}
	public, err := s.AK()
	if err != nil {
		return nil, err
	}
	ak, err := quote.ParseAK(public)
	if err != nil {
		return nil, err
	}
	h := &Host{Name: name, TPM: s, ak: ak, Anchor: -1}
	return h, h.Boot()
}

// AddHost makes a machine and enrols it.
func (l *Log) AddHost(name string) (*Host, error) {
	h, err := l.NewHost(name)
	if err != nil {
		return nil, err
	}
	return h, l.Enrol(h)
}

// Enrol puts an enrolment of the host's AK into the log.
func (l *Log) Enrol(h *Host) error {
	evidence := (&ledger.EnrolmentEvidence{}).Marshal()
	e := &ledger.Enrolment{Log: l.Origin, Host: h.Name, Sequence: h.Sequence, Previous: h.Previous, AK: ledger.Name(h.ak.Name), AKPublic: h.ak.Raw,
		Grade: ledger.GradeSoftware, Evidence: ledger.Addendum{Size: uint64(len(evidence)), Digest: l.Keep(evidence)}}
	if err := ledger.Sign(e, l.Registrar); err != nil {
		return err
	}
	leaf, err := l.Add(e.Marshal())
	h.Previous, h.Sequence = leaf, h.Sequence+1
	return err
}

var selection = ima.Selection{{Bank: ima.SHA1, PCRs: []int{10}}, {Bank: ima.SHA256, PCRs: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}}

// Boot resets the machine; its list begins anew.
func (h *Host) Boot() error {
	h.TPM.Reset()
	h.list = nil
	values, err := h.TPM.ReadPCRs(selection)
	if err != nil {
		return err
	}
	digest, _ := ima.BootAggregate(ima.SHA256, func(s ima.Slot) []byte { return values[s] })
	return h.Measure(Record("boot_aggregate", digest))
}

// Record is a record of the template ima-ng as a little-endian kernel lists it, with
// the SHA-256 of a file.
func Record(path string, digest []byte) []byte {
	le := binary.LittleEndian
	field := fmt.Appendf(nil, "sha256:\x00%s", digest)
	data := append(le.AppendUint32(nil, uint32(len(field))), field...)
	data = append(le.AppendUint32(data, uint32(len(path)+1)), path...)
	data = append(data, 0)
	stored := sha1.Sum(data)
	b := append(le.AppendUint32(nil, 10), stored[:]...)
	b = append(le.AppendUint32(b, 6), "ima-ng"...)
	return append(le.AppendUint32(b, uint32(len(data))), data...)
}

// Files are records of files whose contents are their names.
func Files(names ...string) [][]byte {
	var list [][]byte
	for _, name := range names {
		digest := sha256.Sum256([]byte(name))
		list = append(list, Record(name, digest[:]))
	}
	return list
}

// Measure lists records and extends the registers with them.
func (h *Host) Measure(records ...[]byte) error {
	for _, raw := range records {
		rec, err := ima.NewReader(bytes.NewReader(raw), ima.Format{Bank: ima.SHA1}).Next()
		if err != nil {
			return err
		}
		err = h.TPM.Extend(int(rec.PCR), map[ima.Bank][]byte{ima.SHA1: rec.Sum(ima.SHA1, ima.StyleDigest), ima.SHA256: rec.Sum(ima.SHA256, ima.StyleDigest)})
		if err != nil {
			return err
		}
		h.list = append(h.list, raw...)
	}
	return nil
}

// Seal quotes and puts the segment into the log.
func (l *Log) Seal(h *Host) (*ledger.Segment, error) {
	size := h.Anchor
	if size < 0 {
		size = len(l.Entries)
	}
	anchor, err := l.Checkpoint(size)
	if err != nil {
		return nil, err
	}
	c, err := ledger.ParseCheckpoint(anchor)
	if err != nil {
		return nil, err
	}
	head := ledger.Head{Log: l.Origin, Host: h.Name, AK: ledger.Name(h.ak.Name), Sequence: h.Sequence, Previous: h.Previous,
		Anchor: ledger.Anchor{Size: c.Size, Root: c.Root, Note: l.Keep(anchor)}}
	nonce := head.Nonce()
	attest, signature, err := h.TPM.Quote(nonce[:], selection)
	if err != nil {
		return nil, err
	}
	known, err := h.TPM.ReadPCRs(selection)
	if err != nil {
		return nil, err
	}
	s, err := agent.Assemble(agent.Input{Head: head, Attest: attest, Signature: signature, Hash: ima.Bank(h.ak.HashAlg), Format: ima.Format{Bank: ima.SHA1},
		List: bytes.NewReader(h.list), Known: known, Expected: known, Previous: h.Last})
	if err != nil {
		return nil, err
	}
	l.Keep(h.list[:s.Payload.Size])
	h.list = h.list[s.Payload.Size:]
	leaf, err := l.Add(s.Marshal())
	h.Previous, h.Sequence, h.Last = leaf, h.Sequence+1, s
	return s, err
}
