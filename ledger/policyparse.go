package ledger

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ParsePolicy reads a policy, strictly: what could be satisfied by less than it
// says is refused. Errors name the line.
func ParsePolicy(b []byte) (*Policy, error) {
	p := &policyParser{Policy: &Policy{quorum: -1}, nodes: make(map[string]int), keys: make(map[string]string)}
	if err := p.file(b); err != nil {
		return nil, &FormatError{Format: "policy", Line: p.line, What: err.Error()}
	}
	return p.Policy, nil
}

type policyParser struct {
	*Policy
	line      int
	nodes     map[string]int    // by name
	keys      map[string]string // by public key: which line has it
	member    []bool            // by node: whether a group has it
	hasQuorum bool
}

func (p *policyParser) file(b []byte) error {
	if len(b) > MaxPolicy {
		return fmt.Errorf("%d bytes, at most %d", len(b), MaxPolicy)
	}
	for rest := string(b); rest != ""; {
		line, after, ok := strings.Cut(rest, "\n")
		p.line, rest = p.line+1, after
		if !ok {
			return fmt.Errorf("the file ends here without a newline")
		}
		// SPEC: the allowed octet values are 0x09 (tab), 0x0A (newline),
		// 0x20-0x7E, and 0x80-0xFF.
		for i := 0; i < len(line); i++ {
			if c := line[i]; c < 0x20 && c != '\t' || c == 0x7f {
				return fmt.Errorf("byte 0x%02x, want printable characters, space and tab", c)
			}
		}
		fields := strings.FieldsFunc(line, func(c rune) bool { return c == ' ' || c == '\t' })
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if err := p.statement(fields); err != nil {
			return err
		}
	}
	// SPEC: A policy file must include exactly one quorum line.
	if !p.hasQuorum {
		return fmt.Errorf("no quorum line; write quorum and the name of a witness or group, or quorum none")
	}
	return nil
}

func (p *policyParser) statement(f []string) error {
	switch f[0] {
	case "log":
		return p.log(f[1:])
	case "witness":
		return p.witness(f[1:])
	case "group":
		return p.group(f[1:])
	case "quorum":
		return p.setQuorum(f[1:])
	}
	return fmt.Errorf("unknown keyword %.32q: want log, witness, group or quorum", f[0])
}

func (p *policyParser) log(f []string) error {
	if len(f) < 1 || len(f) > 2 {
		return fmt.Errorf("want log <vkey> [<url>]")
	}
	k, err := p.key(f, logTypes)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	if len(p.logs) == maxPolicyKeys {
		return fmt.Errorf("more than %d logs", maxPolicyKeys)
	}
	p.logs = append(p.logs, k)
	return nil
}

func (p *policyParser) witness(f []string) error {
	if len(f) < 2 || len(f) > 3 {
		return fmt.Errorf("want witness <name> <vkey> [<url>]")
	}
	k, err := p.key(f[1:], witnessTypes)
	if err != nil {
		return fmt.Errorf("witness %s: %w", f[0], err)
	}
	if len(p.witnesses) == maxPolicyKeys {
		return fmt.Errorf("more than %d witnesses", maxPolicyKeys)
	}
	p.witnesses = append(p.witnesses, k)
	return p.define(policyNode{name: f[0], witness: len(p.witnesses) - 1})
}

// key reads a vkey and an optional URL.
func (p *policyParser) key(f []string, types map[byte]bool) (PolicyKey, error) {
	v, err := parseVKey(f[0])
	if err != nil {
		return PolicyKey{}, err
	}
	if !types[v.typ] {
		return PolicyKey{}, fmt.Errorf("key %s has type 0x%02x, which is not one for it", v.name, v.typ)
	}
	// SPEC: Two vkeys are considered duplicate if they wrap the same underlying
	// public key, even if they differ by key name and key id.
	if other, found := p.keys[v.public]; found {
		return PolicyKey{}, fmt.Errorf("key %s is the key of %s, which has a line already", v.name, other)
	}
	p.keys[v.public] = v.name
	k := PolicyKey{Name: v.name, VKey: f[0], key: v}
	if len(f) == 2 {
		k.URL = f[1]
	}
	return k, nil
}

func (p *policyParser) group(f []string) error {
	if len(f) < 3 {
		return fmt.Errorf("want group <name> all|any|<k> <member>...")
	}
	n := policyNode{name: f[0], witness: -1}
	for _, name := range f[2:] {
		// SPEC: a group definition can only refer to names defined on preceding
		// lines; each defined name can be listed as a group member at most once.
		m, found := p.nodes[name]
		switch {
		case name == "none":
			return fmt.Errorf("group %s: none cannot be a member", n.name)
		case !found:
			return fmt.Errorf("group %s: %q is not defined on a line before", n.name, name)
		case p.member[m]:
			return fmt.Errorf("group %s: %q is a member already, and would count twice", n.name, name)
		}
		p.member[m] = true
		n.members = append(n.members, m)
	}
	switch k, err := strconv.Atoi(f[1]); {
	case f[1] == "all":
		n.k = len(n.members)
	case f[1] == "any":
		n.k = 1
	case err != nil || strconv.Itoa(k) != f[1] || k < 1 || k > len(n.members):
		// SPEC: it is required that 1 <= k <= n.
		return fmt.Errorf("group %s: threshold %.16q, want all, any, or 1 to %d", n.name, f[1], len(n.members))
	default:
		n.k = k
	}
	return p.define(n)
}

func (p *policyParser) define(n policyNode) error {
	if _, found := p.nodes[n.name]; found || n.name == "none" {
		return fmt.Errorf("the name %q is taken", n.name)
	}
	if len(p.Policy.nodes) == 2*maxPolicyKeys {
		return fmt.Errorf("more than %d witnesses and groups", 2*maxPolicyKeys)
	}
	p.nodes[n.name] = len(p.Policy.nodes)
	p.Policy.nodes = append(p.Policy.nodes, n)
	p.member = append(p.member, false)
	return nil
}

func (p *policyParser) setQuorum(f []string) error {
	if len(f) != 1 {
		return fmt.Errorf("want quorum <name>")
	}
	if p.hasQuorum {
		return fmt.Errorf("a second quorum line")
	}
	p.hasQuorum = true
	if f[0] == "none" {
		return nil
	}
	n, found := p.nodes[f[0]]
	if !found {
		return fmt.Errorf("quorum %q is not defined on a line before", f[0])
	}
	p.quorum = n
	return nil
}

// Types of keys, c2sp.org/signed-note.
const (
	typeEd25519  = 0x01
	typeCosigner = 0x04 // Ed25519 cosignature/v1
	typeMLDSA44  = 0x06 // ML-DSA-44 (sub)tree cosignature, for logs too
)

var (
	logTypes     = map[byte]bool{typeEd25519: true, typeMLDSA44: true}
	witnessTypes = map[byte]bool{typeCosigner: true, typeMLDSA44: true}
)

// keyTypes has the size of each type's public key in bytes.
var keyTypes = map[byte]int{typeEd25519: 32, typeCosigner: 32, typeMLDSA44: 1312}

func knownKeyTypes() string {
	var s []string
	for t := range keyTypes {
		s = append(s, fmt.Sprintf("0x%02x", t))
	}
	slices.Sort(s)
	return strings.Join(s, ", ")
}
