package main

import (
	"errors"
	"fmt"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/export"
)

// maxRuntimePolicy bounds a policy file, in bytes: a distribution's whole has tens of
// millions.
const maxRuntimePolicy = 1 << 28

// keylime gathers what Keylime's verifier wants beside the list. The quote is that of
// the last segment: it covers the list from the boot's first record to its last.
func (f *exportFlags) keylime(e *evidence, last *evidenceSegment) (k export.KeylimeEvidence, err error) {
	k = export.KeylimeEvidence{Attest: last.Attest, Signature: last.Signature, Values: last.quoted}
	if k.AK, err = last.ak(); err != nil {
		return k, err
	}
	if f.policy != "" {
		if k.Policy, err = readLimited(f.policy, maxRuntimePolicy); err != nil {
			return k, err
		}
	}
	raw, found, err := e.bundle.Read(ledger.FolderEvidence, last.enrolment.Evidence.Digest)
	if err != nil {
		return k, err
	}
	if !found {
		return k, errors.New("the bundle has not what stands behind the enrolment, and the EK is in it")
	}
	behind, err := ledger.ParseEnrolmentEvidence(raw)
	if err != nil {
		return k, err
	}
	if k.EKPublic = behind.EKPublic; len(k.EKPublic) == 0 {
		return k, fmt.Errorf("%w: the host is enrolled at grade %s and has no EK", export.ErrKeylime, last.enrolment.Grade)
	}
	return k, nil
}
