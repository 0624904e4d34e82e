package tpm

import (
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/imaledger/imaledger/tpm/ima"
)

// Banks returns the PCR banks that are on, in the TPM's order.
func (d *Device) Banks() ([]ima.Bank, error) {
	rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapPCRs, PropertyCount: 1}.Execute(d.tpm)
	if err != nil {
		return nil, advise("read PCR banks", err)
	}
	pcrs, err := rsp.CapabilityData.Data.AssignedPCR()
	if err != nil {
		return nil, fmt.Errorf("read PCR banks: %w", err)
	}
	var banks []ima.Bank
	for _, s := range pcrs.PCRSelections {
		for _, mask := range s.PCRSelect {
			if mask != 0 {
				banks = append(banks, ima.Bank(s.Hash))
				break
			}
		}
	}
	return banks, nil
}

// ReadPCRs returns the values of a selection. They are read in several rounds
// and signed by nobody: a hint beside a quote.
func (d *Device) ReadPCRs(selection ima.Selection) (ima.Values, error) {
	values := make(ima.Values)
	for _, b := range selection {
		for _, pcr := range b.PCRs {
			one := ima.Selection{{Bank: b.Bank, PCRs: []int{pcr}}}
			rsp, err := tpm2.PCRRead{PCRSelectionIn: pcrSelection(one)}.Execute(d.tpm)
			if err != nil {
				return nil, advise(fmt.Sprintf("read PCR %d of bank %s", pcr, b.Bank), err)
			}
			if len(rsp.PCRValues.Digests) != 1 {
				return nil, fmt.Errorf("read PCR %d: bank %s is off", pcr, b.Bank)
			}
			values[ima.Slot{Bank: b.Bank, PCR: pcr}] = rsp.PCRValues.Digests[0].Buffer
		}
	}
	return values, nil
}

// Extend extends a register in each bank given. Agents do not: the kernel does.
func (d *Device) Extend(pcr int, digests map[ima.Bank][]byte) error {
	var list tpm2.TPMLDigestValues
	for bank, digest := range digests {
		list.Digests = append(list.Digests, tpm2.TPMTHA{HashAlg: tpm2.TPMAlgID(bank), Digest: digest})
	}
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
		Digests:   list,
	}.Execute(d.tpm)
	return advise(fmt.Sprintf("extend PCR %d", pcr), err)
}
