package appraise

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/imaledger/imaledger/tpm/ima"
)

// Rules of a digest list.
const (
	RuleDigest   = "digest-list" // the digest is in the list
	RuleAltered  = "altered"     // the list has the path, with another digest
	RuleUnlisted = "unlisted"    // it has neither
)

// A DigestList passes what has a listed digest, whatever its path. It is what
// sha256sum and its like write, a package's md5sums, or digests alone.
type DigestList struct {
	digests map[string]int // algorithm, colon, digest in hex, to the line
	paths   map[string]int // to the last line
}

// algorithmOfSize is what a digest without a name is by, as the tools that write such
// lists have it. Others of the same size must be named.
var algorithmOfSize = map[int]string{16: "md5", 20: "sha1", 28: "sha224", 32: "sha256", 48: "sha384", 64: "sha512"}

// algorithms are those that a list can name, by the kernel's names, and their sizes in
// bytes.
var algorithms = map[string]int{
	"md5": 16, "sha1": 20, "rmd160": 20, "sha224": 28, "sha256": 32, "sm3": 32, "sha3-256": 32, "streebog256": 32, "sha384": 48, "sha3-384": 48,
	"sha512": 64, "sha3-512": 64, "streebog512": 64,
}

// verity begins the digest of a file with fs-verity: that of its Merkle tree's
// descriptor, which is never the digest of a file's bytes.
const verity = "verity:"

// maxLine bounds a line of a list, in bytes: a path of 4,096, each escaped, and a
// digest.
const maxLine = 16 << 10

// ParseDigestList reads a list: a digest a line, and perhaps a path.
//
//	HEX                      the algorithm follows from the size
//	ALGORITHM:HEX            by the kernel's name; verity:ALGORITHM:HEX for fs-verity
//	HEX  PATH, HEX *PATH     md5sum, sha256sum and the like; a package's md5sums
//	ALGORITHM (PATH) = HEX   the same with --tag
//
// Empty lines and lines that begin with # are skipped. Errors name the line.
func ParseDigestList(b []byte) (*DigestList, error) {
	l := &DigestList{digests: make(map[string]int), paths: make(map[string]int)}
	for n := 1; len(b) > 0; n++ {
		line, rest, _ := bytes.Cut(b, []byte("\n"))
		b = rest
		text := strings.TrimSuffix(string(line), "\r")
		if text == "" || text[0] == '#' {
			continue
		}
		if len(text) > maxLine {
			return nil, fmt.Errorf("line %d: %d bytes, at most %d", n, len(text), maxLine)
		}
		digest, path, err := parseDigestLine(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %.80q: %w", n, text, err)
		}
		l.digests[digest] = n
		if path != "" {
			l.paths[measuredPath(path)] = n
		}
	}
	if len(l.digests) == 0 {
		return nil, fmt.Errorf("no digest in it: want a digest a line, as sha256sum writes them")
	}
	return l, nil
}

// measuredPath is a path as the kernel would have listed it: a package's are relative
// to the root, and spaces become underscores.
func measuredPath(path string) string {
	return "/" + strings.TrimPrefix(strings.TrimPrefix(strings.ReplaceAll(path, " ", "_"), "."), "/")
}

func parseDigestLine(text string) (digest, path string, err error) {
	escaped := strings.HasPrefix(text, `\`) // coreutils: the name has escapes
	text = strings.TrimPrefix(text, `\`)
	if open := strings.Index(text, " ("); open > 0 && strings.Contains(text, ") = ") {
		end := strings.LastIndex(text, ") = ")
		if end < open {
			return "", "", fmt.Errorf("want ALGORITHM (PATH) = HEX")
		}
		digest, path = kernelName(text[:open])+":"+text[end+4:], text[open+2:end]
	} else {
		digest, path, _ = strings.Cut(text, " ")
		path = strings.TrimPrefix(strings.TrimPrefix(path, " "), "*")
	}
	if escaped {
		path = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\r`, "\r").Replace(path)
	}
	digest, err = normalDigest(digest)
	return digest, path, err
}

// kernelName is the kernel's name of an algorithm that tools write in capitals.
func kernelName(name string) string {
	name = strings.ToLower(name)
	if strings.HasPrefix(name, "sha3_") {
		return "sha3-" + name[5:]
	}
	return name
}

// normalDigest returns a digest with its algorithm, in lower case.
func normalDigest(text string) (string, error) {
	typ := ""
	if strings.HasPrefix(text, verity) {
		typ, text = verity, text[len(verity):]
	}
	algorithm, digits, named := strings.Cut(text, ":")
	if !named {
		algorithm, digits = "", text
	}
	raw, err := hex.DecodeString(digits)
	if err != nil {
		return "", fmt.Errorf("want a digest in hex first")
	}
	if !named {
		algorithm = algorithmOfSize[len(raw)]
	}
	size, known := algorithms[kernelName(algorithm)]
	switch {
	case !known && named:
		return "", fmt.Errorf("unknown algorithm %.32q", algorithm)
	case !known || size != len(raw):
		return "", fmt.Errorf("a digest of %d hex digits is of no algorithm, or of another than %s", 2*len(raw), algorithm)
	}
	return typ + kernelName(algorithm) + ":" + hex.EncodeToString(raw), nil
}

// Judge implements Policy.
func (l *DigestList) Judge(_ *ima.Record, f *ima.Fields) Judgement {
	d := f.Digest
	if d.Type == "ima" {
		d.Type = ""
	}
	key := d.String()
	if n, found := l.digests[key]; found {
		return Judgement{Verdict: Passed, Rule: RuleDigest, Detail: fmt.Sprintf("line %d", n), Weak: weak(f.Digest.Algorithm)}
	}
	if n, found := l.paths[string(f.Path)]; found {
		return Judgement{Verdict: Failed, Rule: RuleAltered, Detail: fmt.Sprintf("line %d lists the path with another digest than %s", n, ima.Printable([]byte(key)))}
	}
	return Judgement{Verdict: Failed, Rule: RuleUnlisted, Detail: ima.Printable([]byte(key)) + " is not listed"}
}

// weak reports whether two files can be made with the same digest.
func weak(algorithm string) bool {
	return algorithm == "sha1" || algorithm == "md5" || algorithm == "md4"
}
