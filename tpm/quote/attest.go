package quote

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Limits of a quote.
const (
	// MaxAttest bounds a TPMS_ATTEST in bytes; one over 16 banks has about 330.
	MaxAttest = 1 << 10
	// MaxBanks bounds the selections of a quote (TPM 2.0 Part 2, HASH_COUNT).
	MaxBanks = 16
	// pcrSelectSize is the bytes of a selection's mask for 24 PCRs; every PC
	// client TPM answers with 3.
	pcrSelectSize = 3
)

const (
	generatedValue = 0xff544347 // TPM_GENERATED_VALUE
	attestQuote    = 0x8018     // TPM_ST_ATTEST_QUOTE
)

// A Quote is a TPMS_ATTEST of type quote (TPM 2.0 Part 2, sections 10.12.1 and
// 10.12.12).
type Quote struct {
	Raw             []byte
	QualifiedSigner []byte // of the signing key; see AK.QualifiedName
	ExtraData       []byte // the nonce
	Clock           uint64 // milliseconds that the TPM has been on since TPM2_Clear
	ResetCount      uint32 // TPM resets since TPM2_Clear
	RestartCount    uint32 // restarts and resumes since the last reset
	Safe            bool   // whether Clock cannot have been reported before
	FirmwareVersion uint64
	Selection       []SelectedBank // as quoted
	PCRDigest       []byte
}

// A SelectedBank is a bank's TPM_ALG_ID and the registers selected in it,
// ascending.
type SelectedBank struct {
	Bank uint16
	PCRs []int
}

// Parse reads a TPMS_ATTEST without size prefix. All errors are ErrMalformed.
func Parse(attest []byte) (*Quote, error) {
	if len(attest) > MaxAttest {
		return nil, fmt.Errorf("TPMS_ATTEST: %d bytes, at most %d: %w", len(attest), MaxAttest, ErrMalformed)
	}
	d := decoder{what: "TPMS_ATTEST", rest: attest}
	if magic := d.uint32("magic"); d.err == nil && magic != generatedValue {
		d.fail("magic is %08x, want ff544347: the TPM did not make this", magic)
	}
	if typ := d.uint16("type"); d.err == nil && typ != attestQuote {
		d.fail("type is %04x, want 8018, a quote", typ)
	}
	q := &Quote{Raw: attest, QualifiedSigner: d.sized("qualifiedSigner"), ExtraData: d.sized("extraData")}
	q.Clock, q.ResetCount, q.RestartCount = d.uint64("clock"), d.uint32("resetCount"), d.uint32("restartCount")
	switch safe := d.byte("safe"); {
	case safe > 1:
		d.fail("safe is %d, want 0 or 1", safe)
	default:
		q.Safe = safe == 1
	}
	q.FirmwareVersion = d.uint64("firmwareVersion")
	q.Selection = d.selection()
	q.PCRDigest = d.sized("pcrDigest")
	if err := d.end(); err != nil {
		return nil, err
	}
	return q, nil
}

// selection reads a TPML_PCR_SELECTION. An empty one, an empty mask and a bank
// that stands twice are each well-formed to a TPM and a way to say less than it
// seems.
func (d *decoder) selection() []SelectedBank {
	n := d.uint32("selection count")
	if d.err == nil && (n < 1 || n > MaxBanks) {
		d.fail("selects %d banks, want 1 to %d", n, MaxBanks)
	}
	var list []SelectedBank
	for range n {
		s := SelectedBank{Bank: d.uint16("bank")}
		if size := d.byte("sizeofSelect"); d.err == nil && size != pcrSelectSize {
			d.fail("sizeofSelect is %d, want %d", size, pcrSelectSize)
		}
		for i, mask := range d.bytes("pcrSelect", pcrSelectSize) {
			for ; mask != 0; mask &= mask - 1 {
				s.PCRs = append(s.PCRs, 8*i+bits.TrailingZeros8(mask))
			}
		}
		for _, other := range list {
			if other.Bank == s.Bank {
				d.fail("bank %04x stands twice", s.Bank)
			}
		}
		if d.err != nil {
			return nil
		}
		if len(s.PCRs) == 0 {
			d.fail("selects nothing in bank %04x", s.Bank)
		}
		list = append(list, s)
	}
	return list
}

// A decoder takes a TPM structure apart and keeps its first fault. Every byte
// is read in one way only, so what it accepts re-encodes to the same bytes.
type decoder struct {
	what string
	rest []byte
	err  error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%s: %s: %w", d.what, fmt.Sprintf(format, args...), ErrMalformed)
	}
}

func (d *decoder) bytes(field string, n int) []byte {
	if d.err == nil && n > len(d.rest) {
		d.fail("%s has %d bytes, %d are left", field, n, len(d.rest))
	}
	if d.err != nil {
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) byte(field string) byte {
	if b := d.bytes(field, 1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint16(field string) uint16 {
	if b := d.bytes(field, 2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (d *decoder) uint32(field string) uint32 {
	if b := d.bytes(field, 4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) uint64(field string) uint64 {
	if b := d.bytes(field, 8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// sized reads a TPM2B.
func (d *decoder) sized(field string) []byte { return d.bytes(field, int(d.uint16(field))) }

func (d *decoder) end() error {
	if d.err == nil && len(d.rest) > 0 {
		d.fail("%d bytes after the end", len(d.rest))
	}
	return d.err
}
