package witness

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	f_note "github.com/transparency-dev/formats/note"
)

// EquivocationFormat is the first line of evidence against a log.
const EquivocationFormat = "imaledger-witness/equivocation/v1"

// MaxEquivocation bounds evidence in bytes: two checkpoints, a proof and keys.
const MaxEquivocation = 3 * maxBody

// ErrNotProven is evidence that leaves the question open: the log has signed both
// checkpoints, and what was sent with them does not show whether they agree.
var ErrNotProven = errors.New("not proven")

// An Equivocation is evidence that a log signed two checkpoints that contradict
// each other. Its file is
//
//	imaledger-witness/equivocation/v1
//	log <vkey>           one or more: each checkpoint has the signature of one
//	witness <vkey>       none or more: whose cosignatures may be on the first
//	proof <base64>       none or more hashes, from the first checkpoint to the second
//	<empty line>
//	<the first checkpoint, which was cosigned: a signed note>
//	<empty line>
//	<the second checkpoint: a signed note>
//
// Nobody but the holder of the log's key can make one that verifies. Whether the
// key named is the log's is the reader's to know.
type Equivocation struct {
	LogKeys     []string // vkeys
	WitnessKeys []string // vkeys
	proof       [][]byte
	first       *checkpoint
	second      *checkpoint
	raw         string
}

// ParseEquivocation reads evidence, and verifies nothing but its form.
func ParseEquivocation(b []byte) (*Equivocation, error) {
	if len(b) > MaxEquivocation {
		return nil, fmt.Errorf("evidence of more than %d bytes", MaxEquivocation)
	}
	// Notes of checkpoints have one empty line, before their signatures.
	parts := strings.Split(string(b), "\n\n")
	if len(parts) != 5 {
		return nil, errors.New("want a head and two checkpoints, with an empty line between each two and before signatures")
	}
	lines := strings.Split(parts[0], "\n")
	if lines[0] != EquivocationFormat {
		return nil, fmt.Errorf("line 1: %.64q, want %s", lines[0], EquivocationFormat)
	}
	e := &Equivocation{raw: string(b)}
	var proof []string
	for i, line := range lines[1:] {
		key, value, _ := strings.Cut(line, " ")
		switch {
		case key == "log" && len(e.WitnessKeys)+len(proof) == 0 && len(e.LogKeys) < maxKeys:
			e.LogKeys = append(e.LogKeys, value)
		case key == "witness" && len(proof) == 0 && len(e.WitnessKeys) < maxKeys:
			e.WitnessKeys = append(e.WitnessKeys, value)
		case key == "proof":
			proof = append(proof, value)
		default:
			return nil, fmt.Errorf("line %d: %.64q, want at most %d lines of log, then of witness, then of proof", i+2, line, maxKeys)
		}
	}
	var err error
	if e.proof, err = parseProof(proof); err != nil {
		return nil, err
	}
	for i, c := range []**checkpoint{&e.first, &e.second} {
		raw := parts[1+2*i] + "\n\n" + parts[2+2*i]
		if i == 0 {
			raw += "\n" // before the empty line that was cut
		}
		if err := checkCharacters(raw); err != nil {
			return nil, fmt.Errorf("checkpoint %d: %w", i+1, err)
		}
		if *c, err = parseCheckpoint(raw); err != nil {
			return nil, fmt.Errorf("checkpoint %d: %w", i+1, err)
		}
	}
	return e, nil
}

// newEquivocation makes the evidence that a request is against the checkpoint
// that was cosigned before it.
func newEquivocation(log *Log, witnesses []*Key, cosigned string, r *request) (*Equivocation, error) {
	var b strings.Builder
	b.WriteString(EquivocationFormat + "\n")
	for _, k := range log.Keys {
		b.WriteString("log " + k.VKey + "\n")
	}
	for _, k := range witnesses {
		b.WriteString("witness " + k.VKey() + "\n")
	}
	for _, h := range r.proof {
		b.WriteString("proof " + base64.StdEncoding.EncodeToString(h) + "\n")
	}
	signatures, err := r.checkpoint.verify(log.Keys, nil)
	if err != nil {
		return nil, err
	}
	b.WriteString("\n" + cosigned + "\n" + r.checkpoint.text + "\n" + signatures)
	return ParseEquivocation([]byte(b.String()))
}

// Bytes gives the file.
func (e *Equivocation) Bytes() []byte { return []byte(e.raw) }

// Origin gives the log's.
func (e *Equivocation) Origin() string { return e.first.origin }

// Sizes gives the sizes of the two trees.
func (e *Equivocation) Sizes() (first, second uint64) { return e.first.size, e.second.size }

// Verify checks the evidence and says what it proves. An error that is not
// ErrNotProven says that it is no evidence.
//
// SPEC: A log MUST not sign any checkpoint which is inconsistent with any
// SPEC: checkpoint it previously signed. (tlog-checkpoint)
func (e *Equivocation) Verify() (what string, err error) {
	var keys []LogKey
	for _, vkey := range e.LogKeys {
		log, err := ParseLog(vkey)
		if err != nil {
			return "", err
		}
		keys = append(keys, log.Keys...)
	}
	for i, c := range []*checkpoint{e.first, e.second} {
		if _, err := c.verify(keys, nil); err != nil {
			return "", fmt.Errorf("checkpoint %d: %w", i+1, err)
		}
	}
	a, b := e.first, e.second
	switch {
	case a.origin != b.origin:
		return "", fmt.Errorf("checkpoints of two logs, %s and %s", a.origin, b.origin)
	case a.size == b.size && a.root == b.root:
		return "", errors.New("both checkpoints are of the same tree")
	case a.size == b.size:
		return fmt.Sprintf("the log %s has signed two trees of size %d", a.origin, a.size), nil
	case a.size > b.size || a.size == 0:
		return "", errors.New("the first checkpoint is not of a smaller tree that has leaves")
	}
	// The proof may be anybody's, and a wrong one shows nothing. But where it leads to
	// the second root it shows what that tree begins with: no other hashes do.
	older, newer, ok := proofRoots(0, a.size, b.size, e.proof, a.root)
	switch {
	case ok && newer == b.root && older == a.root:
		return "", errors.New("the proof shows that the checkpoints agree")
	case ok && newer == b.root:
		return fmt.Sprintf("the log %s has signed a tree of size %d, and one of size %d whose first %d leaves are others", a.origin, a.size, b.size, a.size), nil
	}
	return "", fmt.Errorf("%w: the log %s has signed trees of size %d and %d, and the proof sent with the second leads from neither to the other: "+
		"the log must be able to give one that does", ErrNotProven, a.origin, a.size, b.size)
}

// Cosignature is a witness's cosignature on the first checkpoint.
type Cosignature struct {
	Name string
	Time time.Time
}

// Cosignatures gives the cosignatures on the first checkpoint that verify with
// the witness keys named: when they were made, at the latest, was the first
// checkpoint signed.
func (e *Equivocation) Cosignatures() []Cosignature {
	var list []Cosignature
	for _, vkey := range e.WitnessKeys {
		v, err := f_note.NewVerifierForCosignatureV1(vkey)
		if err != nil {
			continue
		}
		for _, s := range e.first.signatures {
			if s.name == v.Name() && s.keyID == v.KeyHash() && len(s.signature) > timestampSize && v.Verify([]byte(e.first.text), s.signature) {
				list = append(list, Cosignature{s.name, time.Unix(int64(binary.BigEndian.Uint64(s.signature)), 0).UTC()})
			}
		}
	}
	return list
}
