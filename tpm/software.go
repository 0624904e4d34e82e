package tpm

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"fmt"
	"io"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
)

// Software quotes without a TPM: registers, counters and an AK in this process.
// What it makes has the form of a TPM's work and proves nothing about a
// machine: there is no endorsement key, hence the enrolment grade "software",
// which no trust folder accepts unless it gives a reason. It serves
// demonstrations and tests.
type Software struct {
	// Firmware is what PCR 0 to 9 are set to at each Reset.
	Firmware ima.Values
	// Hierarchy is the AK's, which quotes name; endorsement unless it is set.
	Hierarchy quote.Hierarchy

	key              *ecdsa.PrivateKey
	rand             io.Reader
	now              func() time.Time
	started          time.Time
	ak               *quote.AK
	pcrs             ima.Values
	resets, restarts uint32
}

// softwareBanks are the banks it has.
var softwareBanks = []ima.Bank{ima.SHA1, ima.SHA256}

// NewSoftware makes a software quoter with a fresh key, as it is after its first
// reset.
func NewSoftware(rand io.Reader, now func() time.Time) (*Software, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand)
	if err != nil {
		return nil, err
	}
	point, err := key.PublicKey.Bytes() // 04 and both coordinates
	if err != nil {
		return nil, err
	}
	public := AKECCP256.template()
	public.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: point[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: point[33:]},
	})
	ak, err := quote.ParseAK(tpm2.Marshal(public))
	if err != nil {
		return nil, fmt.Errorf("software AK: %w", err)
	}
	s := &Software{Hierarchy: quote.Endorsement, key: key, rand: rand, now: now, started: now(), ak: ak}
	s.Reset()
	return s, nil
}

// AK returns the key's TPMT_PUBLIC.
func (s *Software) AK() ([]byte, error) { return s.ak.Raw, nil }

// Banks returns the PCR banks.
func (s *Software) Banks() ([]ima.Bank, error) { return softwareBanks, nil }

// Close does nothing.
func (s *Software) Close() error { return nil }

// Reset does what a power cycle does: registers as after firmware, resetCount
// one more, restartCount zero.
func (s *Software) Reset() {
	s.resets, s.restarts = s.resets+1, 0
	s.zero()
}

// Restart does what a hibernation does: registers as after firmware,
// restartCount one more.
func (s *Software) Restart() {
	s.restarts++
	s.zero()
}

// Resume does what a suspension does: registers kept, restartCount one more.
func (s *Software) Resume() { s.restarts++ }

func (s *Software) zero() {
	s.pcrs = make(ima.Values)
	for _, bank := range softwareBanks {
		for pcr := range ima.MaxPCRs {
			v := make([]byte, bank.Size())
			if pcr >= 17 && pcr <= 22 { // the dynamic launch's, ff until it happens
				for i := range v {
					v[i] = 0xff
				}
			}
			s.pcrs[ima.Slot{Bank: bank, PCR: pcr}] = v
		}
	}
	for slot, v := range s.Firmware {
		s.pcrs[slot] = v
	}
}

// Extend extends a register in each bank given.
func (s *Software) Extend(pcr int, digests map[ima.Bank][]byte) error {
	for bank, digest := range digests {
		slot := ima.Slot{Bank: bank, PCR: pcr}
		old, found := s.pcrs[slot]
		if !found || len(digest) != bank.Size() {
			return fmt.Errorf("extend %s with %d bytes", slot, len(digest))
		}
		h := bank.New()
		h.Write(old)
		h.Write(digest)
		s.pcrs[slot] = h.Sum(nil)
	}
	return nil
}

// ReadPCRs returns the values of a selection.
func (s *Software) ReadPCRs(selection ima.Selection) (ima.Values, error) {
	values := make(ima.Values)
	for _, b := range selection {
		for _, pcr := range b.PCRs {
			slot := ima.Slot{Bank: b.Bank, PCR: pcr}
			v, found := s.pcrs[slot]
			if !found {
				return nil, fmt.Errorf("read %s: no such register", slot)
			}
			values[slot] = v
		}
	}
	return values, nil
}

// Quote signs the registers of a selection with a nonce. It returns a
// TPMS_ATTEST and a TPMT_SIGNATURE.
func (s *Software) Quote(nonce []byte, selection ima.Selection) (attest, signature []byte, err error) {
	values, err := s.ReadPCRs(selection)
	if err != nil {
		return nil, nil, err
	}
	attest = tpm2.Marshal(tpm2.TPMSAttest{
		Magic: tpm2.TPMGeneratedValue, Type: tpm2.TPMSTAttestQuote,
		QualifiedSigner: tpm2.TPM2BName{Buffer: s.ak.QualifiedName(s.Hierarchy)},
		ExtraData:       tpm2.TPM2BData{Buffer: nonce},
		ClockInfo: tpm2.TPMSClockInfo{
			Clock: uint64(s.now().Sub(s.started).Milliseconds()), ResetCount: s.resets, RestartCount: s.restarts, Safe: true,
		},
		Attested: tpm2.NewTPMUAttest(tpm2.TPMSTAttestQuote, &tpm2.TPMSQuoteInfo{
			PCRSelect: pcrSelection(selection),
			PCRDigest: tpm2.TPM2BDigest{Buffer: selection.Digest(ima.SHA256, func(slot ima.Slot) []byte { return values[slot] })},
		}),
	})
	digest := sha256.Sum256(attest)
	r, ss, err := ecdsa.Sign(s.rand, s.key, digest[:])
	if err != nil {
		return nil, nil, err
	}
	return attest, tpm2.Marshal(tpm2.TPMTSignature{
		SigAlg: tpm2.TPMAlgECDSA,
		Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgECDSA, &tpm2.TPMSSignatureECC{
			Hash:       tpm2.TPMAlgSHA256,
			SignatureR: tpm2.TPM2BECCParameter{Buffer: r.FillBytes(make([]byte, 32))},
			SignatureS: tpm2.TPM2BECCParameter{Buffer: ss.FillBytes(make([]byte, 32))},
		}),
	}), nil
}
