//go:build web

package audit_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
)

// A draft is an entry that is to be made anew.
type draft struct {
	kind    string
	old     string // leaf hash, hex
	text    []byte // of a statement without signature lines
	payload []byte // nil where it is not at hand
	attest  []byte
	origin  string
	index   int
}

var indexLine = regexp.MustCompile(`(?m)^index ([0-9]{1,6})$`)

// drafts are a bundle's entries in the order of their indexes, log by log.
func (m *mutator) drafts(b loadedBundle) []draft {
	var list []draft
	for _, f := range b.files {
		if f.Folder != ledger.FolderLeaves {
			continue
		}
		name := fmt.Sprintf("%x", f.Hash)
		entry := b.body["leaves/"+name]
		e, err := ledger.ParseEntry(entry)
		if err != nil {
			continue
		}
		d := draft{old: name, text: textOf(entry), origin: e.LogOrigin(), index: 1 << 20}
		if at := indexLine.FindSubmatch(b.body["proofs/"+name]); at != nil {
			fmt.Sscan(string(at[1]), &d.index)
		}
		d.kind = strings.Split(string(entry), "/")[1]
		if s, ok := e.(*ledger.Segment); ok {
			d.payload, d.attest = b.body[fmt.Sprintf("payloads/%x", s.Payload.Digest)], s.Attest
		} else {
			d.text = d.text[:bytes.Index(d.text, []byte("\n\n"))+1]
		}
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b draft) int {
		if a.origin != b.origin {
			return -strings.Compare(a.origin, b.origin) // test before next
		}
		return a.index - b.index
	})
	return list
}

// list alters a list: a record, or their order.
func (m *mutator) list(list []byte) []byte {
	var records [][]byte
	r := ima.NewReader(bytes.NewReader(list), ima.Format{Bank: ima.SHA1})
	for {
		rec, err := r.Next()
		if err != nil {
			break
		}
		records = append(records, bytes.Clone(rec.Raw))
	}
	if len(records) == 0 {
		return m.bytes(list)
	}
	i := m.rand.IntN(len(records))
	switch m.rand.IntN(8) {
	case 0:
		records = slices.Delete(records, i, i+1)
	case 1:
		records = slices.Insert(records, i, records[i])
	case 2:
		k := m.rand.IntN(len(records))
		records[i], records[k] = records[k], records[i]
	case 3:
		records[i][0] = pick(m, []byte{10, 11, 0, 16, 17, 23, 24, 255})
	case 4:
		clear(records[i][4:24])
	case 5:
		records = records[:i]
	case 6:
		records[i] = m.bytes(records[i])
	default: // of boot_aggregate and its like
		at := m.rand.IntN(min(3, len(records)))
		records[at] = m.bytes(records[at])
	}
	return slices.Concat(records...)
}

// counters alters clock, counters and what else stands in a TPMS_ATTEST.
func (m *mutator) counters(attest []byte) {
	at := 6
	for range 2 { // qualifiedSigner, extraData
		if at+2 > len(attest) {
			return
		}
		at += 2 + int(binary.BigEndian.Uint16(attest[at:]))
	}
	if at+25 > len(attest) {
		return
	}
	field := attest[at+8 : at+12] // resetCount
	switch m.rand.IntN(5) {
	case 0:
		field = attest[at+12 : at+16]
	case 1:
		field = attest[at+4 : at+8] // of the clock
	case 2:
		attest[at+16] ^= byte(m.rand.IntN(3))
		return
	}
	binary.BigEndian.PutUint32(field, binary.BigEndian.Uint32(field)+uint32(m.rand.IntN(5))-2)
}
