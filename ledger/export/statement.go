package export

import (
	"encoding/hex"
	"encoding/json"

	"github.com/imaledger/imaledger/ledger"
)

// Types of the statement that others sign and check
// (https://github.com/in-toto/attestation, Statement v1; DSSE).
const (
	StatementPayload = "application/vnd.in-toto+json"
	StatementType    = "https://in-toto.io/Statement/v1"
	PredicateType    = "https://github.com/imaledger/imaledger/verification/v1"
)

// A Statement is what a verifier says of evidence, as an in-toto statement.
type Statement struct {
	Type          string    `json:"_type"`
	Subject       []Subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     any       `json:"predicate"`
}

// A Subject is bytes that the statement is about.
type Subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// NewSubject names bytes by their SHA-256.
func NewSubject(name string, digest ledger.Hash) Subject {
	return Subject{name, map[string]string{"sha256": hex.EncodeToString(digest[:])}}
}

// A Verification is the predicate: what was found, by whom, and by what.
type Verification struct {
	Verdict    string            `json:"verdict"` // verified, contradicted, undecided
	Verifier   string            `json:"verifier"`
	Time       uint64            `json:"time"`  // Unix seconds, the verifier's word
	Trust      map[string]string `json:"trust"` // file of the trust folder to its SHA-256
	Log        string            `json:"log,omitempty"`
	TreeSize   uint64            `json:"treeSize,omitempty"`
	Witnessed  uint64            `json:"witnessed,omitempty"` // Unix seconds
	Statements []string          `json:"statements"`
	Findings   []ledger.Finding  `json:"findings"`
}

// NewStatement returns the statement's bytes.
func NewStatement(v Verification, subjects ...Subject) ([]byte, error) {
	return json.Marshal(Statement{StatementType, subjects, PredicateType, v})
}
