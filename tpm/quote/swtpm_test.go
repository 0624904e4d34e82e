package quote

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
)

// A testTPM is an swtpm process of its own, fresh from the factory.
type testTPM struct {
	transport.TPM
	control string
}

func newTPM(t *testing.T) *testTPM {
	t.Helper()
	// A socket's path has at most 107 bytes, which t.TempDir can exceed.
	dir, err := os.MkdirTemp("", "swtpm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	server, control := filepath.Join(dir, "s"), filepath.Join(dir, "c")
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+dir,
		"--server", "type=unixio,path="+server, "--ctrl", "type=unixio,path="+control, "--flags", "not-need-init,startup-clear")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: install swtpm", err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		tpm, err := linuxudstpm.Open(server)
		if err == nil {
			// The socket is there before the TPM answers.
			if _, err = (tpm2.ReadClock{}).Execute(tpm); err == nil {
				return &testTPM{tpm, control}
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("swtpm does not answer: %v", err)
		}
	}
}

// powerCycle cuts the TPM's power, after a TPM2_Shutdown if one is given, and
// starts it again.
func (tpm *testTPM) powerCycle(t *testing.T, shutdown *tpm2.TPMSU, startup tpm2.TPMSU) {
	t.Helper()
	if shutdown != nil {
		if _, err := (tpm2.Shutdown{ShutdownType: *shutdown}).Execute(tpm); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("swtpm_ioctl", "--unix", tpm.control, "-i").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, err := (tpm2.Startup{StartupType: startup}).Execute(tpm)
	if err != nil && !errors.Is(err, tpm2.TPMRCInitialize) {
		t.Fatal(err)
	}
}

// A loaded is a primary key in the TPM.
type loaded struct {
	tpm    *testTPM
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName
	area   []byte // TPMT_PUBLIC
}

func (tpm *testTPM) create(t *testing.T, under Hierarchy, template []byte) *loaded {
	t.Helper()
	r, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(under), Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.BytesAs2B[tpm2.TPMTPublic](template),
	}.Execute(tpm)
	if err != nil {
		t.Fatal(err)
	}
	k := &loaded{tpm, r.ObjectHandle, r.Name, r.OutPublic.Bytes()}
	t.Cleanup(k.flush)
	return k
}

// flush makes room in the TPM, which holds three objects.
func (k *loaded) flush() {
	if k.handle != 0 {
		_, _ = tpm2.FlushContext{FlushHandle: k.handle}.Execute(k.tpm) // gone already after a power cycle
		k.handle = 0
	}
}

func (k *loaded) quote(t *testing.T, nonce []byte, selection ...tpm2.TPMSPCRSelection) (attest, signature []byte) {
	t.Helper()
	r, err := tpm2.Quote{
		SignHandle:     tpm2.AuthHandle{Handle: k.handle, Name: k.name, Auth: tpm2.PasswordAuth(nil)},
		QualifyingData: tpm2.TPM2BData{Buffer: nonce},
		InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
		PCRSelect:      tpm2.TPMLPCRSelection{PCRSelections: selection},
	}.Execute(k.tpm)
	if err != nil {
		t.Fatal(err)
	}
	return r.Quoted.Bytes(), tpm2.Marshal(r.Signature)
}

var (
	sha1PCR10   = tpm2.TPMSPCRSelection{Hash: tpm2.TPMAlgSHA1, PCRSelect: []byte{0, 4, 0}}
	sha256PCR10 = tpm2.TPMSPCRSelection{Hash: tpm2.TPMAlgSHA256, PCRSelect: []byte{0, 4, 0}}
	sha256First = tpm2.TPMSPCRSelection{Hash: tpm2.TPMAlgSHA256, PCRSelect: []byte{0xff, 7, 0}}
)

func eccTemplate(nameAlg, hash, curve int) []byte {
	return be(nil, algECC, nameAlg, akAttributes, []byte{}, algNull, algECDSA, hash, curve, algNull, []byte{}, []byte{})
}

func rsaTemplate(scheme int) []byte {
	return be(nil, algRSA, algSHA256, akAttributes, []byte{}, algNull, scheme, algSHA256, 2048, uint32(0), []byte{})
}

// TestSchemes: a TPM's quotes in each scheme verify; under the owner hierarchy
// they say so, and are refused for it.
func TestSchemes(t *testing.T) {
	tpm := newTPM(t)
	nonce := sha256.Sum256([]byte("head"))
	var last *AK
	for _, row := range []struct {
		name     string
		template []byte
	}{
		{"ECDSA P-256", eccTemplate(algSHA256, algSHA256, curveP256)},
		{"ECDSA P-384", eccTemplate(algSHA384, algSHA384, curveP384)},
		{"ECDSA P-384 SHA-512", eccTemplate(algSHA512, algSHA512, curveP384)},
		{"RSASSA", rsaTemplate(algRSASSA)},
		{"RSAPSS", rsaTemplate(algRSAPSS)},
	} {
		for _, h := range []Hierarchy{Endorsement, Owner, Platform, Null} {
			if h != Endorsement && h != Owner && !strings.HasPrefix(row.name, "ECDSA P-256") {
				continue // an RSA key takes 0.2 s
			}
			t.Run(row.name+" "+h.String(), func(t *testing.T) {
				key := tpm.create(t, h, row.template)
				ak, err := ParseAK(key.area)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(ak.Name, key.name.Buffer) {
					t.Errorf("name %x, the TPM says %x", ak.Name, key.name.Buffer)
				}
				for _, selection := range [][]tpm2.TPMSPCRSelection{{sha256PCR10}, {sha1PCR10, sha256First}, {sha256First, sha1PCR10}} {
					attest, signature := key.quote(t, nonce[:], selection...)
					q, err := ak.Verify(attest, signature)
					if err != nil {
						t.Fatal(err)
					}
					if err := q.CheckNonce(nonce[:]); err != nil {
						t.Error(err)
					}
					if len(q.Selection) != len(selection) || q.Selection[0].Bank != uint16(selection[0].Hash) {
						t.Errorf("quotes %v, was asked for %v", q.Selection, selection)
					}
					if !bytes.Equal(q.QualifiedSigner, ak.QualifiedName(h)) {
						t.Errorf("qualifiedSigner is %x, want %x", q.QualifiedSigner, ak.QualifiedName(h))
					}
					checkSigner(t, q, ak, h)
					if last != nil {
						if _, err := last.Verify(attest, signature); err == nil {
							t.Error("another key's quote verifies")
						}
					}
					signature[len(signature)-1] ^= 1
					if _, err := ak.Verify(attest, signature); !errors.Is(err, ErrSignature) {
						t.Errorf("signature altered: %v", err)
					}
				}
				last = ak
				key.flush()
			})
		}
	}
}

func checkSigner(t *testing.T, q *Quote, ak *AK, h Hierarchy) {
	t.Helper()
	err := q.CheckSigner(ak)
	switch {
	case h == Endorsement && err != nil:
		t.Error(err)
	case h != Endorsement && (!errors.Is(err, ErrSigner) || !strings.Contains(err.Error(), h.String())):
		t.Errorf("AK in the %v hierarchy: %v", h, err)
	case (h == Owner || h == Null) && !strings.Contains(err.Error(), "obfuscates its counters"):
		t.Errorf("AK in the %v hierarchy: %v", h, err)
	}
}

// TestSchemeConfusion: RSASSA and RSAPSS, and their hashes, are not taken for
// one another.
func TestSchemeConfusion(t *testing.T) {
	tpm := newTPM(t)
	key := tpm.create(t, Endorsement, rsaTemplate(algRSASSA))
	attest, signature := key.quote(t, []byte("nonce"), sha256PCR10)
	ak := mustAK(t, key.area)
	for _, header := range [][]byte{be(nil, algRSAPSS, algSHA256), be(nil, algRSASSA, algSHA384), be(nil, algRSASSA, 4)} {
		if _, err := ak.Verify(attest, append(header, signature[4:]...)); !errors.Is(err, ErrScheme) {
			t.Errorf("called %x: %v", header, err)
		}
	}
	s, err := ParseSignature(signature)
	if err != nil {
		t.Fatal(err)
	}
	for name, sig := range map[string][]byte{"shorter": s.RSA[1:], "longer": append([]byte{0}, s.RSA...), "empty": {}} {
		if _, err := ak.Verify(attest, be(nil, s.Scheme, s.Hash, sig)); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The same key in the other scheme is another key, though its numbers agree.
	area := bytes.Clone(key.area)
	i := bytes.Index(area, be(nil, algRSASSA, algSHA256))
	area[i+1] = algRSAPSS
	other := mustAK(t, area)
	if _, err := other.Verify(attest, be(nil, algRSAPSS, s.Hash, s.RSA)); !errors.Is(err, ErrSignature) {
		t.Errorf("an RSASSA signature as RSAPSS: %v", err)
	}
}

// TestEmptySelection: a TPM does quote nothing; we do not take it.
func TestEmptySelection(t *testing.T) {
	key := newTPM(t).create(t, Endorsement, eccTemplate(algSHA256, algSHA256, curveP256))
	attest, signature := key.quote(t, nil)
	if _, err := mustAK(t, key.area).Verify(attest, signature); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "selects 0 banks") {
		t.Error(err)
	}
}

// TestLongestNonce: MaxNonce is the TPM's own limit.
func TestLongestNonce(t *testing.T) {
	key := newTPM(t).create(t, Endorsement, eccTemplate(algSHA256, algSHA256, curveP256))
	attest, signature := key.quote(t, make([]byte, MaxNonce), sha256PCR10)
	if _, err := mustAK(t, key.area).Verify(attest, signature); err != nil {
		t.Error(err)
	}
	_, err := tpm2.Quote{
		SignHandle:     tpm2.AuthHandle{Handle: key.handle, Name: key.name, Auth: tpm2.PasswordAuth(nil)},
		QualifyingData: tpm2.TPM2BData{Buffer: make([]byte, MaxNonce+1)},
		InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
		PCRSelect:      tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{sha256PCR10}},
	}.Execute(key.tpm)
	if !errors.Is(err, tpm2.TPMRCSize) {
		t.Errorf("%d bytes: %v, want TPM_RC_SIZE", MaxNonce+1, err)
	}
}
