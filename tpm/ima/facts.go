package ima

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Facts is what a record is searched by. It keeps nothing of the record.
type Facts struct {
	PCR      uint32
	Template string
	Path     string       // file name, or the name of a buffer; any bytes but NUL
	Digests  []FileDigest // of the file; a second one is without the appended signature (modsig)
	KeyIDs   []uint32     // of security.ima, portable EVM and appended signatures, each once
	// Violation says that the record says nothing for certain: see Record.Violation.
	Violation bool
	// Opaque says that the record does not say in the kernel's form which file it
	// is of and which digest that has. No register binds a template's name, so a
	// host may give one that hides what the data says: who searches must count these.
	Opaque bool
}

// Facts takes out of a record what it is searched by.
func (r *Record) Facts() Facts {
	s := Facts{PCR: r.PCR, Template: string(r.Template), Violation: r.Violation()}
	f, err := r.Fields()
	if err != nil {
		s.Opaque = true
		return s
	}
	s.Path = string(f.Path)
	for _, d := range []FileDigest{f.Digest, f.ModHash} {
		if d.Algorithm != "" {
			d.Digest = bytes.Clone(d.Digest)
			s.Digests = append(s.Digests, d)
		}
	}
	s.KeyIDs = f.KeyIDs()
	s.Opaque = f.Format == nil || s.Path == "" || !slices.ContainsFunc(s.Digests, FileDigest.known)
	return s
}

// known reports whether the kernel has such an algorithm.
func (d FileDigest) known() bool { return slices.Contains(hashAlgorithms[:], d.Algorithm) }

// A Filter selects records. Its zero value selects all; each field that is set must
// match.
type Filter struct {
	Digest FileDigest // Digest is set; Algorithm and Type where they are given
	Path   string     // the whole file name
	// Glob is a pattern of file names: * stands for any bytes, also a slash and none,
	// ? for one byte.
	Glob     string
	KeyID    *uint32
	PCR      *uint32
	Template string
}

// Empty reports whether the filter selects all.
func (q *Filter) Empty() bool {
	return len(q.Digest.Digest) == 0 && q.Path == "" && q.Glob == "" && q.KeyID == nil && q.PCR == nil && q.Template == ""
}

// Match reports whether the filter selects a record.
func (q *Filter) Match(f *Facts) bool {
	switch {
	case q.PCR != nil && *q.PCR != f.PCR,
		q.Template != "" && q.Template != f.Template,
		q.Path != "" && q.Path != f.Path,
		q.Glob != "" && (f.Path == "" || !MatchGlob(q.Glob, f.Path)),
		q.KeyID != nil && !slices.Contains(f.KeyIDs, *q.KeyID),
		len(q.Digest.Digest) > 0 && !slices.ContainsFunc(f.Digests, q.Digest.selects):
		return false
	}
	return true
}

// selects reports whether d, as it is asked for, is the digest of a file.
func (d FileDigest) selects(of FileDigest) bool {
	return bytes.Equal(d.Digest, of.Digest) && (d.Algorithm == "" || d.Algorithm == of.Algorithm) && (d.Type == "" || d.Type == of.Type)
}

// ParseFileDigest reads a digest to search for: hex alone, sha256:HEX, or
// verity:sha256:HEX, with the kernel's names of algorithms.
func ParseFileDigest(s string) (FileDigest, error) {
	var d FileDigest
	words := strings.Split(s, ":")
	digest, err := hex.DecodeString(words[len(words)-1])
	bad := func(what string) (FileDigest, error) {
		return FileDigest{}, fmt.Errorf("%.80q: %s; want hex digits, or an algorithm, a colon and hex digits as in sha256:…", s, what)
	}
	switch {
	case err != nil || len(digest) < 16 || len(digest) > MaxDigest:
		return bad("no digest of 16 to 64 bytes in hex")
	case len(words) > 3:
		return bad("too many colons")
	case len(words) > 1:
		d.Algorithm = words[len(words)-2]
		if bank, err := ParseBank(d.Algorithm); err == nil {
			d.Algorithm = bank.kernelName()
		}
		if !d.known() {
			return bad("unknown algorithm")
		}
		if bank, ok := bankOfAlgorithm(d.Algorithm); ok && bank.Size() != len(digest) {
			return bad(fmt.Sprintf("a digest of %d bytes, %s has %d", len(digest), d.Algorithm, bank.Size()))
		}
	}
	if len(words) == 3 {
		if d.Type = words[0]; d.Type != "ima" && d.Type != "verity" {
			return bad("unknown type of digest")
		}
	}
	d.Digest = digest
	return d, nil
}

// Text is what ParseFileDigest reads, empty for no digest.
func (d FileDigest) Text() string {
	switch {
	case len(d.Digest) == 0:
		return ""
	case d.Algorithm == "":
		return hex.EncodeToString(d.Digest)
	}
	return d.String()
}

// kernelName returns the bank's name as records have it.
func (b Bank) kernelName() string {
	for _, t := range bankTable {
		if t.bank == b {
			return t.kernel
		}
	}
	return b.String()
}

// MatchGlob reports whether a pattern of Filter.Glob matches a name. It takes no
// more steps than the product of the two lengths.
func MatchGlob(pattern, name string) bool {
	star, from := -1, 0 // the last star, and where in name what it stands for ends
	p, n := 0, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			from++
			p, n = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// GlobPrefix returns the bytes that every name which a pattern matches begins with.
func GlobPrefix(pattern string) string {
	if i := strings.IndexAny(pattern, "*?"); i >= 0 {
		return pattern[:i]
	}
	return pattern
}
