package tpm

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
)

func startSwtpm(t testing.TB) *Swtpm {
	t.Helper()
	s, err := StartSwtpm(t.TempDir())
	if err != nil {
		t.Fatalf("%v (apt-get install swtpm swtpm-tools)", err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func open(t testing.TB, s *Swtpm) *Device {
	t.Helper()
	d, err := Open(s.Socket())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

var testSelection = ima.Selection{{Bank: ima.SHA1, PCRs: []int{10}}, {Bank: ima.SHA256, PCRs: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}}

type quoter interface {
	AK() ([]byte, error)
	Quote(nonce []byte, selection ima.Selection) (attest, signature []byte, err error)
	ReadPCRs(selection ima.Selection) (ima.Values, error)
	Extend(pcr int, digests map[ima.Bank][]byte) error
}

// checkQuote has a quote made and verified, and its digest recomputed.
func checkQuote(t *testing.T, d quoter, selection ima.Selection) *quote.Quote {
	t.Helper()
	public, err := d.AK()
	if err != nil {
		t.Fatal(err)
	}
	ak, err := quote.ParseAK(public)
	if err != nil {
		t.Fatal(err)
	}
	nonce := sha256.Sum256([]byte("head"))
	attest, signature, err := d.Quote(nonce[:], selection)
	if err != nil {
		t.Fatal(err)
	}
	q, err := ak.Verify(attest, signature)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(q.ExtraData, nonce[:]) || !bytes.Equal(q.QualifiedSigner, ak.QualifiedName(quote.Endorsement)) {
		t.Errorf("nonce %x, signer %x", q.ExtraData, q.QualifiedSigner)
	}
	values, err := d.ReadPCRs(selection)
	if err != nil {
		t.Fatal(err)
	}
	if want := selection.Digest(ima.Bank(ak.HashAlg), func(s ima.Slot) []byte { return values[s] }); !bytes.Equal(q.PCRDigest, want) {
		t.Errorf("pcrDigest %x, the registers give %x", q.PCRDigest, want)
	}
	return q
}

func TestQuoteEveryScheme(t *testing.T) {
	s := startSwtpm(t)
	for _, kind := range []AKKind{AKECCP256, AKECCP384, AKRSASSA, AKRSAPSS} {
		d := open(t, s)
		if err := d.UseAK(kind, quote.Endorsement); err != nil {
			t.Fatalf("kind %d: %v", kind, err)
		}
		for _, selection := range []ima.Selection{testSelection, {{Bank: ima.SHA256, PCRs: []int{10}}}, {{Bank: ima.SHA1, PCRs: []int{10, 23}}}} {
			checkQuote(t, d, selection)
		}
		d.Close()
	}
}

func TestExtendShowsInQuote(t *testing.T) {
	d := open(t, startSwtpm(t))
	before := checkQuote(t, d, testSelection)
	if err := d.Extend(10, map[ima.Bank][]byte{ima.SHA1: make([]byte, 20), ima.SHA256: make([]byte, 32)}); err != nil {
		t.Fatal(err)
	}
	if after := checkQuote(t, d, testSelection); bytes.Equal(before.PCRDigest, after.PCRDigest) {
		t.Error("an extend does not change the quote")
	}
}

// TestOwnerHierarchy: a quote by a key of the owner hierarchy has obfuscated
// counters, and its signer says so.
func TestOwnerHierarchy(t *testing.T) {
	d := open(t, startSwtpm(t))
	if err := d.UseAK(AKECCP256, quote.Owner); err != nil {
		t.Fatal(err)
	}
	public, err := d.AK()
	if err != nil {
		t.Fatal(err)
	}
	ak, err := quote.ParseAK(public)
	if err != nil {
		t.Fatal(err)
	}
	attest, signature, err := d.Quote(make([]byte, 32), testSelection)
	if err != nil {
		t.Fatal(err)
	}
	q, err := ak.Verify(attest, signature)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(q.QualifiedSigner, ak.QualifiedName(quote.Endorsement)) || !bytes.Equal(q.QualifiedSigner, ak.QualifiedName(quote.Owner)) {
		t.Errorf("signer %x does not tell the hierarchy", q.QualifiedSigner)
	}
	if q.ResetCount < 1000 {
		t.Errorf("resetCount %d is not obfuscated", q.ResetCount)
	}
}

func TestAKIsDerivedAgain(t *testing.T) {
	s := startSwtpm(t)
	d := open(t, s)
	first, err := d.AK()
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	if err := s.Power(Reboot); err != nil {
		t.Fatal(err)
	}
	second, err := open(t, s).AK()
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("after a reboot the AK is another one, %v", err)
	}
}

// TestCounters is the table of what each change of power does to counters,
// clock and registers.
func TestCounters(t *testing.T) {
	s := startSwtpm(t)
	now := func() *quote.Quote {
		d := open(t, s)
		defer d.Close()
		return checkQuote(t, d, testSelection)
	}
	zeroed := func() bool {
		d := open(t, s)
		defer d.Close()
		v, err := d.ReadPCRs(ima.Selection{{Bank: ima.SHA256, PCRs: []int{10}}})
		if err != nil {
			t.Fatal(err)
		}
		return len(bytes.Trim(v[ima.Slot{Bank: ima.SHA256, PCR: 10}], "\x00")) == 0
	}
	for _, row := range []struct {
		name           string
		change         PowerChange
		reset, restart func(was uint32) uint32
		zero           bool
		clockGrows     bool
	}{
		{"suspend", Suspend, same, more, false, true},
		{"hibernate", Hibernate, same, more, true, true},
		{"reboot", Reboot, more, none, true, true},
		{"power loss", PowerLoss, more, none, true, false},
		{"suspend again", Suspend, same, more, false, true},
	} {
		d := open(t, s)
		if err := d.Extend(10, map[ima.Bank][]byte{ima.SHA256: make([]byte, 32)}); err != nil {
			t.Fatal(err)
		}
		d.Close()
		was := now()
		if err := s.Power(row.change); err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		is := now()
		if is.ResetCount != row.reset(was.ResetCount) || is.RestartCount != row.restart(was.RestartCount) {
			t.Errorf("%s: reset %d to %d, restart %d to %d", row.name, was.ResetCount, is.ResetCount, was.RestartCount, is.RestartCount)
		}
		if row.clockGrows && is.Clock < was.Clock {
			t.Errorf("%s: the clock went from %d to %d", row.name, was.Clock, is.Clock)
		}
		if row.change == PowerLoss && is.Safe {
			t.Errorf("%s: the clock is called safe", row.name)
		}
		if zeroed() != row.zero {
			t.Errorf("%s: PCR 10 zero: %v, want %v", row.name, !row.zero, row.zero)
		}
	}
	was := now()
	if err := s.Clear(); err != nil {
		t.Fatal(err)
	}
	if is := now(); is.ResetCount != 0 || is.RestartCount != 0 || is.Clock > was.Clock {
		t.Errorf("clear: reset %d, restart %d, clock %d to %d", is.ResetCount, is.RestartCount, was.Clock, is.Clock)
	}
}

func same(was uint32) uint32 { return was }
func more(was uint32) uint32 { return was + 1 }
func none(uint32) uint32     { return 0 }

func TestCredential(t *testing.T) {
	d := open(t, startSwtpm(t))
	public, err := d.EK()
	if err != nil {
		t.Fatal(err)
	}
	ek, err := quote.ParseEK(public)
	if err != nil {
		t.Fatal(err)
	}
	akPublic, err := d.AK()
	if err != nil {
		t.Fatal(err)
	}
	ak, err := quote.ParseAK(akPublic)
	if err != nil {
		t.Fatal(err)
	}
	secret := sha256.Sum256([]byte("secret"))
	id, enc, err := quote.MakeCredential(rand.Reader, ek, ak.Name, secret[:])
	if err != nil {
		t.Fatal(err)
	}
	if got, err := d.ActivateCredential(id, enc); err != nil || !bytes.Equal(got, secret[:]) {
		t.Errorf("activated %x, %v; want %x", got, err, secret)
	}
	other := bytes.Clone(ak.Name)
	other[10] ^= 1
	id, enc, err = quote.MakeCredential(rand.Reader, ek, other, secret[:])
	if err != nil {
		t.Fatal(err)
	}
	if got, err := d.ActivateCredential(id, enc); err == nil {
		t.Errorf("a credential for another AK gives %x", got)
	}
	if _, err := d.EKCertificate(); !errors.Is(err, quote.ErrNoCertificate) {
		t.Errorf("a TPM without a certificate: %v", err)
	}
}

// TestEKCertificate has swtpm's own setup put a certificate into the TPM.
func TestEKCertificate(t *testing.T) {
	dir := t.TempDir()
	setup := exec.Command("swtpm_setup", "--tpm2", "--tpmstate", dir, "--create-ek-cert", "--pcr-banks", "sha1,sha256", "--overwrite")
	if out, err := setup.CombinedOutput(); err != nil {
		t.Fatalf("swtpm_setup: %v\n%s", err, out)
	}
	s, err := StartSwtpm(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	d := open(t, s)
	der, err := d.EKCertificate()
	if err != nil {
		t.Fatal(err)
	}
	public, err := d.EK()
	if err != nil {
		t.Fatal(err)
	}
	ek, err := quote.ParseEK(public)
	if err != nil {
		t.Fatal(err)
	}
	// Without a root it cannot verify; that it is for the EK is told first.
	if err := quote.VerifyEKChain(ek, [][]byte{der}, nil, time.Now()); err == nil || strings.Contains(err.Error(), "another key") {
		t.Errorf("%v", err)
	}
}

// TestNoHandleIsLeft: a resource manager has few.
func TestNoHandleIsLeft(t *testing.T) {
	d := open(t, startSwtpm(t))
	for range 50 {
		checkQuote(t, d, testSelection)
		if _, err := d.EK(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNoTPM(t *testing.T) {
	if _, err := Open(t.TempDir() + "/tpmrm0"); !errors.Is(err, ErrNoTPM) || !strings.Contains(err.Error(), "firmware") {
		t.Errorf("%v, want one that says what to do", err)
	}
}

// busy answers with a response code a few times before it answers with success.
type busy struct {
	code  tpm2.TPMRC
	times int
	sent  int
}

func (b *busy) Close() error { return nil }

func (b *busy) Send([]byte) ([]byte, error) {
	b.sent++
	code := tpm2.TPMRC(0)
	if b.sent <= b.times {
		code = b.code
	}
	return []byte{0x80, 0x01, 0, 0, 0, 10, byte(code >> 24), byte(code >> 16), byte(code >> 8), byte(code)}, nil
}

func TestBusy(t *testing.T) {
	for _, row := range []struct {
		code        tpm2.TPMRC
		times, sent int
		want        error
	}{
		{tpm2.TPMRCRetry, 3, 4, nil},
		{tpm2.TPMRCTesting, 3, 4, nil},
		{tpm2.TPMRCYielded, 3, 4, nil},
		{tpm2.TPMRCRetry, 1000, maxRetries + 1, tpm2.TPMRCRetry},
		{tpm2.TPMRCLockout, 1, 1, tpm2.TPMRCLockout},
	} {
		b := &busy{code: row.code, times: row.times}
		d := newDevice(b)
		var slept time.Duration
		d.sleep = func(p time.Duration) { slept += p }
		_, err := tpm2.Startup{StartupType: tpm2.TPMSUClear}.Execute(d.tpm)
		if b.sent != row.sent || !errors.Is(err, row.want) && row.want != nil || row.want == nil && err != nil {
			t.Errorf("%v %d times: sent %d times, %v", row.code, row.times, b.sent, err)
		}
		if row.sent > 1 && slept == 0 {
			t.Errorf("%v: no pause between tries", row.code)
		}
	}
	for code, want := range map[tpm2.TPMRC]error{tpm2.TPMRCLockout: ErrLockout, tpm2.TPMRCHash: ErrBankOff, tpm2.TPMRCRetry: ErrBusy, tpm2.TPMRCTesting: ErrBusy} {
		if err := advise("quote", code); !errors.Is(err, want) || !errors.Is(err, code) {
			t.Errorf("%v: %v, want %v", code, err, want)
		}
	}
	if err := advise("quote", tpm2.TPMRCLockout); !strings.Contains(err.Error(), "dictionarylockout") {
		t.Errorf("%v does not say what to do", err)
	}
}

func TestSoftware(t *testing.T) {
	clock := time.Unix(1700000000, 0)
	s, err := NewSoftware(rand.Reader, func() time.Time { clock = clock.Add(time.Second); return clock })
	if err != nil {
		t.Fatal(err)
	}
	first := checkQuote(t, s, testSelection)
	if err := s.Extend(10, map[ima.Bank][]byte{ima.SHA1: make([]byte, 20), ima.SHA256: make([]byte, 32)}); err != nil {
		t.Fatal(err)
	}
	s.Resume()
	kept := checkQuote(t, s, testSelection)
	if bytes.Equal(first.PCRDigest, kept.PCRDigest) || kept.RestartCount != 1 || kept.ResetCount != 1 || kept.Clock <= first.Clock {
		t.Errorf("after a resume: %+v", kept)
	}
	s.Restart()
	if q := checkQuote(t, s, testSelection); !bytes.Equal(q.PCRDigest, first.PCRDigest) || q.RestartCount != 2 {
		t.Errorf("after a restart: %+v", q)
	}
	s.Reset()
	if q := checkQuote(t, s, testSelection); !bytes.Equal(q.PCRDigest, first.PCRDigest) || q.RestartCount != 0 || q.ResetCount != 2 {
		t.Errorf("after a reset: %+v", q)
	}
}
