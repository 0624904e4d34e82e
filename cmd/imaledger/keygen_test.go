package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/torchwood"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/witness"
)

// keygen runs the command as the shell does.
func keygen(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, talk bytes.Buffer
	run := func(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) error {
		command := newKeygenCommand()
		command.SilenceErrors, command.SilenceUsage = true, true
		command.SetArgs(args)
		command.SetOut(stdout)
		command.SetErr(stderr)
		return command.ExecuteContext(ctx)
	}
	code = cli.Run(t.Context(), "imaledger", run, args, nil, &out, &talk)
	return code, out.String(), talk.String()
}

// makeKey makes a key and gives the file's content and the verifier key.
func makeKey(t *testing.T, kind, name, alg string) (skey, vkey string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	code, stdout, stderr := keygen(t, "--kind", kind, "--name", name, "--alg", alg, "--out", file)
	if code != cli.ExitOK || stderr != "" {
		t.Fatalf("code %d: %s", code, stderr)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	vkey, found := strings.CutSuffix(stdout, "\n")
	if !found || strings.Contains(vkey, "\n") || strings.Contains(stdout, "PRIVATE") {
		t.Errorf("stdout is not the vkey alone: %q", stdout)
	}
	return strings.TrimSuffix(string(text), "\n"), vkey
}

// keyType gives the type byte of an encoded key.
func keyType(t *testing.T, key string) byte {
	t.Helper()
	rest := strings.TrimPrefix(key, "PRIVATE+KEY+")
	blob, err := base64.StdEncoding.DecodeString(strings.SplitN(rest, "+", 3)[2])
	if err != nil {
		t.Fatal(err)
	}
	return blob[0]
}

var checkpointText = "log.example/ima\n1\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n"

// signAndOpen signs with one tool's signer and opens with each verifier.
func signAndOpen(t *testing.T, text string, signer note.Signer, verifiers ...note.Verifier) {
	t.Helper()
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range verifiers {
		if _, err := note.Open(signed, note.VerifierList(v)); err != nil {
			t.Errorf("verifier %d: %v", i, err)
		}
	}
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// Ed25519 keys of all but witnesses are note keys: x/mod, formats and torchwood read them.
func TestKeygenEd25519(t *testing.T) {
	for _, kind := range []string{kindLog, kindRegistrar, kindOperator} {
		skey, vkey := makeKey(t, kind, kind+".example/ima", algEd25519)
		if keyType(t, skey) != 0x01 || keyType(t, vkey) != 0x01 {
			t.Errorf("%s: types 0x%02x, 0x%02x", kind, keyType(t, skey), keyType(t, vkey))
		}
		ours := must(note.NewVerifier(vkey))(t)
		theirs := must(fnote.NewVerifier(vkey))(t)
		torch := must(torchwood.NewVerifierFromSigner(skey))(t)
		signAndOpen(t, "any text\n", must(note.NewSigner(skey))(t), ours, theirs, torch)
		signer, _, err := fnote.NewEd25519SignerVerifier(skey)
		signAndOpen(t, "any text\n", must(signer, err)(t), ours, theirs, torch)
	}
}

// A witness's Ed25519 key is a cosignature key: imaledger-witness, formats and torchwood
// read it, and x/mod refuses it rather than sign without a time.
func TestKeygenWitness(t *testing.T) {
	skey, vkey := makeKey(t, kindWitness, "witness.example/w1", algEd25519)
	if keyType(t, skey) != 0x04 || keyType(t, vkey) != 0x04 {
		t.Errorf("types 0x%02x, 0x%02x", keyType(t, skey), keyType(t, vkey))
	}
	if key := must(witness.ParseKey(skey))(t); key.VKey() != vkey {
		t.Errorf("imaledger-witness reads %s, printed %s", key.VKey(), vkey)
	}
	theirs := must(fnote.NewVerifierForCosignatureV1(vkey))(t)
	torch := must(torchwood.NewCosignatureVerifier(vkey))(t)
	signAndOpen(t, checkpointText, must(fnote.NewSignerForCosignatureV1(skey))(t), theirs, torch)
	blob, err := base64.StdEncoding.DecodeString(strings.SplitN(skey, "+", 5)[4])
	if err != nil {
		t.Fatal(err)
	}
	signer := must(torchwood.NewCosignatureSigner("witness.example/w1", ed25519.NewKeyFromSeed(blob[1:])))(t)
	signAndOpen(t, checkpointText, signer, theirs, torch)
	if _, err := note.NewSigner(skey); err == nil {
		t.Error("x/mod takes a cosignature key for a note key")
	}
}

func TestKeygenMLDSA(t *testing.T) {
	for _, kind := range []string{kindLog, kindWitness} {
		skey, vkey := makeKey(t, kind, "log.example/ima", algMLDSA44)
		if keyType(t, skey) != 0x06 || keyType(t, vkey) != 0x06 {
			t.Errorf("%s: types 0x%02x, 0x%02x", kind, keyType(t, skey), keyType(t, vkey))
		}
		verifiers := []note.Verifier{must(fnote.NewMLDSAVerifier(vkey))(t), must(fnote.NewVerifierForCosignatureV1(vkey))(t)}
		signAndOpen(t, checkpointText, must(fnote.NewMLDSASigner(skey))(t), verifiers...)
		signAndOpen(t, checkpointText, must(fnote.NewSignerForCosignatureV1(skey))(t), verifiers...)
	}
}

func TestKeygenNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	file, link, nowhere := filepath.Join(dir, "key"), filepath.Join(dir, "link"), filepath.Join(dir, "nowhere")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(nowhere, link); err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{file, link} {
		code, stdout, stderr := keygen(t, "--kind", "log", "--name", "log.example", "--out", out)
		if code != cli.ExitUsage || stdout != "" || !strings.Contains(stderr, out+" exists") || !strings.Contains(stderr, "\nhint: ") {
			t.Errorf("%s: code %d, stdout %q, stderr %q", out, code, stdout, stderr)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "precious" {
		t.Errorf("file is %q, %v", text, err)
	}
	if _, err := os.Lstat(nowhere); err == nil {
		t.Error("wrote through a symbolic link")
	}
}

func TestKeygenUsage(t *testing.T) {
	for _, test := range []struct {
		name, args, stderr string
	}{
		{"no kind", "--name a", "no --kind"},
		{"kind", "--kind auditor --name a", `--kind "auditor"`},
		{"no name", "--kind log", `--name ""`},
		{"name with a plus", "--kind log --name a+b", `--name "a+b"`},
		{"name with a space", "--kind log --name a\u00a0b", "--name"},
		{"name with a control character", "--kind log --name a\x01b", "--name"},
		{"name that is not UTF-8", "--kind log --name a\xff", "--name"},
		{"algorithm", "--kind log --name a --alg rsa", `--alg "rsa"`},
		{"a registrar's ML-DSA", "--kind registrar --name a --alg ml-dsa-44", "signs checkpoints only"},
		{"an operator's ML-DSA", "--kind operator --name a --alg ml-dsa-44", "signs checkpoints only"},
		{"no out", "--kind log --name a", "no --out"},
		{"folder missing", "--kind log --name a --out /nonexistent/key", "no such file"},
		{"argument", "--kind log --name a more", "unknown command"},
		{"flag", "--kid log", "unknown flag"},
	} {
		t.Run(test.name, func(t *testing.T) {
			// Split at ASCII spaces only, as a name may hold another.
			code, stdout, stderr := keygen(t, strings.Split(test.args, " ")...)
			if code != cli.ExitUsage || stdout != "" || !strings.Contains(stderr, test.stderr) {
				t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
			}
		})
	}
}
