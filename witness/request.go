package witness

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of a request.
const (
	// maxBody bounds the request body in bytes. A note MUST be accepted with 16
	// signatures, of up to nearly 5 kB each (c2sp.org/signed-note): 107 kB in
	// base64, and names, proof and extension lines besides.
	maxBody = 256 << 10
	// maxProof is the longest consistency proof between two trees of fewer than 2^64 leaves.
	maxProof = 63
	// maxSignatures is the limit of golang.org/x/mod/sumdb/note, so that whatever we cosign others can open.
	maxSignatures = 100
)

const hashSize = 32 // SHA-256

// encodedHash is the length of a hash in base64.
const encodedHash = (hashSize + 2) / 3 * 4

type hash = [hashSize]byte

// request is the body of add-checkpoint.
type request struct {
	old        uint64
	proof      [][]byte
	checkpoint *checkpoint
}

// parseRequest parses the body of add-checkpoint, strictly. Nothing in what it
// returns has been verified.
func parseRequest(body []byte) (*request, error) {
	// SPEC: The request body MUST be a sequence of an old size line, zero or more
	// SPEC: consistency proof lines, and an empty line, followed by a checkpoint.
	lines, note, err := splitBody(body)
	if err != nil {
		return nil, err
	}
	// SPEC: The old size line MUST consist of the string `old`, a single space
	// SPEC: (0x20), and the tree size of the previous checkpoint encoded as an ASCII
	// SPEC: decimal with no leading zeroes (unless the size is zero, in which case the
	// SPEC: encoding MUST be `0`).
	decimal, found := strings.CutPrefix(lines[0], "old ")
	if !found {
		return nil, errors.New(`first line is not "old " and a size`)
	}
	old, err := parseSize(decimal)
	if err != nil {
		return nil, fmt.Errorf("old size line: %w", err)
	}
	r := &request{old: old}
	if r.proof, err = parseProof(lines[1:]); err != nil {
		return nil, err
	}
	if r.checkpoint, err = parseCheckpoint(note); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return r, nil
}

// splitBody checks the characters of a request and takes it apart: the lines
// before the empty one, of which there is one at least, and the note.
func splitBody(body []byte) (lines []string, note string, err error) {
	if len(body) > maxBody {
		return nil, "", fmt.Errorf("body larger than %d bytes", maxBody)
	}
	// The lines before the note are ASCII, so that a note's rule holds for the whole body.
	text := string(body)
	if err := checkCharacters(text); err != nil {
		return nil, "", err
	}
	// SPEC: Each line MUST terminate in a newline character (U+000A).
	head, note, found := strings.Cut(text, "\n\n")
	if !found {
		return nil, "", errors.New("no empty line before the checkpoint")
	}
	return strings.Split(head, "\n"), note, nil
}

// SPEC: Signed notes MUST be valid UTF-8 and MUST NOT contain any ASCII control
// SPEC: characters (those below U+0020) other than newline. (signed-note)
func checkCharacters(text string) error {
	if !utf8.ValidString(text) {
		return errors.New("not UTF-8")
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return r < 0x20 && r != '\n' }); i >= 0 {
		return fmt.Errorf("byte %d is the control character 0x%02x", i, text[i])
	}
	return nil
}

// parseProof parses consistency proof lines.
func parseProof(lines []string) ([][]byte, error) {
	// SPEC: Each consistency proof line MUST encode a single hash in base64. The
	// SPEC: client MUST NOT send more than 63 consistency proof lines.
	if len(lines) > maxProof {
		return nil, fmt.Errorf("%d consistency proof lines, and %d are the most", len(lines), maxProof)
	}
	var proof [][]byte
	for i, line := range lines {
		h, err := parseHash(line)
		if err != nil {
			return nil, fmt.Errorf("consistency proof line %d: %w", i+1, err)
		}
		proof = append(proof, h[:])
	}
	return proof, nil
}

// parseSize parses a tree size, of which there is one encoding.
func parseSize(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, errors.New("size is not a decimal below 2^64 without sign and leading zeroes")
	}
	return n, nil
}

// parseHash parses a SHA-256 digest in base64, of which there is one encoding.
func parseHash(s string) (h hash, err error) {
	if len(s) != encodedHash {
		return h, fmt.Errorf("hash has %d characters, want %d of base64", len(s), encodedHash)
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != hashSize {
		return h, fmt.Errorf("hash is not the base64 of %d bytes", hashSize)
	}
	return hash(b), nil
}
