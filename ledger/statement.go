package ledger

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
)

// A Statement is an entry that people or services sign: a signed note
// (c2sp.org/signed-note) whose first line is its format, and a trailer.
type Statement interface {
	Entry
	// Text returns what the signatures are over.
	Text() []byte
	signatures() *Signatures
	read(*textReader)
}

// Signatures are the signatures on a statement, in the order of their lines.
type Signatures []Signature

// A Signature is one signature line of a note.
type Signature struct {
	Name string // of the key
	Hash uint32 // the key ID
	Sig  []byte // without the key ID
}

func (s *Signatures) signatures() *Signatures { return s }

var statements = map[string]func() Statement{
	EnrolmentFormat:       func() Statement { return new(Enrolment) },
	RetentionFormat:       func() Statement { return new(Retention) },
	ErasureFormat:         func() Statement { return new(Erasure) },
	HoldFormat:            func() Statement { return new(Hold) },
	ReleaseFormat:         func() Statement { return new(Release) },
	AppraisalFormat:       func() Statement { return new(Appraisal) },
	AcknowledgementFormat: func() Statement { return new(Acknowledgement) },
	FreezeFormat:          func() Statement { return new(Freeze) },
	SuccessionFormat:      func() Statement { return new(Succession) },
}

// Sign adds the signers' signatures to a statement.
func Sign(s Statement, signers ...note.Signer) error {
	text := s.Text()
	for _, signer := range signers {
		sig, err := signer.Sign(text)
		if err != nil {
			return fmt.Errorf("%s: sign as %s: %w", s.Format(), signer.Name(), err)
		}
		list := s.signatures()
		*list = append(*list, Signature{signer.Name(), signer.KeyHash(), sig})
	}
	// What cannot be read again must not be logged.
	if _, err := parseStatement(statements[s.Format()](), marshalStatement(s)); err != nil {
		return fmt.Errorf("signed statement does not parse: %w", err)
	}
	return nil
}

// SignedBy returns the names of the keys that signed the statement. A line by
// one of the keys whose signature does not verify is an error; lines by other
// keys are passed over.
func SignedBy(s Statement, keys ...note.Verifier) ([]string, error) {
	var names []string
	text := s.Text()
	for _, sig := range *s.signatures() {
		for _, k := range keys {
			if k.Name() != sig.Name || k.KeyHash() != sig.Hash {
				continue
			}
			if !k.Verify(text, sig.Sig) {
				return nil, fmt.Errorf("%s: the signature by %s does not verify", s.Format(), sig.Name)
			}
			names = append(names, sig.Name)
			break
		}
	}
	return names, nil
}

func marshalStatement(s Statement) []byte {
	b := append(s.Text(), '\n')
	for _, sig := range *s.signatures() {
		raw := append(binary.BigEndian.AppendUint32(nil, sig.Hash), sig.Sig...)
		b = fmt.Appendf(b, "— %s %s\n", sig.Name, base64.StdEncoding.EncodeToString(raw))
	}
	return appendTrailer(b, s.Addenda()...)
}

// parseStatement reads entry into blank. The number of digests in the trailer
// follows from the format, not from the trailer.
func parseStatement(blank Statement, entry []byte) (Statement, error) {
	format := blank.Format()
	if len(entry) > MaxStatement {
		return nil, &FormatError{Format: format, What: fmt.Sprintf("%d bytes, at most %d", len(entry), MaxStatement)}
	}
	signed, err := cutTrailer(format, entry, len(blank.Addenda()))
	if err != nil {
		return nil, err
	}
	text, lines, ok := strings.Cut(string(signed), "\n\n")
	if !ok {
		return nil, &FormatError{Format: format, What: "no empty line before the signatures"}
	}
	r := newTextReader(format, text+"\n")
	blank.read(r)
	if err := r.end(); err != nil {
		return nil, err
	}
	if *blank.signatures(), err = parseSignatures(format, lines); err != nil {
		return nil, err
	}
	return blank, checkTrailer(format, entry, signed, blank.Addenda()...)
}

func parseSignatures(format, lines string) (Signatures, error) {
	bad := func(what string, args ...any) (Signatures, error) {
		return nil, &FormatError{Format: format, What: "signature " + fmt.Sprintf(what, args...)}
	}
	var list Signatures
	for i := 1; lines != ""; i++ {
		line, rest, ok := strings.Cut(lines, "\n")
		lines = rest
		if len(list) == MaxSignatures {
			return bad("lines: more than %d", MaxSignatures)
		}
		line, dash := strings.CutPrefix(line, "— ")
		name, enc, space := strings.Cut(line, " ")
		if !ok || !dash || !space || !ValidKeyName(name) {
			return bad("line %d: want a dash, a key name and base64", i)
		}
		raw, ok := canonicalBase64(enc, MaxStatement)
		if !ok || len(raw) < 5 {
			return bad("line %d: want canonical base64 of a key ID and a signature", i)
		}
		sig := Signature{name, binary.BigEndian.Uint32(raw), raw[4:]}
		for _, other := range list {
			if other.Name == sig.Name && other.Hash == sig.Hash {
				return bad("line %d: a second one by %s", i, name)
			}
		}
		list = append(list, sig)
	}
	if len(list) == 0 {
		return bad("lines: none")
	}
	return list, nil
}

// ValidKeyName reports whether s can name a key of a signed note.
func ValidKeyName(s string) bool {
	if s == "" || len(s) > MaxOrigin || !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, func(c rune) bool { return c == '+' || unicode.IsSpace(c) || unicode.IsControl(c) })
}
