package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/tpm/quote"
)

// clock is a clock that a test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func request(host string, d *testTPM, certificates ...[]byte) client.EnrolRequest {
	return client.EnrolRequest{Host: host, EKPublic: d.ek, EKCertificates: certificates, AKPublic: d.ak}
}

// begin takes the first step, and opens the credential as the TPM does.
func (l *testLedger) begin(t *testing.T, host string, d *testTPM) client.Activation {
	t.Helper()
	ch, a, err := l.Enrol(t.Context(), request(host, d), 0)
	if err != nil || a != nil {
		t.Fatalf("enrol %s: %+v, %v", host, a, err)
	}
	answer, err := ch.Answer(d.activate)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func (l *testLedger) enrolTPM(t *testing.T, host string, d *testTPM) (*ledger.Enrolment, *client.Accepted) {
	t.Helper()
	a, err := l.Activate(t.Context(), l.begin(t, host, d), client.MaxWait)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ledger.ParseEntry(a.Entry)
	if err != nil {
		t.Fatal(err)
	}
	return e.(*ledger.Enrolment), a
}

func TestEnrol(t *testing.T) {
	l := startLedger(t, ledger.GradeFirstUse)
	d := newTestTPM(t)
	e, a := l.enrolTPM(t, "h", d)
	if e.Grade != ledger.GradeFirstUse || e.AK != d.akName() || e.Host != "h" || e.Sequence != 0 {
		t.Fatalf("%+v", e)
	}
	if r, findings := audit.CheckReceipt(l.config.Trust, "h", ledger.LeafHash(a.Entry), []byte(a.Proof)); r == nil || len(findings) > 0 {
		t.Fatalf("receipt: %v", findings)
	}
	// A stranger's audit of the enrolment, with the evidence that the ledger serves.
	j := audit.NewState(l.config.Trust).Judge(ledger.LeafHash(a.Entry), e, l.server.addenda)
	if len(j.Findings) > 0 || j.Err != nil {
		t.Fatalf("%v, %v", j.Findings, j.Err)
	}
	var raw bytes.Buffer
	if err := l.Addendum(t.Context(), e.Evidence.Digest, ledger.MaxEnrolmentEvidence, &raw); err != nil {
		t.Fatal(err)
	}
	evidence, err := ledger.ParseEnrolmentEvidence(raw.Bytes())
	if err != nil || !bytes.Equal(evidence.EKPublic, d.ek) {
		t.Fatalf("evidence: %v", err)
	}
	// Its segments are admitted.
	h := &testHost{name: "h", tpm: d, leaf: ledger.LeafHash(a.Entry)}
	l.submit(t, h, "/bin/sh")

	// The same keys again, after a segment: the host's chain goes on.
	again, b := l.enrolTPM(t, "h", d)
	if again.Sequence != 2 || again.Previous != h.leaf {
		t.Fatalf("%+v", again)
	}
	// And once more with nothing between: the same entry.
	if _, c := l.enrolTPM(t, "h", d); c.Leaf != b.Leaf || c.Index != b.Index || !bytes.Equal(c.Entry, b.Entry) {
		t.Fatalf("%+v, want the entry of before", c)
	}
	// A new AK of the same TPM.
	renewed := newTestAK(t)
	renewed.ekKey, renewed.ek = d.ekKey, d.ek
	if e, _ := l.enrolTPM(t, "h", renewed); e.Sequence != 3 || e.AK != renewed.akName() {
		t.Fatalf("%+v", e)
	}
	// The old one signs no more.
	h.leaf, h.sequence = ledger.Hash{}, 3
	head, err := l.HostHead(t.Context(), "h")
	if err != nil {
		t.Fatal(err)
	}
	h.leaf, _ = parseHash(head.Leaf)
	anchor := l.anchor(t)
	leaf, payload := h.segment(t, testOrigin, anchor, "/bin/sh")
	l.upload(t, payload, anchor.Raw)
	_, err = l.SubmitLeaf(t.Context(), leaf, 0)
	problem(t, err, http.StatusUnprocessableEntity, ledger.AKNotEnrolled)
	l.restart(t)
	if got, err := l.HostHead(t.Context(), "h"); err != nil || *got != *head {
		t.Fatalf("after a restart: %+v, %v", got, err)
	}
}

// An activation is for one AK, one EK, one host, one time, and a while.
func TestActivationIsBound(t *testing.T) {
	c := &clock{now: time.Now()}
	l := newConfig(t, ledger.GradeFirstUse)
	l.config.Now = c.Now
	l.start(t)
	d := newTestTPM(t)
	refused := func(what string, a client.Activation) {
		t.Helper()
		_, err := l.Activate(t.Context(), a, 0)
		t.Logf("%s: %v", what, err)
		problem(t, err, http.StatusForbidden, "")
	}

	wrong := l.begin(t, "h", d)
	good := wrong.Activated[0]
	wrong.Activated[0] = bytes.Clone(good)
	wrong.Activated[0][0] ^= 1
	refused("wrong secret", wrong)
	wrong.Activated[0] = good
	refused("right secret after a wrong one", wrong)
	for _, secret := range [][]byte{nil, good[:31], append(bytes.Clone(good), 0)} {
		a := l.begin(t, "h", d)
		a.Activated[0] = secret
		refused("secret of another length", a)
	}
	for _, n := range []int{0, 2} {
		a := l.begin(t, "h", d)
		a.Activated = slices.Repeat(a.Activated, n)
		refused(fmt.Sprintf("%d secrets", n), a)
	}
	refused("unknown session", client.Activation{Session: "x", Activated: [][]byte{good}})

	one, two := l.begin(t, "h", d), l.begin(t, "other", newTestTPM(t))
	refused("another session's secret", client.Activation{Session: two.Session, Activated: one.Activated})
	late := l.begin(t, "h", d)
	c.advance(DefaultSessionLife)
	refused("expired", late)

	a := l.begin(t, "h", d)
	if _, err := l.Activate(t.Context(), a, 0); err != nil {
		t.Fatal(err)
	}
	refused("replay", a)

	// The second step has no field to name another host, AK or EK with.
	b := l.begin(t, "h", d)
	for _, field := range []string{`"host":"x"`, `"ak_public":"AA=="`, `"ek_public":"AA=="`} {
		resp, body := l.do(t, http.MethodPost, "/enrol/activate", strings.NewReader(`{"session":"`+b.Session+`","activated":["AA=="],`+field+`}`))
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s %s", field, resp.Status, body)
		}
	}
	// Another AK of another TPM cannot be slipped beside a real EK: its TPM does
	// not open the credential.
	mixed := newTestAK(t)
	r := request("mixed", d)
	r.AKPublic = mixed.ak
	ch, _, err := l.Enrol(t.Context(), r, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.Answer(d.activate); err == nil {
		t.Fatal("the TPM opened a credential for an AK that it does not hold")
	}
}

// What was true at the first step is looked at again at the second.
func TestEnrolTwoAtOnce(t *testing.T) {
	l := startLedger(t, ledger.GradeFirstUse)
	mine, yours := newTestTPM(t), newTestTPM(t)
	first, second := l.begin(t, "h", mine), l.begin(t, "h", yours)
	if _, err := l.Activate(t.Context(), first, 0); err != nil {
		t.Fatal(err)
	}
	_, err := l.Activate(t.Context(), second, 0)
	problem(t, err, http.StatusUnprocessableEntity, ledger.EnrolmentGrade)
	// Nor can anyone begin anew for a name that is taken.
	_, _, err = l.Enrol(t.Context(), request("h", yours), 0)
	problem(t, err, http.StatusUnprocessableEntity, ledger.EnrolmentGrade)
}

func TestOneKeyTwoHosts(t *testing.T) {
	l := startLedger(t, ledger.GradeFirstUse)
	d := newTestTPM(t)
	l.enrolTPM(t, "a", d)
	sameEK, sameAK := newTestAK(t), newTestTPM(t)
	sameEK.ekKey, sameEK.ek = d.ekKey, d.ek
	sameAK.akKey, sameAK.ak, sameAK.parsed = d.akKey, d.ak, d.parsed
	for code, d := range map[ledger.Code]*testTPM{ledger.EKReused: sameEK, ledger.AKReused: sameAK} {
		_, err := l.Activate(t.Context(), l.begin(t, "b", d), 0)
		problem(t, err, http.StatusUnprocessableEntity, code)
	}
	// At the same moment, too: one wins.
	d = newTestTPM(t)
	var list []client.Activation
	for _, host := range []string{"c", "d", "e", "f"} {
		list = append(list, l.begin(t, host, d))
	}
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, a := range list {
		wg.Go(func() { _, errs[i] = l.Activate(t.Context(), a, 0) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			problem(t, err, http.StatusUnprocessableEntity, ledger.AKReused)
		}
	}
	if won != 1 {
		t.Fatalf("%d hosts have one AK", won)
	}
}

func TestGrades(t *testing.T) {
	l := newConfig(t, ledger.GradeCertificate, ledger.GradePinned)
	d, pinned, stranger := newTestTPM(t), newTestTPM(t), newTestTPM(t)
	root, certificate := vendor(t, &d.ekKey.PublicKey)
	l.config.Trust.Roots = append(l.config.Trust.Roots, root)
	ek, err := quote.ParseEK(pinned.ek)
	if err != nil {
		t.Fatal(err)
	}
	l.config.Pinned = map[ledger.Name]string{ledger.Name(ek.Name): "pinned"}
	l.start(t)

	refused := func(what string, r client.EnrolRequest, status int, code ledger.Code) {
		t.Helper()
		_, _, err := l.Enrol(t.Context(), r, 0)
		t.Logf("%s: %v", what, err)
		problem(t, err, status, code)
	}
	refused("nobody vouches", request("h", stranger), http.StatusUnprocessableEntity, ledger.EnrolmentGrade)
	refused("another's certificate", request("h", stranger, certificate), http.StatusUnprocessableEntity, ledger.EnrolmentGrade)
	refused("no EK", client.EnrolRequest{Host: "h", AKPublic: d.ak}, http.StatusBadRequest, "")
	refused("a listed EK, another host", request("h", pinned), http.StatusUnprocessableEntity, ledger.EnrolmentGrade)
	refused("a listed host, another EK", request("pinned", d, certificate), http.StatusUnprocessableEntity, ledger.EnrolmentGrade)
	refused("no host name", request("../h", d, certificate), http.StatusBadRequest, "")
	swapped := request("h", d, certificate)
	swapped.AKPublic = d.ek
	refused("an EK for an AK", swapped, http.StatusUnprocessableEntity, ledger.AKAttributes)
	swapped = request("h", d, certificate)
	swapped.EKPublic = d.ak
	refused("an AK for an EK", swapped, http.StatusUnprocessableEntity, ledger.EnrolmentEvidenceInvalid)
	refused("too many certificates", request("h", d, make([][]byte, ledger.MaxCertificates+1)...), http.StatusBadRequest, "")

	ch, _, err := l.Enrol(t.Context(), request("h", d, certificate), 0)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := ch.Answer(d.activate)
	if err != nil {
		t.Fatal(err)
	}
	a, err := l.Activate(t.Context(), answer, 0)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := ledger.ParseEntry(a.Entry); err != nil || e.(*ledger.Enrolment).Grade != ledger.GradeCertificate {
		t.Fatalf("%+v, %v", e, err)
	}
	if e, _ := l.enrolTPM(t, "pinned", pinned); e.Grade != ledger.GradePinned {
		t.Fatalf("%+v", e)
	}
}

// A software key takes a name that is free, and no TPM's.
func TestSoftwareGrade(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware, ledger.GradeFirstUse)
	h := l.enrolHost(t, "soft")
	l.enrolTPM(t, "tpm", newTestTPM(t))
	other := newTestAK(t)
	for _, name := range []string{"soft", "tpm"} {
		_, _, err := l.Enrol(t.Context(), client.EnrolRequest{Host: name, AKPublic: other.ak}, 0)
		problem(t, err, http.StatusUnprocessableEntity, ledger.EnrolmentGrade)
	}
	// The same key again: the same entry.
	_, a, err := l.Enrol(t.Context(), client.EnrolRequest{Host: "soft", AKPublic: h.tpm.ak}, 0)
	if err != nil || ledger.LeafHash(a.Entry) != h.leaf {
		t.Fatalf("%+v, %v", a, err)
	}
	l.kill()
	l.config.AllowSoftware = false
	l.start(t)
	_, _, err = l.Enrol(t.Context(), client.EnrolRequest{Host: "third", AKPublic: other.ak}, 0)
	problem(t, err, http.StatusBadRequest, "")
}

// An enrolment that others signed comes in by POST /leaf, and is held to the
// trust folder.
func TestForeignEnrolment(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	d := newTestAK(t)
	evidence := &ledger.EnrolmentEvidence{}
	e := &ledger.Enrolment{Log: testOrigin, Host: "h", AK: d.akName(), AKPublic: d.ak, Grade: ledger.GradeSoftware, Evidence: evidence.Addendum()}
	stranger, _ := signer(t, "stranger.example")
	if err := ledger.Sign(e, stranger); err != nil {
		t.Fatal(err)
	}
	_, err := l.SubmitLeaf(t.Context(), e.Marshal(), 0)
	problem(t, err, http.StatusUnprocessableEntity, ledger.EnrolmentEvidenceMissing)
	l.upload(t, evidence.Marshal())
	_, err = l.SubmitLeaf(t.Context(), e.Marshal(), 0)
	problem(t, err, http.StatusUnprocessableEntity, ledger.EnrolmentUnsigned)
	if err := ledger.Sign(e, l.config.Registrars...); err != nil {
		t.Fatal(err)
	}
	if _, err := l.SubmitLeaf(t.Context(), e.Marshal(), 0); err != nil {
		t.Fatal(err)
	}
}

func TestSessionLimit(t *testing.T) {
	s, now := newSessions[int](), time.Now()
	for range maxSessions {
		if _, err := s.add(1, now, now.Add(DefaultSessionLife)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.add(1, now, now.Add(DefaultSessionLife)); !errors.Is(err, errBusy) {
		t.Fatalf("one over the limit: %v", err)
	}
	if _, err := s.add(1, now.Add(DefaultSessionLife), now.Add(2*DefaultSessionLife)); err != nil {
		t.Fatalf("after all have expired: %v", err)
	}
}

func TestRegistrarsMustMeetThreshold(t *testing.T) {
	l := newConfig(t, ledger.GradeSoftware)
	l.config.Registrars[0], _ = signer(t, "another.example")
	if _, err := New(context.Background(), l.config); err == nil || !strings.Contains(err.Error(), "registrar") {
		t.Fatalf("%v", err)
	}
}

// vendor makes a TPM vendor's root, and a certificate of it for an EK.
func vendor(t *testing.T, ek *rsa.PublicKey) (root *x509.Certificate, certificate []byte) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "vendor"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if root, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageKeyEncipherment, UnknownExtKeyUsage: []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}}}
	if certificate, err = x509.CreateCertificate(rand.Reader, leaf, root, ek, key); err != nil {
		t.Fatal(err)
	}
	return root, certificate
}
