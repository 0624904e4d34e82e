package witness

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// keyIDSize is how many bytes of key ID precede each signature.
const keyIDSize = 4

// checkpoint is a note whose text is a checkpoint (c2sp.org/tlog-checkpoint).
type checkpoint struct {
	text       string // what is signed: all lines before the empty one, final newline included
	extended   bool   // whether extension lines follow the root
	origin     string
	size       uint64 // leaves
	root       hash
	signatures []signature
}

// signature is one signature line of a note.
type signature struct {
	line      string // with its newline
	name      string
	keyID     uint32
	signature []byte // without the key ID
	canonical bool   // whether the base64 is the one encoding of it
}

// parseCheckpoint parses a checkpoint whose characters parseRequest has checked.
//
// It takes a note without a signature, which signed-note calls malformed,
// because the specification of witnesses has a better answer to that: 403.
func parseCheckpoint(raw string) (*checkpoint, error) {
	// A checkpoint's lines are not empty, so that the first empty line is also the last.
	text, signatures, found := strings.Cut(raw, "\n\n")
	if !found {
		return nil, errors.New("no empty line before the signatures")
	}
	c := &checkpoint{text: text + "\n"}
	lines := strings.Split(text, "\n")
	if len(lines) < 3 {
		return nil, fmt.Errorf("%d lines before the signatures, want origin, size and root", len(lines))
	}
	// SPEC: The origin MUST be non-empty [...]. Extension lines, if any, MUST be
	// SPEC: non-empty. (tlog-checkpoint)
	for i, line := range lines {
		if line == "" {
			return nil, fmt.Errorf("line %d is empty", i+1)
		}
	}
	c.origin, c.extended = lines[0], len(lines) > 3
	var err error
	if c.size, err = parseSize(lines[1]); err != nil {
		return nil, fmt.Errorf("line 2: %w", err)
	}
	if c.root, err = parseHash(lines[2]); err != nil {
		return nil, fmt.Errorf("line 3: %w", err)
	}
	for n := 1; signatures != ""; n++ {
		line, rest, found := strings.Cut(signatures, "\n")
		if !found {
			return nil, errors.New("no newline at the end")
		}
		if n > maxSignatures {
			return nil, fmt.Errorf("more than %d signatures", maxSignatures)
		}
		s, err := parseSignature(line)
		if err != nil {
			return nil, fmt.Errorf("signature %d: %w", n, err)
		}
		c.signatures = append(c.signatures, s)
		signatures = rest
	}
	return c, nil
}

func parseSignature(line string) (signature, error) {
	rest, found := strings.CutPrefix(line, "— ")
	if !found {
		return signature{}, errors.New("line does not begin with an em dash and a space")
	}
	name, encoded, _ := strings.Cut(rest, " ")
	if !validName(name) {
		return signature{}, errors.New("key name is empty or contains a plus or a space")
	}
	// What base64 a stranger wrote is nothing to us: whose line it is comes first.
	blob, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(blob) <= keyIDSize {
		return signature{}, errors.New("not the base64 of a key ID and a signature")
	}
	canonical := base64.StdEncoding.EncodeToString(blob) == encoded
	return signature{line + "\n", name, binary.BigEndian.Uint32(blob), blob[keyIDSize:], canonical}, nil
}

// A verified is a text and lines that were seen to be its signatures.
type verified struct {
	by          *Log // whose keys verified it
	text, lines string
}

// has reports whether a line was verified for the text.
func (v *verified) has(c *checkpoint, line string) bool {
	return v != nil && v.text == c.text && strings.Contains(v.lines, line)
}

// verify gives the signature lines of the checkpoint that the keys made, one for
// each key. before is what the same keys have verified already, nil for nothing:
// most requests of a log that does not grow are the same, byte for byte.
//
// It does not use note.Open, which looks at the first signature of a key only: a
// second one that does not verify makes the note malformed too, and passes there.
func (c *checkpoint) verify(keys []LogKey, before *verified) (lines string, err error) {
	// SPEC: The witness MUST verify the checkpoint signature against the public
	// SPEC: key(s) it trusts for the checkpoint origin, and it MUST ignore signatures
	// SPEC: from unknown keys.
	seen, whole := make([]bool, len(keys)), false
	for _, s := range c.signatures {
		for i, key := range keys {
			if s.name != key.Name() || s.keyID != key.KeyHash() {
				continue
			}
			// A copy of a line was verified with the line.
			if !before.has(c, s.line) && !strings.Contains(lines, s.line) && (!s.canonical || !key.Verify([]byte(c.text), s.signature)) {
				return "", fmt.Errorf("the signature of %s+%08x does not verify", s.name, s.keyID)
			}
			whole = whole || key.signsExtensions()
			// One of each: what is kept must parse again, however many the log sends.
			if !seen[i] {
				seen[i] = true
				lines += s.line
			}
		}
	}
	switch {
	case lines == "":
		return "", fmt.Errorf("no signature of a key of the log %s", c.origin)
	case c.extended && !whole:
		// SPEC: Note that the ML-DSA-44 cosignature format doesn't sign the extension
		// SPEC: lines, which SHOULD be empty. (tlog-checkpoint)
		// Anyone could have written them, and our Ed25519 cosignature would cover them.
		return "", fmt.Errorf("extension lines that no signature of a key of the log %s covers", c.origin)
	}
	return lines, nil
}
