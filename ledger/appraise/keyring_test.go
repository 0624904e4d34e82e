package appraise

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A signer is a key that openssl made, with a certificate.
type signer struct{ dir, name, private, certificate string }

// command runs a program that the test needs.
func command(t testing.TB, dir, stdin, name string, args ...string) string {
	t.Helper()
	c := exec.Command(name, args...)
	c.Dir, c.Stdin = dir, strings.NewReader(stdin)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func newSigner(t testing.TB, name string, kind ...string) signer {
	t.Helper()
	s := signer{dir: t.TempDir(), name: name, private: name + ".key", certificate: name + ".crt"}
	args := append([]string{"req", "-x509", "-nodes", "-days", "3", "-subj", "/CN=" + name, "-keyout", s.private, "-out", s.certificate, "-newkey"}, kind...)
	command(t, s.dir, "", "openssl", args...)
	return s
}

func (s signer) read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sign has evmctl sign a file, and verify what it signed.
func (s signer) sign(t testing.TB, content []byte, hash string) (sig []byte) {
	t.Helper()
	file := filepath.Join(s.dir, "file")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	command(t, s.dir, "", "evmctl", "ima_sign", "--sigfile", "--hashalgo", hash, "--key", s.private, file)
	command(t, s.dir, "", "openssl", "x509", "-in", s.certificate, "-outform", "DER", "-out", "der") // evmctl reads no PEM here
	command(t, s.dir, "", "evmctl", "ima_verify", "--sigfile", "--key", "der", file)
	return s.read(t, "file.sig")
}

func (s signer) ring(t testing.TB) *Keyring {
	t.Helper()
	k := &Keyring{}
	if err := k.Add(s.name, s.read(t, s.certificate)); err != nil {
		t.Fatal(err)
	}
	return k
}

// TestEvmctlSignatures: what evmctl signs, and itself verifies, passes by the
// certificate, and by the public key alone; nothing else does.
func TestEvmctlSignatures(t *testing.T) {
	for _, program := range []string{"evmctl", "openssl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is not installed: apt-get install ima-evm-utils openssl", program)
		}
	}
	content := []byte("what runs")
	digests := map[string][]byte{}
	for _, hash := range []string{"sha256", "sha384", "sha512", "sha1"} {
		h := hashes[hash].New()
		h.Write(content)
		digests[hash] = h.Sum(nil)
	}
	stranger := newSigner(t, "stranger", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
	for _, kind := range [][]string{{"rsa:2048"}, {"rsa:3072"}, {"ec", "-pkeyopt", "ec_paramgen_curve:P-256"}, {"ec", "-pkeyopt", "ec_paramgen_curve:P-384"}} {
		what := strings.Join(kind, " ")
		s := newSigner(t, "signer", kind...)
		ring := s.ring(t)
		public := &Keyring{}
		if err := public.Add("signer", []byte(command(t, s.dir, "", "openssl", "x509", "-in", s.certificate, "-noout", "-pubkey"))); err != nil {
			t.Fatal(err)
		}
		for hash, digest := range digests {
			sig := s.sign(t, content, hash)
			m := measured{path: "/a", algorithm: hash, digest: digest, sig: sig}
			j := judge(t, ring, m)
			wantJudgement(t, what+" "+hash, j, Passed, RuleSignature)
			if j.Weak != (hash == "sha1") || !strings.Contains(j.Detail, "CN=signer") {
				t.Errorf("%s %s: %+v", what, hash, j)
			}
			wantJudgement(t, what+" "+hash+" by the public key", judge(t, public, m), Passed, RuleSignature)
			v2 := m
			v2.template, v2.algorithm = "ima-sigv2", "ima:"+hash
			wantJudgement(t, what+" "+hash+" in ima-sigv2", judge(t, ring, v2), Passed, RuleSignature)

			for name, change := range map[string]func(*measured){
				"the file altered":      func(m *measured) { m.digest[3] ^= 1 },
				"the signature altered": func(m *measured) { m.sig[len(m.sig)-1] ^= 1 },
				"another hash stated": func(m *measured) {
					m.sig[2] ^= 1
				},
				"of a digest of another kind": func(m *measured) { m.template, m.algorithm = "ima-sigv2", "verity:"+m.algorithm },
				"said to be of version 3":     func(m *measured) { m.sig[1] = 3 },
				"said to be of a tree":        func(m *measured) { m.sig[0] = 6 },
				"said to be EVM's":            func(m *measured) { m.sig[0] = 5 },
				"cut short":                   func(m *measured) { m.sig = m.sig[:len(m.sig)-1] },
			} {
				bad := m
				bad.digest, bad.sig = bytes.Clone(m.digest), bytes.Clone(m.sig)
				change(&bad)
				wantJudgement(t, what+" "+hash+", "+name, judge(t, ring, bad), Failed, RuleBadSigned)
			}
			wantJudgement(t, what+" "+hash+" with another's key", judge(t, stranger.ring(t), m), Failed, RuleNoKey)
		}
	}
	wantJudgement(t, "unsigned", judge(t, stranger.ring(t), measured{path: "/a"}), Failed, RuleUnsigned)
}

// TestVeritySignatures: signatures of version 3 pass on digests of fs-verity and on
// nothing else. evmctl 1.4 makes none, so openssl signs what the kernel hashes: a
// struct ima_file_id, which is the kind, the hash's number, and the digest.
func TestVeritySignatures(t *testing.T) {
	digest := sha256.Sum256([]byte("a tree's descriptor"))
	for _, kind := range [][]string{{"rsa:2048"}, {"ec", "-pkeyopt", "ec_paramgen_curve:P-256"}} {
		s := newSigner(t, "signer", kind...)
		id := sha256.Sum256(append([]byte{6, 4}, digest[:]...))
		raw := command(t, s.dir, string(id[:]), "openssl", "pkeyutl", "-sign", "-inkey", s.private, "-pkeyopt", "digest:sha256")
		var keyID uint32
		for keyID = range s.ring(t).keys {
			break
		}
		sig := binary.BigEndian.AppendUint32([]byte{6, 3, 4}, keyID)
		sig = append(binary.BigEndian.AppendUint16(sig, uint16(len(raw))), raw...)
		m := measured{template: "ima-sigv2", algorithm: "verity:sha256", path: "/a", digest: digest[:], sig: sig}
		wantJudgement(t, kind[0], judge(t, s.ring(t), m), Passed, RuleSignature)
		m.algorithm = "ima:sha256"
		wantJudgement(t, kind[0]+" on a file's digest", judge(t, s.ring(t), m), Failed, RuleBadSigned)
		m.algorithm, m.sig = "verity:sha256", bytes.Clone(sig)
		m.sig[1] = 2
		wantJudgement(t, kind[0]+" as version 2", judge(t, s.ring(t), m), Failed, RuleBadSigned)
	}
}

// TestSharedKeyID: two keys of one ID are both tried.
func TestSharedKeyID(t *testing.T) {
	a, b := newSigner(t, "a", "rsa:2048"), newSigner(t, "b", "rsa:2048")
	content := []byte("x")
	sig := b.sign(t, content, "sha256")
	digest := sha256.Sum256(content)
	ring, id := a.ring(t), [4]byte(sig[3:7])
	for _, keys := range ring.keys {
		ring.add(uint32(id[0])<<24|uint32(id[1])<<16|uint32(id[2])<<8|uint32(id[3]), keys[0].public, "a")
		break
	}
	wantJudgement(t, "of the other key", judge(t, ring, measured{digest: digest[:], sig: sig}), Failed, RuleBadSigned)
	if err := ring.Add("b", b.read(t, b.certificate)); err != nil {
		t.Fatal(err)
	}
	wantJudgement(t, "of both", judge(t, ring, measured{digest: digest[:], sig: sig}), Passed, RuleSignature)
}

// TestKeyFiles: DER is read as PEM is, several PEM blocks are, and what signs no files is
// refused by name.
func TestKeyFiles(t *testing.T) {
	s := newSigner(t, "signer", "rsa:2048")
	der := command(t, s.dir, "", "openssl", "x509", "-in", s.certificate, "-outform", "DER")
	k := &Keyring{}
	if err := k.Add("", []byte(der)); err != nil || len(k.keys) == 0 {
		t.Errorf("DER: %v", err)
	}
	two := append(s.read(t, s.certificate), newSigner(t, "other", "rsa:2048").read(t, "other.crt")...)
	if k = (&Keyring{}); k.Add("", two) != nil || len(k.keys) < 2 {
		t.Errorf("two certificates: %d key IDs", len(k.keys))
	}
	ed := newSigner(t, "ed", "ed25519")
	for want, b := range map[string][]byte{
		"files are signed with RSA or ECDSA":     ed.read(t, ed.certificate),
		"neither a certificate nor a public key": []byte("nonsense"),
		"PEM block 1: neither":                   s.read(t, s.private),
	} {
		if err := (&Keyring{}).Add("", b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
