package ima

import (
	"bytes"
	"encoding/hex"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// As the kernel's scripts/sign-file makes them: openssl cms -sign -binary -noattr
// -nocerts -nosmimecap -md sha256 -outform DER, without and with -keyid, by OpenSSL
// 3.0; a P-256 key, whose certificate has the serial number 2a00…80c0ffee and the
// subject identifier fea5…613129.
const (
	modsigSerial = "3081d406092a864886f70d010702a081c63081c3020101310d300b0609608648016503040201300b06092a864886f70d0107013181a130819e02010130383020311e301c0603" +
		"5504030c154275696c642074696d65206b65726e656c206b657902142a00000000000000000000000000000080c0ffee300b0609608648016503040201300a06082a8648ce3d" +
		"0403020446304402203ff74c6d89fda5babeec8ec489c7ae533320a43ed21347fd7becb6480a99da3f02206272f7ea4c4896ffb82213ddb09c30ceed1881a69336120d3ea1bf" +
		"72aacd37fe"
	modsigSubject = "3081b006092a864886f70d010702a081a230819f020103310d300b0609608648016503040201300b06092a864886f70d010701317e307c0201038014fea56d2608b35a7ff622" +
		"960872973f5815613129300b0609608648016503040201300a06082a8648ce3d04030204483046022100fe379484c256fb339501ba96e73adbad245ba6fab5f4d8cbbcf218fe" +
		"b2c059f6022100cbf69a737d8b450a9f8e8327244008bb8cc0e126def062e871249a8c3754cc0d"
)

func modsigs(t testing.TB) (list [][]byte) {
	t.Helper()
	for _, text := range []string{modsigSerial, modsigSubject} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, b)
	}
	return list
}

func TestParseModsig(t *testing.T) {
	made := modsigs(t)
	for i, want := range []uint32{0x80c0ffee, 0x15613129} {
		if ids, err := ParseModsig(made[i]); err != nil || len(ids) != 1 || ids[0] != want {
			t.Errorf("%d: %08x, %v; want %08x", i, ids, err, want)
		}
		for n := range made[i] {
			if ids, err := ParseModsig(made[i][:n]); err == nil {
				t.Errorf("%d: its first %d bytes name %08x", i, n, ids)
			}
		}
	}
	serial := func(content ...byte) []byte {
		return der(0x30, der(0x06, []byte("\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02")), der(0xa0, der(0x30, der(0x02, []byte{1}), der(0x31), der(0x30), content)))
	}
	signer := func(name ...byte) []byte { return der(0x30, der(0x02, []byte{1}), name) }
	by := func(n byte) []byte { return signer(der(0x30, der(0x30), der(0x02, []byte{n}))...) }
	if ids, err := ParseModsig(serial(der(0x31, by(1), by(2))...)); err != nil || len(ids) != 2 || ids[0] != 1 || ids[1] != 2 {
		t.Errorf("two signers with short serial numbers: %08x, %v", ids, err)
	}
	for what, bad := range map[string][]byte{
		"nothing":                      nil,
		"bytes after it":               append(bytes.Clone(made[0]), 0),
		"another type":                 bytes.Replace(made[0], []byte("\x01\x07\x02"), []byte("\x01\x07\x03"), 1),
		"no set of signers":            serial(der(0x30, by(1))...),
		"no signer":                    serial(der(0x31)...),
		"too many signers":             serial(der(0x31, bytes.Repeat(by(1), maxSigners+1))...),
		"a signer without name":        serial(der(0x31, der(0x30, der(0x02, []byte{1})))...),
		"a name of another kind":       serial(der(0x31, signer(der(0x04, []byte{1})...))...),
		"a serial number that is text": serial(der(0x31, signer(der(0x30, der(0x30), der(0x0c, []byte{1}))...))...),
	} {
		if ids, err := ParseModsig(bad); err == nil {
			t.Errorf("%s: %08x", what, ids)
		}
	}
	if ids, err := ParseModsig(serial(der(0x31, bytes.Repeat(by(1), maxSigners))...)); err != nil || len(ids) != maxSigners {
		t.Errorf("%d signers: %v", maxSigners, err)
	}
}

// der is an element of DER, shorter than 256 bytes.
func der(tag byte, parts ...[]byte) []byte {
	content := bytes.Join(parts, nil)
	if len(content) < 128 {
		return append([]byte{tag, byte(len(content))}, content...)
	}
	return append([]byte{tag, 0x81, byte(len(content))}, content...)
}

// TestFactsModsig: a module that OpenSSL signs now is found by the serial number that
// modinfo shows, and by the subject identifier where the signature has that.
func TestFactsModsig(t *testing.T) {
	dir := t.TempDir()
	openssl := func(args ...string) []byte {
		t.Helper()
		cmd := exec.Command("openssl", args...)
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("openssl %s: %v", strings.Join(args, " "), err)
		}
		return out
	}
	openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=modules", "-keyout", "key", "-out", "cert")
	subject := strings.TrimSpace(string(openssl("x509", "-in", "cert", "-noout", "-ext", "subjectKeyIdentifier")))
	serial := strings.TrimSpace(string(openssl("x509", "-in", "cert", "-noout", "-serial")))
	for named, flags := range map[string][]string{serial: nil, subject: {"-keyid"}} {
		sig := filepath.Join(dir, "sig")
		sign := append([]string{"cms", "-sign", "-binary", "-noattr", "-nocerts", "-nosmimecap", "-md", "sha256", "-outform", "DER", "-signer", "cert", "-inkey", "key", "-in", "cert", "-out", sig}, flags...)
		openssl(sign...)
		hexed := strings.ReplaceAll(named, ":", "")
		want, err := hex.DecodeString(hexed[len(hexed)-8:])
		if err != nil {
			t.Fatal(err)
		}
		digest := "sha256:\x00" + strings.Repeat("\xab", 32)
		f := factsOf(t, listed(10, "ima-modsig", digest, "/lib/m.ko\x00", "", digest, string(openssl("cms", "-cmsout", "-inform", "DER", "-outform", "DER", "-in", sig))))
		if id := lastFour(want); f.Opaque || len(f.KeyIDs) != 1 || !(&Filter{KeyID: &id}).Match(&f) {
			t.Errorf("%s: %+v", named, f)
		}
	}
}
