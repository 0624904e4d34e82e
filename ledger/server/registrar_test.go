package server

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
)

const testToken = "a token that nobody guesses"

// A testRegistrars is a ledger whose trust folder demands two of three registrars:
// one is a key of the ledger's, two are services.
type testRegistrars struct {
	*testLedger
	services []*httptest.Server
	remote   []*client.Registrar
}

func startRegistrars(t *testing.T) *testRegistrars {
	t.Helper()
	r := &testRegistrars{testLedger: newConfig(t, ledger.GradeFirstUse)}
	rules := ledger.TrustRulesFormat + "\n"
	var keys []note.Signer
	for i := range 3 {
		key, vkey := signer(t, fmt.Sprintf("registrar%d.example", i))
		keys = append(keys, key)
		rules += "registrar " + vkey + "\n"
	}
	var err error
	if r.config.Trust, err = ledger.ParseTrust(r.policy, []byte(rules+"registrars 2\ngrade first-use\n")); err != nil {
		t.Fatal(err)
	}
	r.config.Registrars = keys[:1]
	for _, key := range keys[1:] {
		service, err := NewRegistrar(RegistrarConfig{Key: key, Trust: r.config.Trust, Token: testToken, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewServer(service)
		t.Cleanup(s.Close)
		remote := &client.Registrar{Client: client.Client{Base: s.URL}, Token: testToken}
		r.services, r.remote = append(r.services, s), append(r.remote, remote)
		r.config.RemoteRegistrars = append(r.config.RemoteRegistrars, remote)
	}
	r.start(t)
	return r
}

// TestSeveralRegistrars: each makes an activation of its own and signs; one may be
// away, two may not.
func TestSeveralRegistrars(t *testing.T) {
	r := startRegistrars(t)
	for i, want := range []int{3, 2} {
		e, a := r.enrolTPM(t, fmt.Sprintf("h%d", i), newTestTPM(t))
		if by, err := ledger.SignedBy(e, r.config.Trust.Registrars...); err != nil || len(by) != want {
			t.Errorf("signed by %v, want %d; %v", by, want, err)
		}
		var raw bytes.Buffer
		if err := r.Addendum(t.Context(), e.Evidence.Digest, ledger.MaxEnrolmentEvidence, &raw); err != nil {
			t.Fatal(err)
		}
		evidence, err := ledger.ParseEnrolmentEvidence(raw.Bytes())
		if err != nil || len(evidence.Activations) != want {
			t.Errorf("%d activations, want %d; %v", len(evidence.Activations), want, err)
		}
		if j := audit.NewState(r.config.Trust).Judge(ledger.LeafHash(a.Entry), e, r.server.addenda); len(j.Findings) > 0 {
			t.Errorf("%v", j.Findings)
		}
		r.services[i].Close()
	}
	_, _, err := r.Enrol(t.Context(), request("h3", newTestTPM(t)), 0)
	problem(t, err, http.StatusServiceUnavailable, "")
	if !strings.Contains(err.Error(), "1 of the 2 registrars") {
		t.Errorf("%v", err)
	}
}

// TestEachActivationCounts: a host that opens one registrar's credential only is
// not enrolled by the others' word.
func TestEachActivationCounts(t *testing.T) {
	r := startRegistrars(t)
	d := newTestTPM(t)
	one := r.begin(t, "h", d)
	one.Activated[1], one.Activated[2] = one.Activated[0], one.Activated[0]
	if _, err := r.Activate(t.Context(), one, 0); err == nil {
		t.Error("enrolled with one activation, where two are demanded")
	}
	two := r.begin(t, "h", d)
	two.Activated[0] = make([]byte, secretSize)
	a, err := r.Activate(t.Context(), two, 0)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ledger.ParseEntry(a.Entry)
	if err != nil {
		t.Fatal(err)
	}
	if by, err := ledger.SignedBy(e.(*ledger.Enrolment), r.config.Trust.Registrars...); err != nil || len(by) != 2 || by[0] != "registrar1.example" {
		t.Errorf("signed by %v, %v", by, err)
	}
}

// TestRegistrarSignsWhatItSaw: a ledger that is owned cannot have a registrar sign
// for another host, key, grade or log, nor without the activation, nor twice.
func TestRegistrarSignsWhatItSaw(t *testing.T) {
	r := startRegistrars(t)
	d, other := newTestTPM(t), newTestAK(t)
	registrar := r.remote[0]
	for name, alter := range map[string]func(e *ledger.Enrolment, v *ledger.EnrolmentEvidence, q *client.RegistrarSign){
		"":     func(*ledger.Enrolment, *ledger.EnrolmentEvidence, *client.RegistrarSign) {},
		"host": func(e *ledger.Enrolment, _ *ledger.EnrolmentEvidence, _ *client.RegistrarSign) { e.Host = "another" },
		"log": func(e *ledger.Enrolment, _ *ledger.EnrolmentEvidence, _ *client.RegistrarSign) {
			e.Log = "another.example"
		},
		"grade": func(e *ledger.Enrolment, _ *ledger.EnrolmentEvidence, _ *client.RegistrarSign) {
			e.Grade = ledger.GradePinned
		},
		"ak": func(e *ledger.Enrolment, _ *ledger.EnrolmentEvidence, _ *client.RegistrarSign) {
			e.AK, e.AKPublic = other.akName(), other.ak
		},
		"ek":        func(e *ledger.Enrolment, _ *ledger.EnrolmentEvidence, _ *client.RegistrarSign) { e.EK = e.AK },
		"ek-public": func(_ *ledger.Enrolment, v *ledger.EnrolmentEvidence, _ *client.RegistrarSign) { v.EKPublic = d.ak },
		"certificate": func(_ *ledger.Enrolment, v *ledger.EnrolmentEvidence, _ *client.RegistrarSign) {
			v.Certificates = [][]byte{{1}}
		},
		"activation": func(_ *ledger.Enrolment, v *ledger.EnrolmentEvidence, _ *client.RegistrarSign) {
			v.Activations[0].Activated[0] ^= 1
		},
		"not the secret":    func(_ *ledger.Enrolment, _ *ledger.EnrolmentEvidence, q *client.RegistrarSign) { q.Activated[0] ^= 1 },
		"no such enrolment": func(_ *ledger.Enrolment, _ *ledger.EnrolmentEvidence, q *client.RegistrarSign) { q.Session = "x" },
	} {
		challenge, err := registrar.Begin(t.Context(), request("h", d))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := challenge.Answer(d.activate)
		if err != nil {
			t.Fatal(err)
		}
		c := challenge.Credentials[0]
		evidence := &ledger.EnrolmentEvidence{EKPublic: d.ek, Activations: []ledger.Activation{{Credential: c.Credential, Secret: c.Secret, Activated: sha256.Sum256(answer.Activated[0])}}}
		candidate, err := r.server.desk.candidate(request("h", d))
		if err != nil {
			t.Fatal(err)
		}
		e := &ledger.Enrolment{Log: testOrigin, Host: "h", EK: ledger.Name(candidate.ek.Name), AK: d.akName(), AKPublic: d.ak, Grade: ledger.GradeFirstUse}
		q := client.RegistrarSign{Session: challenge.Session, Activated: answer.Activated[0]}
		alter(e, evidence, &q)
		e.Evidence = evidence.Addendum()
		q.Text, q.Evidence = e.Text(), evidence.Marshal()
		sig, err := registrar.Sign(t.Context(), q)
		if name == "" {
			if err != nil || !registrarKey(r.config.Trust, sig.Name, sig.Hash).Verify(q.Text, sig.Sig) {
				t.Errorf("%+v, %v", sig, err)
			}
			_, err = registrar.Sign(t.Context(), q)
			name = "a second signature of one session"
		}
		if err == nil {
			t.Errorf("%s: it signed", name)
		}
	}
}

// TestRegistrarToken: nobody but the ledger asks a registrar.
func TestRegistrarToken(t *testing.T) {
	r := startRegistrars(t)
	for _, token := range []string{"", "another token, as long as it is"} {
		stranger := &client.Registrar{Client: client.Client{Base: r.remote[0].Client.Base}, Token: token}
		var p *client.Problem
		if _, err := stranger.Begin(t.Context(), request("h", newTestTPM(t))); !errors.As(err, &p) || p.Status != http.StatusUnauthorized {
			t.Errorf("token %q: %v", token, err)
		}
	}
	resp, err := http.Post(r.services[0].URL+"/registrar/begin", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("%s %s %v", resp.Status, b, err)
	}
	if _, err := NewRegistrar(RegistrarConfig{Key: r.config.Registrars[0], Trust: r.config.Trust, Token: "short"}); err == nil {
		t.Error("a token that can be guessed is taken")
	}
}
