package main

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger/appraise"
)

// imaSig makes a record of template ima-sig.
func imaSig(digest []byte, path string, sig []byte) []byte {
	field := func(b []byte) []byte { return append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...) }
	data := bytes.Join([][]byte{field(append([]byte("sha256:\x00"), digest...)), field([]byte(path + "\x00")), field(sig)}, nil)
	sum := sha1.Sum(data)
	return bytes.Join([][]byte{{10, 0, 0, 0}, sum[:], field([]byte("ima-sig")), field(data)}, nil)
}

// TestAppraiseReport: with files that evmctl has signed, and names that would break a
// terminal or a line, the JSON has the documented keys and no others, each record has
// the rule that decided, and no name gets out as it is.
func TestAppraiseReport(t *testing.T) {
	dir := t.TempDir()
	run := func(name string, args ...string) {
		t.Helper()
		c := exec.Command(name, args...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	run("openssl", "req", "-x509", "-nodes", "-days", "3", "-subj", "/CN=vendor", "-newkey", "rsa:2048", "-keyout", "key", "-out", "certificate.pem")
	content := []byte("what runs")
	if err := os.WriteFile(filepath.Join(dir, "file"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	run("evmctl", "ima_sign", "--sigfile", "--hashalgo", "sha256", "--key", "key", "file")
	sig, err := os.ReadFile(filepath.Join(dir, "file.sig"))
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(content)
	names := []string{"/bin/a", "/\x1b]0;owned\x07", "/a\nPASSED: all", "/\xff", "/\u202egnp.exe", strings.Repeat("/x", 2048)}
	var list []byte
	for _, name := range names {
		list = append(list, imaSig(digest[:], name, sig)...)
		list = append(list, imaSig(digest[:], name, nil)...)
	}
	file := writeList(t, "list", list)
	for _, flags := range [][]string{{"--json", "--records"}, {"--records"}, {}} {
		code, stdout, stderr := tool(t, append(append([]string{"appraise", "--key", filepath.Join(dir, "certificate.pem")}, flags...), file)...)
		if code != cli.ExitContradicted || stderr != "" {
			t.Fatalf("%v: code %d: %s", flags, code, stderr)
		}
		if strings.ContainsAny(stdout, "\x1b\x07\u202e") || strings.Contains(stdout, "\nPASSED") {
			t.Errorf("%v: a name got out:\n%q", flags, stdout)
		}
		if len(flags) != 2 {
			continue
		}
		var r appraisalReport
		decodeStrict(t, stdout, &r)
		if r.Records != 12 || r.Passed != 6 || r.Failed != 6 || len(r.Items) != 12 || r.Evidence.Verdict != "none" {
			t.Errorf("%+v", r)
		}
		for i, item := range r.Items {
			want := appraise.RuleSignature
			if i%2 == 1 {
				want = appraise.RuleUnsigned
			}
			if item.Rule != want || item.Index != uint64(i) {
				t.Errorf("record %d: %+v", i, item)
			}
		}
		text := fmt.Sprintf("imaledger/appraisal-policy/v1\nviolations fail\nkeys %s\n", r.Policy.Files[0].Digest)
		if r.Policy.Text != text || r.Policy.Digest != fmt.Sprintf("%x", sha256.Sum256([]byte(text))) {
			t.Errorf("policy %+v", r.Policy)
		}
	}
}
