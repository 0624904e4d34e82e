package ledger

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// The files of a trust folder.
const (
	TrustPolicyFile = "policy" // c2sp.org/tlog-policy: the log, the witnesses, the quorum
	TrustRulesFile  = "rules"  // what the policy format has no word for
	TrustRootsDir   = "roots"  // TPM vendors' root certificates, *.pem
)

// TrustRulesFormat is the first line of the rules.
const TrustRulesFormat = "imaledger/trust/v1"

// Limits of a trust folder.
const (
	MaxTrustRules = 64 << 10 // bytes
	MaxRoots      = 1 << 20  // bytes of all root certificates
	maxTrustKeys  = 64       // of registrars, and of operators
)

// A Trust is what a verifier believes before it sees any evidence. The trust
// folder is the only input of a check that must come from a place of its own.
type Trust struct {
	Policy *Policy
	Rules
	Roots []*x509.Certificate // of TPM vendors
}

// Rules are the verifier's word on enrolments, statements and banks.
type Rules struct {
	Registrars []note.Verifier
	Threshold  int // registrars that must have signed an enrolment
	Operators  []note.Verifier
	Grades     []Grade // accepted
	Reason     string  // why grade software is accepted, empty if it is not
	AllowSHA1  bool    // whether SHA-1 alone may bind records

	WitnessedBy map[string]string // who runs a witness, by the witness's name in the policy
	Independent int               // how many of them must stand behind a checkpoint; 0 if that is not asked
	MaxAge      uint64            // seconds since a quorum vouched for the newest checkpoint; 0 for any
}

// ParseTrust reads a trust folder's files; roots has the contents of the
// certificate files.
func ParseTrust(policy, rules []byte, roots ...[]byte) (*Trust, error) {
	p, err := ParsePolicy(policy)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", TrustPolicyFile, err)
	}
	t := &Trust{Policy: p}
	if t.Rules, err = ParseRules(rules); err != nil {
		return nil, fmt.Errorf("%s: %w", TrustRulesFile, err)
	}
	if t.Policy, err = p.independentOf(t.WitnessedBy, t.Independent); err == nil && t.MaxAge > 0 && p.quorum < 0 {
		err = errors.New("max-age: the policy demands no witness, so that no time is known")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", TrustRulesFile, &FormatError{Format: TrustRulesFormat, What: err.Error()})
	}
	for _, b := range roots {
		list, err := parseRoots(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", TrustRootsDir, err)
		}
		t.Roots = append(t.Roots, list...)
	}
	return t, nil
}

// ParseRules reads the rules. Lines may stand in any order; empty ones and
// those that begin with # are for people. What is not said is not allowed.
func ParseRules(b []byte) (Rules, error) {
	if len(b) > MaxTrustRules {
		return Rules{}, &FormatError{Format: TrustRulesFormat, What: fmt.Sprintf("%d bytes, at most %d", len(b), MaxTrustRules)}
	}
	r := rulesReader{textReader: newTextReader(TrustRulesFormat, string(b)), names: make(map[string]bool), keys: make(map[string]string)}
	r.WitnessedBy = make(map[string]string)
	for r.err == nil && r.rest != "" {
		r.rule(r.next())
	}
	switch {
	case r.err != nil:
	case r.Threshold < 1 || r.Threshold > len(r.Registrars):
		r.fail("registrars: want the number that must have signed, 1 to the %d listed", len(r.Registrars))
	case len(r.Grades) == 0:
		r.fail("grade: no line, so no enrolment would be accepted; add grade certificate")
	}
	return r.Rules, r.end()
}

type rulesReader struct {
	*textReader
	Rules
	names map[string]bool   // of keys
	keys  map[string]string // name by public key
}

func (r *rulesReader) rule(line string) {
	key, value, _ := strings.Cut(line, " ")
	switch {
	case r.err != nil || line == "" || strings.HasPrefix(line, "#"):
	case key == "registrar":
		r.Registrars = r.key(key, value, r.Registrars)
	case key == "operator":
		r.Operators = r.key(key, value, r.Operators)
	case key == "registrars" && r.Threshold == 0:
		if r.Threshold = int(min(r.parseNumber(key, value), maxTrustKeys+1)); r.Threshold == 0 {
			r.fail("registrars: want how many must have signed, 1 to the number listed")
		}
	case key == "grade":
		r.grade(value)
	case line == "allow sha1" && !r.AllowSHA1:
		r.AllowSHA1 = true
	case key == "witness":
		r.witness(value)
	case key == "independent" && r.Independent == 0:
		if r.Independent = int(min(r.parseNumber(key, value), maxPolicyKeys+1)); r.Independent == 0 {
			r.fail("independent: want how many operators must stand behind a checkpoint, 1 or more")
		}
	case key == "max-age" && r.MaxAge == 0:
		if r.MaxAge = r.parseNumber(key, value); r.MaxAge == 0 || r.MaxAge > maxMaxAge {
			r.fail("max-age: want seconds, 1 to %d", uint64(maxMaxAge))
		}
	default:
		r.fail("%.64q: unknown, or said before; want registrar, registrars, operator, grade, allow sha1, witness, independent, or max-age", line)
	}
}

// maxMaxAge is a hundred years in seconds: what is longer is a mistake in the unit.
const maxMaxAge = 100 * 366 * 24 * 60 * 60

// witness notes who runs a witness: witness <name in the policy> by <operator>.
func (r *rulesReader) witness(value string) {
	name, operator, by := strings.Cut(value, " by ")
	switch {
	case !by || name == "" || strings.Contains(name, " ") || !validText(operator):
		r.fail("witness: want its name in the policy, by, and who runs it")
	case r.WitnessedBy[name] != "":
		r.fail("witness %.64q: said before", name)
	case len(r.WitnessedBy) == maxPolicyKeys:
		r.fail("witness: more than %d", maxPolicyKeys)
	}
	r.WitnessedBy[name] = operator
}

func (r *rulesReader) grade(value string) {
	name, reason, because := strings.Cut(value, " because ")
	g := Grade(name)
	switch {
	case !slices.Contains(Grades, g):
		r.fail("grade: want certificate, pinned, first-use, or software because and the reason")
	case slices.Contains(r.Grades, g):
		r.fail("grade %s: said before", g)
	case (g == GradeSoftware) != because || because && !validText(reason):
		r.fail("grade: software, and no other, is accepted only with because and the reason")
	}
	r.Grades = append(r.Grades, g)
	r.Reason += reason
}

// key adds a key to a role's list. One key under two names, or in two roles,
// would let one party count as two.
func (r *rulesReader) key(role, vkey string, list []note.Verifier) []note.Verifier {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		r.fail("%s: want an Ed25519 verifier key (name+id+base64): %v", role, err)
		return list
	}
	// The base64 may have a plus of its own: cut from the front.
	public := strings.SplitN(vkey, "+", 3)[2]
	if one := fmt.Sprintf("%s+%08x+%s", v.Name(), v.KeyHash(), public); vkey != one {
		r.fail("%s: write the key as %s", role, one)
	}
	other, twice := r.keys[public]
	switch {
	case len(list) == maxTrustKeys:
		r.fail("%s: more than %d", role, maxTrustKeys)
	case r.names[v.Name()]:
		r.fail("%s: %s has a line already", role, v.Name())
	case twice:
		r.fail("%s: %s has the key of %s", role, v.Name(), other)
	}
	r.names[v.Name()], r.keys[public] = true, v.Name()
	return append(list, v)
}

func parseRoots(b []byte) ([]*x509.Certificate, error) {
	if len(b) > MaxRoots {
		return nil, fmt.Errorf("%d bytes, at most %d", len(b), MaxRoots)
	}
	var list []*x509.Certificate
	for len(b) > 0 {
		block, rest := pem.Decode(b)
		if block == nil {
			if len(list) > 0 && strings.TrimSpace(string(b)) == "" {
				break
			}
			return nil, fmt.Errorf("certificate %d: not PEM", len(list)+1)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("certificate %d: no X.509 certificate: %w", len(list)+1, err)
		}
		list, b = append(list, c), rest
	}
	return list, nil
}
