package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/dsse"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger/export"
)

const goodBundle, goodTrust = "../../ledger/testdata/vectors/bundles/good.tar", "../../ledger/testdata/vectors/trust/1"

// TestExportInToto: the envelope verifies with sigstore's verifier, and by the DSSE
// specification with openssl's key alone; its statement is in-toto's, and says of
// which bytes it speaks.
func TestExportInToto(t *testing.T) {
	dir := t.TempDir()
	for _, kind := range [][]string{{"EC", "-pkeyopt", "ec_paramgen_curve:P-256"}, {"RSA"}, {"ED25519"}} {
		private, public := filepath.Join(dir, kind[0]+".pem"), filepath.Join(dir, kind[0]+".pub")
		for _, args := range [][]string{append([]string{"genpkey", "-out", private, "-algorithm"}, kind...), {"pkey", "-in", private, "-pubout", "-out", public}} {
			if out, err := exec.Command("openssl", args...).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
		if err := os.Chmod(private, 0o600); err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := tool(t, "export", "--trust", goodTrust, "--format", "in-toto", "--sign", private, goodBundle)
		if code != cli.ExitOK || stderr != "" {
			t.Fatalf("%s: code %d: %s", kind[0], code, stderr)
		}
		b, err := os.ReadFile(public)
		if err != nil {
			t.Fatal(err)
		}
		key, err := cryptoutils.UnmarshalPEMToPublicKey(b)
		if err != nil {
			t.Fatal(err)
		}
		v, err := signature.LoadVerifier(key, crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		wrapped := dsse.WrapVerifier(v, dsse.WithExpectedPayloadType("application/vnd.in-toto+json"))
		if err := wrapped.VerifySignature(bytes.NewReader([]byte(stdout)), nil); err != nil {
			t.Errorf("%s: %v", kind[0], err)
		}
		if err := wrapped.VerifySignature(bytes.NewReader(bytes.Replace([]byte(stdout), []byte("payload\":\"eyJ"), []byte("payload\":\"fyJ"), 1)), nil); err == nil {
			t.Errorf("%s: an altered statement verifies", kind[0])
		}
		payload := checkEnvelope(t, stdout, b)
		if payload != nil {
			checkStatement(t, payload)
		}
	}
}

// checkEnvelope verifies an ECDSA envelope by hand: over
// "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body.
func checkEnvelope(t *testing.T, text string, public []byte) []byte {
	t.Helper()
	var envelope struct {
		PayloadType, Payload string
		Signatures           []struct{ Sig string }
	}
	if err := json.Unmarshal([]byte(text), &envelope); err != nil || len(envelope.Signatures) != 1 {
		t.Fatalf("%v: %s", err, text)
	}
	body, err := base64.StdEncoding.DecodeString(envelope.Payload)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(public)
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if ec, ok := key.(*ecdsa.PublicKey); ok {
		sig, err := base64.StdEncoding.DecodeString(envelope.Signatures[0].Sig)
		if err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256(fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(envelope.PayloadType), envelope.PayloadType, len(body), body))
		if !ecdsa.VerifyASN1(ec, digest[:], sig) {
			t.Error("the signature is not over DSSE's encoding")
		}
	}
	return body
}

func checkStatement(t *testing.T, payload []byte) {
	t.Helper()
	var s struct {
		export.Statement
		Predicate export.Verification `json:"predicate"`
	}
	decodeStrict(t, string(payload), &s)
	bundle, err := os.ReadFile(goodBundle)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%x", sha256.Sum256(bundle))
	if s.Type != "https://in-toto.io/Statement/v1" || len(s.Subject) != 4 || s.Subject[0].Name != "good.tar" || s.Subject[0].Digest["sha256"] != want {
		t.Errorf("%s", payload)
	}
	policy, err := os.ReadFile(filepath.Join(goodTrust, "policy"))
	if err != nil {
		t.Fatal(err)
	}
	p := s.Predicate
	if p.Verdict != "verified" || p.Trust["policy"] != fmt.Sprintf("%x", sha256.Sum256(policy)) || len(p.Trust) != 2 || len(p.Statements) != 1 || p.TreeSize != 4 || p.Time == 0 {
		t.Errorf("%+v", p)
	}
}

// TestExportEvmctl: ima-evm-utils replays an exported list, in the SHA-1 and in the
// SHA-256 form of it, to the values that the quote has.
func TestExportEvmctl(t *testing.T) {
	if _, err := exec.LookPath("evmctl"); err != nil {
		t.Fatal("evmctl is not installed: apt-get install ima-evm-utils")
	}
	const fleet = "../../ledger/testdata/vectors/bundles/fleet.tar"
	_, stdout, _ := tool(t, "verify", "--trust", goodTrust, "--json", fleet)
	var report struct {
		Segments []struct {
			Host       string
			ResetCount int
			End        map[string]string
		}
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatal(err)
	}
	end := map[string]string{}
	for _, s := range report.Segments {
		if s.Host == "stock" && s.ResetCount == 5 {
			end = s.End
		}
	}
	dir := t.TempDir()
	list := filepath.Join(dir, "list")
	if code, _, stderr := tool(t, "export", "--trust", goodTrust, "--format", "binary", "--host", "stock", "--boot", "5", "--out", list, fleet); code != cli.ExitOK {
		t.Fatal(stderr)
	}
	args := []string{"ima_measurement", "--ignore-violations"}
	for _, bank := range []string{"sha1", "sha256"} {
		value, err := hex.DecodeString(end[bank+":10"])
		if err != nil || len(value) == 0 {
			t.Fatalf("no %s:10 in %v", bank, end)
		}
		var text bytes.Buffer // of a kernel's pcrs file
		for pcr := range 24 {
			v := make([]byte, len(value))
			if pcr == 10 {
				v = value
			}
			fmt.Fprintf(&text, "PCR-%02d: % X\n", pcr, v)
		}
		file := filepath.Join(dir, bank)
		if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--pcrs", bank+","+file)
	}
	if out, err := exec.Command("evmctl", append(args, list)...).CombinedOutput(); err != nil || !bytes.Contains(bytes.ToLower(out), []byte("match")) {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := exec.Command("evmctl", append(args, goodBundle)...).CombinedOutput(); err == nil {
		t.Errorf("evmctl takes what is no list:\n%s", out)
	}
}
