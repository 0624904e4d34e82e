package quote

import (
	"bytes"
	"fmt"
)

// Limits of a quote, in bytes.
const (
	// MaxAttest bounds a TPMS_ATTEST; the longest, over 16 banks, has 335.
	MaxAttest = 1 << 10
	// MaxNonce bounds extraData: a TPM2B_DATA holds a TPMT_HA, which is an
	// algorithm and its digest, of SHA-512 at the most.
	MaxNonce = 2 + maxDigest

	maxName   = 2 + maxDigest
	maxDigest = 64
)

const (
	generatedValue = 0xff544347 // TPM_GENERATED_VALUE
	attestQuote    = 0x8018     // TPM_ST_ATTEST_QUOTE
)

// A Quote is a TPMS_ATTEST of type quote (TPM 2.0 Part 2, sections 10.12.1 and
// 10.12.12). Its slices are parts of Raw.
type Quote struct {
	Raw             []byte
	QualifiedSigner []byte // of the signing key; see AK.QualifiedName
	ExtraData       []byte // the nonce
	Clock           uint64 // milliseconds that the TPM has been on since TPM2_Clear
	ResetCount      uint32 // TPM resets since TPM2_Clear
	RestartCount    uint32 // restarts and resumes since the last reset
	Safe            bool   // whether no higher Clock was reported before
	FirmwareVersion uint64
	Selection       []SelectedBank // as quoted
	PCRDigest       []byte         // by the hash of the signature scheme
}

// Parse reads a TPMS_ATTEST without size prefix. The error is a *SyntaxError.
//
// That it parses says nothing of who made it: see AK.Verify.
func Parse(attest []byte) (*Quote, error) {
	d := decode("TPMS_ATTEST", attest, MaxAttest)
	if magic := d.uint32("magic"); d.err == nil && magic != generatedValue {
		d.fail("magic is %08x, want %08x: no TPM made this", magic, uint32(generatedValue))
	}
	if typ := d.uint16("type"); d.err == nil && typ != attestQuote {
		d.fail("type is %04x, want %04x, a quote", typ, attestQuote)
	}
	q := &Quote{Raw: attest}
	q.QualifiedSigner = d.sized("qualifiedSigner", maxName)
	q.ExtraData = d.sized("extraData", MaxNonce)
	q.Clock, q.ResetCount, q.RestartCount = d.uint64("clock"), d.uint32("resetCount"), d.uint32("restartCount")
	safe := d.byte("safe")
	if safe > 1 {
		d.fail("safe is %d, want 0 or 1", safe)
	}
	q.Safe = safe == 1
	q.FirmwareVersion = d.uint64("firmwareVersion")
	q.Selection = d.selection()
	q.PCRDigest = d.sized("pcrDigest", maxDigest)
	if err := d.end(); err != nil {
		return nil, err
	}
	return q, nil
}

// CheckNonce reports ErrNonce unless the quote was made for the nonce.
func (q *Quote) CheckNonce(nonce []byte) error {
	if !bytes.Equal(q.ExtraData, nonce) {
		return fmt.Errorf("quote: nonce is %x, want %x: %w", q.ExtraData, nonce, ErrNonce)
	}
	return nil
}

// CheckSigner reports ErrSigner unless the quote says itself that the AK made
// it, as a primary key of the endorsement hierarchy. There alone, and under the
// platform, which no operating system can use, the TPM reports its counters as
// they are; under the others it adds an offset of the key's own (TPM 2.0 Part
// 1, section 36.7).
func (q *Quote) CheckSigner(k *AK) error {
	if bytes.Equal(q.QualifiedSigner, k.endorsed) {
		return nil
	}
	for _, h := range []Hierarchy{Owner, Null, Platform} {
		if !bytes.Equal(q.QualifiedSigner, k.QualifiedName(h)) {
			continue
		}
		if h == Platform {
			return fmt.Errorf("quote: the AK is a primary key of the platform hierarchy; make it under endorsement: %w", ErrSigner)
		}
		return fmt.Errorf("quote: the AK is a primary key of the %v hierarchy, where the TPM obfuscates its counters; make it under endorsement: %w", h, ErrSigner)
	}
	return fmt.Errorf("quote: qualifiedSigner is %x, the AK as a primary key of the endorsement hierarchy is %x: %w",
		q.QualifiedSigner, k.endorsed, ErrSigner)
}
