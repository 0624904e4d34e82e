package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/tpm/quote"
)

// secretSize is that of SHA-256, the smallest name hash that an EK may have.
const secretSize = sha256.Size

// A Registrar makes an activation of its own with a host's TPM, and signs the
// enrolment if the TPM answered it: a key in the ledger's process, or a service
// that somebody else runs (client.Registrar).
type Registrar interface {
	// Name names the registrar in messages.
	Name() string
	// Begin returns a session with one credential, none for grade software.
	Begin(ctx context.Context, r client.EnrolRequest) (*client.Challenge, error)
	Sign(ctx context.Context, r client.RegistrarSign) (ledger.Signature, error)
}

// An activation is what a registrar waits for.
type activation struct {
	candidate *candidate
	secret    []byte // nil for grade software
}

// A localRegistrar has a key.
type localRegistrar struct {
	desk     *desk
	key      note.Signer
	origin   string // of the log
	sessions *sessions[*activation]
	life     time.Duration
	now      func() time.Time
	rand     io.Reader
}

func (l *localRegistrar) Name() string { return l.key.Name() }

func (l *localRegistrar) Begin(_ context.Context, r client.EnrolRequest) (*client.Challenge, error) {
	c, err := l.desk.candidate(r)
	if err != nil {
		return nil, err
	}
	a, challenge := &activation{candidate: c}, &client.Challenge{}
	if c.ek != nil {
		a.secret = make([]byte, secretSize)
		if _, err := io.ReadFull(l.rand, a.secret); err != nil {
			return nil, fmt.Errorf("draw a secret: %w", err)
		}
		credential, secret, err := quote.MakeCredential(l.rand, c.ek, c.ak.Name, a.secret)
		if err != nil {
			return nil, err
		}
		challenge.Credentials = []client.Credential{{Credential: credential, Secret: secret}}
		c.Activations = []ledger.Activation{{Credential: credential, Secret: secret, Activated: sha256.Sum256(a.secret)}}
	}
	now := l.now()
	challenge.Session, err = l.sessions.add(a, now, now.Add(l.life))
	return challenge, err
}

// Sign signs an enrolment that says of the host what this registrar has seen of it.
// Its place in the host's chain is the ledger's to give.
func (l *localRegistrar) Sign(_ context.Context, r client.RegistrarSign) (sig ledger.Signature, err error) {
	a, err := l.sessions.take(r.Session, l.now())
	if err != nil {
		return sig, err
	}
	if subtle.ConstantTimeCompare(a.secret, r.Activated) != 1 {
		return sig, errActivation
	}
	if err := l.agrees(a.candidate, r.Text, r.Evidence); err != nil {
		return sig, err
	}
	raw, err := l.key.Sign(r.Text)
	if err != nil {
		return sig, fmt.Errorf("sign as %s: %w", l.key.Name(), err)
	}
	return ledger.Signature{Name: l.key.Name(), Hash: l.key.KeyHash(), Sig: raw}, nil
}

// agrees checks an enrolment and its evidence against what was activated.
func (l *localRegistrar) agrees(c *candidate, text, evidence []byte) error {
	e, err := ledger.ParseEnrolmentText(text)
	if err != nil {
		return badRequest("text: %v", err)
	}
	shown, err := ledger.ParseEnrolmentEvidence(evidence)
	if err != nil {
		return badRequest("evidence: %v", err)
	}
	ek := ledger.NameNone
	if c.ek != nil {
		ek = ledger.Name(c.ek.Name)
	}
	for what, same := range map[string]bool{
		"log": e.Log == l.origin, "host": e.Host == c.host, "ak": e.AK == ledger.Name(c.ak.Name) && bytes.Equal(e.AKPublic, c.ak.Raw), "ek": e.EK == ek,
		"grade": e.Grade == c.grade, "evidence": e.Evidence == shown.Addendum(),
		"ek-public":   bytes.Equal(shown.EKPublic, c.EKPublic),
		"certificate": slices.EqualFunc(shown.Certificates, c.Certificates, bytes.Equal),
	} {
		if !same {
			return badRequest("the enrolment's %s is not what this registrar was shown", what)
		}
	}
	for _, mine := range c.Activations {
		if !slices.ContainsFunc(shown.Activations, func(o ledger.Activation) bool {
			return o.Activated == mine.Activated && bytes.Equal(o.Credential, mine.Credential) && bytes.Equal(o.Secret, mine.Secret)
		}) {
			return badRequest("the enrolment's evidence lacks this registrar's activation")
		}
	}
	return nil
}

// A RegistrarConfig is what a registrar's service is made of.
type RegistrarConfig struct {
	Key    note.Signer
	Trust  *ledger.Trust // its policy names the one log that this registrar signs for
	Pinned map[ledger.Name]string
	// Token is what the ledger must show: whoever can have an enrolment signed can
	// give a host's name away.
	Token       string
	SessionLife time.Duration
	Logger      *slog.Logger
}

// A RegistrarService is a registrar that others than the ledger's operator run. It
// implements http.Handler: POST /registrar/begin and POST /registrar/sign.
type RegistrarService struct {
	registrar *localRegistrar
	token     [sha256.Size]byte
	mux       *http.ServeMux
	logger    *slog.Logger
}

// minToken is the length of a token in bytes, from which on it cannot be guessed.
const minToken = 20

// NewRegistrar makes a registrar's service.
func NewRegistrar(c RegistrarConfig) (*RegistrarService, error) {
	origin := c.Trust.Policy.Origin()
	switch {
	case origin == "":
		return nil, errors.New("registrar: the policy must name one log: a registrar signs for one")
	case registrarKey(c.Trust, c.Key.Name(), c.Key.KeyHash()) == nil:
		return nil, fmt.Errorf("registrar: key %s stands in no registrar line of the trust folder's rules", c.Key.Name())
	case len(c.Token) < minToken:
		return nil, fmt.Errorf("registrar: a token of %d bytes can be guessed; take %d or more", len(c.Token), minToken)
	}
	s := &RegistrarService{token: sha256.Sum256([]byte(c.Token)), mux: http.NewServeMux(), logger: c.Logger, registrar: &localRegistrar{
		desk: &desk{trust: c.Trust, pinned: c.Pinned}, key: c.Key, origin: origin, sessions: newSessions[*activation](),
		life: or(c.SessionLife, DefaultSessionLife), now: time.Now, rand: rand.Reader}}
	handle := func(pattern string, h func(http.ResponseWriter, *http.Request) (any, error)) {
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			answer, err := any(nil), s.authorise(r)
			if err == nil {
				answer, err = h(w, r)
			}
			if err != nil {
				writeProblem(w, r, err, s.logger)
				return
			}
			writeJSON(w, http.StatusOK, "application/json", answer)
		})
	}
	handle("POST /registrar/begin", func(w http.ResponseWriter, r *http.Request) (any, error) {
		var request client.EnrolRequest
		if err := readJSON(w, r, &request); err != nil {
			return nil, err
		}
		return s.registrar.Begin(r.Context(), request)
	})
	handle("POST /registrar/sign", func(w http.ResponseWriter, r *http.Request) (any, error) {
		var request client.RegistrarSign
		if err := readJSON(w, r, &request); err != nil {
			return nil, err
		}
		sig, err := s.registrar.Sign(r.Context(), request)
		if err == nil {
			s.logger.Info("signed an enrolment", "text", strings.ReplaceAll(string(request.Text), "\n", "; "))
		}
		return client.RegistrarSignature{Name: sig.Name, Hash: sig.Hash, Sig: sig.Sig}, err
	})
	return s, nil
}

var errToken = errors.New("the token is not the one of this registrar's ledger")

func (s *RegistrarService) authorise(r *http.Request) error {
	sum := sha256.Sum256([]byte(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
	if subtle.ConstantTimeCompare(sum[:], s.token[:]) != 1 {
		return errToken
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (s *RegistrarService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = identify(w, r)
	logged(s.logger, r.RemoteAddr, w, r, s.mux.ServeHTTP)
}
