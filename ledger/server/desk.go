package server

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/tpm/quote"
)

// A desk is where hosts' keys are looked at. A ledger has one, and so has each
// registrar that is a service of its own.
type desk struct {
	trust         *ledger.Trust
	pinned        map[ledger.Name]string
	allowSoftware bool
}

// A candidate is what a host asks to be enrolled with, after it was checked.
type candidate struct {
	host  string
	ak    *quote.AK
	ek    *quote.EK // nil for grade software
	grade ledger.Grade
	ledger.EnrolmentEvidence
}

// candidate checks what a host says of its keys.
func (d *desk) candidate(r client.EnrolRequest) (*candidate, error) {
	if !ledger.ValidHost(r.Host) {
		return nil, badRequest("host: %.64q is no host name: a-z, 0-9, dot, dash and underscore", r.Host)
	}
	invalid := func(code ledger.Code, err error) error {
		return &refusal{host: r.Host, Findings: []ledger.Finding{{Code: code, Subject: r.Host, Text: err.Error()}}}
	}
	c := &candidate{host: r.Host}
	var err error
	if len(r.AKPublic) > ledger.MaxPublic || len(r.EKPublic) > ledger.MaxPublic {
		return nil, badRequest("a public area has at most %d bytes", ledger.MaxPublic)
	}
	if c.ak, err = quote.ParseAK(r.AKPublic); err != nil {
		return nil, invalid(ledger.AKAttributes, err)
	}
	if len(r.EKPublic) == 0 {
		if !d.allowSoftware || len(r.EKCertificates) > 0 {
			return nil, badRequest("ek_public: missing; this ledger enrols no host without a TPM")
		}
		c.grade = ledger.GradeSoftware
		return c, nil
	}
	if c.ek, err = quote.ParseEK(r.EKPublic); err != nil {
		return nil, invalid(ledger.EnrolmentEvidenceInvalid, err)
	}
	if len(r.EKCertificates) > ledger.MaxCertificates {
		return nil, badRequest("ek_certificates: %d, at most %d", len(r.EKCertificates), ledger.MaxCertificates)
	}
	for i, der := range r.EKCertificates {
		if len(der) == 0 || len(der) > ledger.MaxCertificate {
			return nil, badRequest("ek_certificates: the one at %d has %d bytes, want 1 to %d", i, len(der), ledger.MaxCertificate)
		}
	}
	c.EKPublic, c.Certificates = r.EKPublic, r.EKCertificates
	var why error
	if c.grade, why = d.grade(c); c.grade == "" {
		return nil, invalid(ledger.EnrolmentGrade, why)
	}
	return c, nil
}

// grade returns the best grade that the trust folder accepts and the candidate
// reaches, or none, and why.
func (d *desk) grade(c *candidate) (ledger.Grade, error) {
	accepted := d.trust.Grades
	reached := map[ledger.Grade]error{ledger.GradeFirstUse: nil}
	if host, pinned := d.pinned[ledger.Name(c.ek.Name)]; !pinned || host != c.host {
		reached[ledger.GradePinned] = errors.New("the operator has not listed this EK for this host")
	}
	reached[ledger.GradeCertificate] = d.verifyChain(c)
	var why []error
	for _, g := range ledger.Grades {
		err, possible := reached[g]
		switch {
		case !slices.Contains(accepted, g) || g == ledger.GradeSoftware:
		case possible && err != nil:
			why = append(why, fmt.Errorf("grade %s: %w", g, err))
		default:
			return g, nil
		}
	}
	if len(why) == 0 {
		why = append(why, errors.New("none of these is for a host with a TPM"))
	}
	return "", fmt.Errorf("the trust folder accepts %v: %w", accepted, errors.Join(why...))
}

// verifyChain judges the EK's certificates as the auditor does: at the time when
// the EK's own was made (FORMAT.md, K9).
func (d *desk) verifyChain(c *candidate) error {
	if len(c.Certificates) == 0 {
		return errors.New("no EK certificate")
	}
	leaf, err := x509.ParseCertificate(c.Certificates[0])
	if err != nil {
		return fmt.Errorf("EK certificate: %w", err)
	}
	roots := x509.NewCertPool()
	for _, root := range d.trust.Roots {
		roots.AddCert(root)
	}
	return quote.VerifyEKChain(c.ek, c.Certificates, roots, leaf.NotBefore)
}
