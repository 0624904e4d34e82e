package client

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/imaledger/imaledger/ledger"
)

// ProblemType is the media type of a Problem.
const ProblemType = "application/problem+json"

// A Problem is how a ledger says no: RFC 9457, with the findings of the checks
// that an entry failed.
type Problem struct {
	Type     string           `json:"type,omitempty"` // a URL that tells about such problems
	Title    string           `json:"title"`
	Status   int              `json:"status"` // of HTTP
	Detail   string           `json:"detail,omitempty"`
	Findings []ledger.Finding `json:"findings,omitempty"`
	Missing  []string         `json:"missing,omitempty"` // paths of addenda to upload first
	// Erasure is the leaf hash, in hex, of the entry by which records were erased.
	Erasure string `json:"erasure,omitempty"`
	// Successor is the log to go to, where this one has ended.
	Successor *Successor `json:"successor,omitempty"`
	Request   string     `json:"request,omitempty"` // names the request in the ledger's log
}

func (p *Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "ledger: %d %s", p.Status, p.Title)
	if p.Detail != "" {
		fmt.Fprintf(&b, ": %s", p.Detail)
	}
	for _, f := range p.Findings {
		fmt.Fprintf(&b, "; %s", f)
	}
	return b.String()
}

// Refused reports whether err is a ledger's word that the caller may not have what
// was asked for.
func Refused(err error) bool {
	return isProblem(err, http.StatusUnauthorized) || isProblem(err, http.StatusForbidden)
}

// Absent reports whether err is a ledger's word that it has no such thing, or has it
// no more.
func Absent(err error) bool {
	return isProblem(err, http.StatusNotFound) || isProblem(err, http.StatusGone)
}

func isProblem(err error, status int) bool {
	p, is := errors.AsType[*Problem](err)
	return is && p.Status == status
}

// Accepted is what a ledger knows of an entry that is durable: its place, and
// whether enough witnesses have seen a tree with it.
type Accepted struct {
	Leaf  string `json:"leaf"`            // leaf hash, hex
	Index uint64 `json:"index"`           // in the log; never changes
	Entry []byte `json:"entry,omitempty"` // of an enrolment, which the ledger wrote
	Proof string `json:"proof,omitempty"` // c2sp.org/tlog-proof; empty until it is witnessed
	// Status is NotWitnessed where the entry is durable and its proof waits for the
	// witnesses, and empty otherwise.
	Status string `json:"status,omitempty"`
}

// NotWitnessed is the status of an entry that too few witnesses have seen.
const NotWitnessed = "not yet witnessed"

// HostHead names the newest entry of a host's chain.
type HostHead struct {
	Host     string `json:"host"`
	Leaf     string `json:"leaf"` // leaf hash, hex
	Sequence uint64 `json:"sequence"`
	Index    uint64 `json:"index"` // in the log
}

// EnrolRequest asks to enrol an AK for a host. For grade software, which a
// ledger takes only for demonstrations, there is no EK.
type EnrolRequest struct {
	Host           string   `json:"host"`
	EKPublic       []byte   `json:"ek_public,omitempty"`       // TPMT_PUBLIC
	EKCertificates [][]byte `json:"ek_certificates,omitempty"` // DER, the EK's first
	AKPublic       []byte   `json:"ak_public"`                 // TPMT_PUBLIC
}

// A Challenge is what only the TPM that holds both the EK and the AK can answer,
// with TPM2_ActivateCredential: a credential of each registrar.
type Challenge struct {
	Session     string       `json:"session"`
	Credentials []Credential `json:"credentials"`
}

// A Credential is a registrar's.
type Credential struct {
	Credential []byte `json:"credential"` // TPM2B_ID_OBJECT
	Secret     []byte `json:"secret"`     // TPM2B_ENCRYPTED_SECRET
}

// An Activation is the answer. A session takes one, right or wrong.
type Activation struct {
	Session   string   `json:"session"`
	Activated [][]byte `json:"activated"` // what TPM2_ActivateCredential gave back for each, in their order
}

// Answer has a TPM open every credential.
func (c *Challenge) Answer(activate func(credential, secret []byte) ([]byte, error)) (Activation, error) {
	a := Activation{Session: c.Session}
	for i, credential := range c.Credentials {
		opened, err := activate(credential.Credential, credential.Secret)
		if err != nil {
			return a, fmt.Errorf("credential %d of %d: %w", i+1, len(c.Credentials), err)
		}
		a.Activated = append(a.Activated, opened)
	}
	return a, nil
}

// A RegistrarSign asks a registrar to sign an enrolment.
type RegistrarSign struct {
	Session   string `json:"session"`
	Activated []byte `json:"activated,omitempty"` // empty for grade software
	Text      []byte `json:"text"`                // of the enrolment
	Evidence  []byte `json:"evidence"`
}

// A RegistrarSignature is the answer.
type RegistrarSignature struct {
	Name string `json:"name"` // of the key
	Hash uint32 `json:"hash"` // the key ID
	Sig  []byte `json:"sig"`
}

// HostChain is a page of a host's chain.
type HostChain struct {
	Host    string       `json:"host"`
	Newest  uint64       `json:"newest"` // sequence of the newest entry
	Entries []ChainEntry `json:"entries"`
	Next    string       `json:"next,omitempty"` // path of the next page; empty on the last
}

// A ChainEntry names an entry of a host's chain.
type ChainEntry struct {
	Sequence uint64 `json:"sequence"`
	Leaf     string `json:"leaf"`  // leaf hash, hex
	Index    uint64 `json:"index"` // in the log
}
