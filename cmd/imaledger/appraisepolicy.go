package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/appraise"
)

// An appraisalPolicy is what an appraisal was made by: its text names every file by
// its SHA-256, and its own SHA-256 is what the statement in the log has
// (ledger/FORMAT.md, section 3.1).
type appraisalPolicy struct {
	Digest string       `json:"sha256"`
	Text   string       `json:"text"`
	Files  []policyFile `json:"files"`
	digest ledger.Hash
}

type policyFile struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"` // keylime, digests, keys
	Digest string `json:"sha256"`
}

const appraisalPolicyFormat = "imaledger/appraisal-policy/v1"

// policy reads the files, in the order in which they are asked: signatures first, as
// they cost no list.
func (f *appraiseFlags) policy() (*appraisalPolicy, *appraise.Appraiser, error) {
	a := &appraise.Appraiser{}
	switch f.violations {
	case "pass":
		a.PassViolations = true
	case "fail":
	default:
		return nil, nil, cli.Usagef("--violations %.20q: want pass or fail", f.violations)
	}
	p := &appraisalPolicy{Text: fmt.Sprintf("%s\nviolations %s\n", appraisalPolicyFormat, f.violations)}
	ring := &appraise.Keyring{}
	for _, name := range f.certificates {
		b, err := readLimited(name, maxJSON)
		if err == nil {
			err = ring.Add(name, b)
		}
		if err != nil {
			return nil, nil, cli.WithHint(cli.Usagef("--key %s: %w", name, err), "want X.509 certificates or public keys, RSA or ECDSA, in PEM or DER")
		}
		p.add(name, "keys", b)
	}
	if len(f.certificates) > 0 {
		a.Policies = append(a.Policies, ring)
	}
	for _, name := range f.policies {
		b, err := readLimited(name, maxRuntimePolicy)
		if err != nil {
			return nil, nil, fmt.Errorf("--policy: %w", err)
		}
		kind, policy, err := parsePolicy(b)
		if err != nil {
			return nil, nil, cli.WithHint(cli.Usagef("--policy %s: %w", name, err), "want a runtime policy of Keylime, or a digest a line as sha256sum writes them")
		}
		p.add(name, kind, b)
		a.Policies = append(a.Policies, policy)
	}
	p.digest = sha256.Sum256([]byte(p.Text))
	p.Digest = fmt.Sprintf("%x", p.digest)
	return p, a, nil
}

func parsePolicy(b []byte) (kind string, p appraise.Policy, err error) {
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")) {
		p, err = appraise.ParseKeylime(b)
		return "keylime", p, err
	}
	p, err = appraise.ParseDigestList(b)
	return "digests", p, err
}

func (p *appraisalPolicy) add(name, kind string, b []byte) {
	sum := sha256.Sum256(b)
	p.Files = append(p.Files, policyFile{name, kind, fmt.Sprintf("%x", sum)})
	p.Text += fmt.Sprintf("%s %x\n", kind, sum)
}
