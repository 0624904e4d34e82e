//go:build web

package audit_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
)

// body recomputes what follows from the records.
func (p *publisher) body(text, payload []byte) []byte {
	digest := sha256.Sum256(payload)
	if old := payloadLine.Find(text); old != nil {
		p.renamed[string(hash64.Find(old))] = fmt.Sprintf("%x", digest)
	}
	text = set(text, payloadLine, "payload %d %x", len(payload), digest)
	values := make(map[string][]byte)
	for _, f := range registerLine.FindAllSubmatch(text, -1) {
		if string(f[1]) == "base" {
			values[string(f[2])+":"+string(f[3])], _ = hex.DecodeString(string(f[4]))
		}
	}
	tree, count := ledger.NewRecordTree(), 0
	r := ima.NewReader(bytes.NewReader(payload), ima.Format{Bank: ima.SHA1, Order: ima.LittleEndian})
	for {
		rec, err := r.Next()
		if err != nil {
			break
		}
		tree.Add(rec.Raw)
		count++
		if !ima.Attestable(rec.PCR) {
			continue
		}
		for _, s := range styleLine.FindAllSubmatch(text, -1) {
			bank, err := ima.ParseBank(string(s[1]))
			name := fmt.Sprintf("%s:%d", s[1], rec.PCR)
			style := slices.Index([]string{"digest", "padded", "padded-ff"}, string(s[2]))
			if err != nil || values[name] == nil || style < 0 || !bank.Available() {
				continue
			}
			h := bank.New()
			h.Write(values[name])
			h.Write(rec.Sum(bank, ima.Style(style)))
			values[name] = h.Sum(nil)
		}
	}
	if !p.oneIn(30) {
		text = set(text, recordsLine, "records %x", tree.Root())
	}
	if !p.oneIn(30) {
		text = set(text, countLine, "count %d", count)
	}
	if p.oneIn(10) {
		return text
	}
	return registerLine.ReplaceAllFunc(text, func(line []byte) []byte {
		f := registerLine.FindSubmatch(line)
		if v := values[string(f[2])+":"+string(f[3])]; string(f[1]) == "end" && v != nil {
			return fmt.Appendf(nil, "end %s:%s %x", f[2], f[3], v)
		}
		return line
	})
}

var bankIDs = map[string]uint16{"sha1": 4, "sha256": 0xb, "sha384": 0xc, "sha512": 0xd, "sm3_256": 0x12, "sha3_256": 0x27, "sha3_384": 0x28, "sha3_512": 0x29}

// quote makes a TPMS_ATTEST over the registers that a text states.
func (p *publisher) quote(k *fuzzKey, text, old []byte) []byte {
	qualified := sha256.Sum256(append([]byte{0x40, 0, 0, 0x0b}, k.name...))
	head := text
	if at := anchorLine.FindIndex(text); at != nil {
		head = text[:at[1]+1]
	}
	nonce := sha256.Sum256(head)
	out := []byte{0xff, 0x54, 0x43, 0x47, 0x80, 0x18, 0, 34, 0, 0x0b}
	out = append(append(append(out, qualified[:]...), 0, 32), nonce[:]...)
	at := 6
	for range 2 {
		if at+2 <= len(old) {
			at += 2 + int(binary.BigEndian.Uint16(old[at:]))
		}
	}
	if at+25 > len(old) {
		return old
	}
	out = append(out, old[at:at+25]...)
	type slot struct {
		bank  uint16
		index int
		value []byte
	}
	var slots []slot
	for _, f := range registerLine.FindAllSubmatch(text, -1) {
		if string(f[1]) == "base" {
			continue
		}
		s := slot{bank: bankIDs[string(f[2])]}
		fmt.Sscan(string(f[3]), &s.index)
		s.value, _ = hex.DecodeString(string(f[4]))
		slots = append(slots, s)
	}
	slices.SortStableFunc(slots, func(a, b slot) int {
		if a.bank != b.bank {
			return int(a.bank) - int(b.bank)
		}
		return a.index - b.index
	})
	h := k.hash.New()
	var selection []byte
	banks := 0
	for i, s := range slots {
		h.Write(s.value)
		if i == 0 || slots[i-1].bank != s.bank {
			selection = append(binary.BigEndian.AppendUint16(selection, s.bank), 3, 0, 0, 0)
			banks++
		}
		if s.index < 24 {
			selection[len(selection)-3+s.index/8] |= 1 << (s.index % 8)
		}
	}
	out = append(binary.BigEndian.AppendUint32(out, uint32(banks)), selection...)
	sum := h.Sum(nil)
	return append(binary.BigEndian.AppendUint16(out, uint16(len(sum))), sum...)
}
