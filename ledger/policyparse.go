package ledger

import (
	"fmt"
	"strconv"
	"strings"
)

// ParsePolicy reads a policy, strictly: what could be satisfied by less than it
// says is refused. Errors name the line.
func ParsePolicy(b []byte) (*Policy, error) {
	p := &policyParser{
		Policy: &Policy{keys: make(map[noteKey]PolicyKey), quorum: -1},
		named:  make(map[string]int),
		public: make(map[string]string),
	}
	if err := p.file(b); err != nil {
		return nil, &FormatError{Format: "policy", Line: p.line, What: err.Error()}
	}
	return p.Policy, nil
}

type policyParser struct {
	*Policy
	line      int
	named     map[string]int    // nodes by name
	public    map[string]string // names of keys by raw public key
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
	if len(p.logs) == maxPolicyKeys {
		return fmt.Errorf("more than %d logs", maxPolicyKeys)
	}
	k, err := p.key(f, logTypes)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	k.node = -1
	p.logs = append(p.logs, k)
	p.keys[k.key.noteKey] = k
	return nil
}

func (p *policyParser) witness(f []string) error {
	if len(f) < 2 || len(f) > 3 {
		return fmt.Errorf("want witness <name> <vkey> [<url>]")
	}
	if len(p.witnesses) == maxPolicyKeys {
		return fmt.Errorf("more than %d witnesses", maxPolicyKeys)
	}
	k, err := p.key(f[1:], witnessTypes)
	if err != nil {
		return fmt.Errorf("witness %s: %w", f[0], err)
	}
	k.Label = f[0]
	if k.node, err = p.define(policyNode{name: f[0], k: 1}); err != nil {
		return err
	}
	p.witnesses = append(p.witnesses, k)
	p.keys[k.key.noteKey] = k
	return nil
}

// key reads a vkey and an optional URL.
func (p *policyParser) key(f []string, types keyTypes) (PolicyKey, error) {
	v, err := parseVKey(f[0], types)
	if err != nil {
		return PolicyKey{}, err
	}
	// SPEC: Two vkeys are considered duplicate if they wrap the same underlying
	// public key, even if they differ by key name and key id.
	//
	// That a log is its own witness is refused as well: a line by an ML-DSA-44
	// key could then count as both.
	if other, found := p.public[v.public]; found {
		return PolicyKey{}, fmt.Errorf("key %s is the same key as %s of a line before; leave one out", v.name, other)
	}
	if _, found := p.keys[v.noteKey]; found {
		return PolicyKey{}, fmt.Errorf("key %s has the name and key ID of another key; nobody could tell their signatures apart", v.name)
	}
	p.public[v.public] = v.name
	k := PolicyKey{Name: v.name, VKey: f[0], key: v}
	if len(f) == 2 {
		k.URL = f[1]
	}
	return k, nil
}

func (p *policyParser) group(f []string) error {
	// SPEC: At least one member must be listed.
	if len(f) < 3 {
		return fmt.Errorf("want group <name> all|any|<k> <member>, and more members")
	}
	n := policyNode{name: f[0]}
	for _, name := range f[2:] {
		// SPEC: a group definition can only refer to names defined on preceding
		// lines; each defined name can be listed as a group member at most once.
		m, found := p.named[name]
		switch {
		case name == "none":
			return fmt.Errorf("group %s: none cannot be a member", n.name)
		case !found:
			return fmt.Errorf("group %s: %.64q is not defined on a line before", n.name, name)
		case p.nodes[m].parent >= 0:
			return fmt.Errorf("group %s: %.64q is a member of a group already, and would count twice", n.name, name)
		}
		p.nodes[m].parent = len(p.nodes) // what define gives the group
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
	_, err := p.define(n)
	return err
}

// define adds a node. Witnesses and groups share a single namespace.
func (p *policyParser) define(n policyNode) (int, error) {
	if n.name == "none" {
		return 0, fmt.Errorf("none cannot be defined; it stands for no quorum")
	}
	if _, found := p.named[n.name]; found {
		return 0, fmt.Errorf("the name %.64q is defined on a line before", n.name)
	}
	// Witnesses have a limit of their own.
	if len(n.members) > 0 && len(p.nodes)-len(p.witnesses) == maxPolicyKeys {
		return 0, fmt.Errorf("more than %d groups", maxPolicyKeys)
	}
	n.parent = -1
	p.named[n.name] = len(p.nodes)
	p.nodes = append(p.nodes, n)
	return len(p.nodes) - 1, nil
}

func (p *policyParser) setQuorum(f []string) error {
	if len(f) != 1 {
		return fmt.Errorf("want quorum <name>")
	}
	if p.hasQuorum {
		return fmt.Errorf("a second quorum line; leave one out")
	}
	p.hasQuorum = true
	if f[0] == "none" {
		return nil
	}
	n, found := p.named[f[0]]
	if !found {
		return fmt.Errorf("quorum %.64q is not defined on a line before", f[0])
	}
	p.quorum = n
	return nil
}
