package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/imaledger/imaledger/ledger"
)

// AccessFormat is the first line of an access list.
const AccessFormat = "imaledger/access/v1"

// An Access is who may read what is not public: a list that the operator keeps.
// Hosts do not stand in it; they upload with tokens of their own.
//
//	imaledger/access/v1
//	operator <name> token <SHA-256 of the token's text, hex>
//	auditor <name> certificate <DNS name in the client's certificate> hosts <pattern>[,<pattern>…]
//
// Each line has a role, then a token or a certificate. An auditor reads what
// belongs to the hosts that one of the patterns matches, in which * stands for any
// bytes; an operator reads everything, refusals too. Empty lines and those that
// begin with # are for people. A token is stored as its hash, so that the file
// gives none away; it has 20 characters or more, of which the hash tells nothing.
type Access struct {
	grants []*grant
}

// A grant is one line of the list.
type grant struct {
	name        string
	operator    bool
	token       ledger.Hash // SHA-256 of the token
	certificate string      // DNS name; empty where there is a token
	hosts       []string    // patterns; all for an operator
}

// ParseAccess reads an access list.
func ParseAccess(b []byte) (*Access, error) {
	a, n := &Access{}, 0
	for line := range strings.Lines(string(b)) {
		n++
		line = strings.TrimSuffix(line, "\n")
		if n == 1 {
			if line != AccessFormat {
				return nil, fmt.Errorf("line 1: want %s", AccessFormat)
			}
			continue
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		g, err := parseGrant(line)
		if err == nil {
			err = a.unlike(g)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		a.grants = append(a.grants, g)
	}
	if n == 0 {
		return nil, fmt.Errorf("line 1: want %s", AccessFormat)
	}
	return a, nil
}

// unlike refuses a second line for one name, token or certificate: which of the
// two holds would be a guess.
func (a *Access) unlike(g *grant) error {
	for _, o := range a.grants {
		if o.name == g.name || o.certificate == g.certificate && o.token == g.token {
			return fmt.Errorf("%s stands here already, as %s", g.name, o.name)
		}
	}
	return nil
}

func parseGrant(line string) (*grant, error) {
	f := strings.Split(line, " ")
	if len(f) < 4 || slices.Contains(f, "") {
		return nil, fmt.Errorf("want a role, a name, and \"token HASH\" or \"certificate NAME\", with one space between")
	}
	g := &grant{name: f[1], operator: f[0] == "operator"}
	switch f[2] {
	case "token":
		h, ok := parseHash(f[3])
		if !ok {
			return nil, fmt.Errorf("token: want the SHA-256 of the token, 64 lower-case hex digits: printf %%s \"$token\" | sha256sum")
		}
		g.token = h
	case "certificate":
		g.certificate = f[3]
	default:
		return nil, fmt.Errorf("%.64q: want token or certificate", f[2])
	}
	switch {
	case g.operator && len(f) == 4:
		g.hosts = []string{"*"}
		return g, nil
	case f[0] != "auditor" && !g.operator:
		return nil, fmt.Errorf("%.64q: want auditor or operator", f[0])
	case g.operator || len(f) != 6 || f[4] != "hosts":
		return nil, fmt.Errorf("want \"hosts PATTERN,PATTERN\" at the end for an auditor, nothing for an operator")
	}
	for p := range strings.SplitSeq(f[5], ",") {
		if !ledger.ValidHost(strings.ReplaceAll(p, "*", "x")) {
			return nil, fmt.Errorf("%.64q is no pattern of host names", p)
		}
		g.hosts = append(g.hosts, p)
	}
	return g, nil
}

// byToken returns the grant of a token, nil for none. Every line is compared, each
// in constant time.
func (a *Access) byToken(token string) (found *grant) {
	sum := sha256.Sum256([]byte(token))
	for _, g := range a.lines() {
		if subtle.ConstantTimeCompare(sum[:], g.token[:]) == 1 && g.certificate == "" {
			found = g
		}
	}
	return found
}

// byCertificate returns the grant of a verified certificate's DNS names.
func (a *Access) byCertificate(names []string) *grant {
	for _, g := range a.lines() {
		if g.certificate != "" && slices.Contains(names, g.certificate) {
			return g
		}
	}
	return nil
}

func (a *Access) lines() []*grant {
	if a == nil {
		return nil
	}
	return a.grants
}

// reads reports whether a grant covers a host. A host name has no slash, so the
// star of path.Match stands for anything.
func (g *grant) reads(host string) bool {
	return g != nil && slices.ContainsFunc(g.hosts, func(p string) bool {
		ok, err := path.Match(p, host)
		return ok && err == nil
	})
}

// readsAll reports whether a grant covers every host.
func (g *grant) readsAll() bool { return g != nil && slices.Contains(g.hosts, "*") }
