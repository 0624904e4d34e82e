package server

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/ledger"
)

// A ledger whose files were altered, or that was restored from an older copy,
// does not start.
func TestAlteredLogDoesNotStart(t *testing.T) {
	for name, test := range map[string]struct {
		alter     func(t *testing.T, dir string)
		integrity bool
	}{
		"entry flipped": {func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, "tile/entries/000.p/3"), func(b []byte) []byte { return bytes.Replace(b, []byte("first 0"), []byte("first 1"), 1) })
		}, false},
		"signature of an entry flipped": {func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, "tile/entries/000.p/3"), func(b []byte) []byte { b[len(b)-100] ^= 1; return b })
		}, false},
		"tile flipped": {func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, "tile/0/000.p/3"), func(b []byte) []byte { b[70] ^= 1; return b })
		}, true},
		"checkpoint of another tree": {func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, "checkpoint"), func(b []byte) []byte {
				lines := bytes.SplitN(b, []byte("\n"), 4)
				lines[2] = []byte("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
				return bytes.Join(lines, []byte("\n"))
			})
		}, true},
		"older tree": {func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, "checkpoint"), func(b []byte) []byte { return bytes.Replace(b, []byte("\n3\n"), []byte("\n4\n"), 1) })
		}, true},
		"entries gone": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "tile/entries/000.p/3")); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := startLedger(t, ledger.GradeSoftware)
			h := l.enrolHost(t, "h")
			l.submit(t, h, "/bin/a")
			l.submit(t, h, "/bin/b")
			l.kill()
			test.alter(t, filepath.Join(l.config.Dir, "log"))
			_, err := New(t.Context(), l.config)
			t.Log(err)
			var broken *integrityError
			if err == nil || test.integrity != errors.As(err, &broken) {
				t.Fatalf("starts: %v; an integrity error: %v, want %v", err == nil, errors.As(err, &broken), test.integrity)
			}
		})
	}
}

func edit(t *testing.T, name string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	changed := change(bytes.Clone(b))
	if bytes.Equal(changed, b) {
		t.Fatal("nothing was changed")
	}
	if err := os.WriteFile(name, changed, 0o644); err != nil {
		t.Fatal(err)
	}
}

// A trust folder that lost a registrar's key contradicts what stands in the log.
func TestTrustMustKeepOldKeys(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	l.enrolHost(t, "h")
	l.kill()
	_, another := signer(t, "another.example")
	rules, err := ledger.ParseRules([]byte(ledger.TrustRulesFormat + "\nregistrar " + another + "\nregistrars 1\ngrade software because it is a test\n"))
	if err != nil {
		t.Fatal(err)
	}
	trust := *l.config.Trust
	trust.Rules = rules
	l.config.Trust, l.config.Registrars = &trust, nil
	if _, err := New(t.Context(), l.config); err == nil || !strings.Contains(err.Error(), string(ledger.EnrolmentUnsigned)) {
		t.Fatalf("%v", err)
	}
}

// More entries than one bundle holds, read back after a restart.
func TestRebuildManyBundles(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	anchor := l.anchor(t)
	l.upload(t, anchor.Raw)
	const n = 300
	for i := range n {
		leaf, payload := h.segment(t, testOrigin, anchor, fmt.Sprint("/bin/", i))
		l.upload(t, payload)
		if _, err := l.SubmitLeaf(t.Context(), leaf, 0); err != nil {
			t.Fatal(err)
		}
		h.took(leaf)
	}
	l.restart(t)
	head, err := l.HostHead(t.Context(), "h")
	if err != nil || head.Sequence != n || head.Index != n || head.Leaf != fmt.Sprintf("%x", h.leaf) {
		t.Fatalf("head %+v, %v", head, err)
	}
	l.submit(t, h, "/bin/last")
	l.checkTiles(t, n+2)
}

func TestWitnessPolicy(t *testing.T) {
	l := newConfig(t, ledger.GradeSoftware)
	_, foreign := signer(t, testOrigin)
	policy := string(l.policy)
	for want, policy := range map[string]string{
		"policy does not accept this log's key": strings.Replace(policy, l.vkey, foreign, 1),
		"no witness of the policy has a URL":    strings.NewReplacer(" "+l.witnesses[0].url, "", " "+l.witnesses[1].url, "", " "+l.witnesses[2].url, "").Replace(policy),
		"one URL can cosign with one key only":  strings.Replace(policy, l.witnesses[1].url, l.witnesses[0].url, 1),
	} {
		p, err := ledger.ParsePolicy([]byte(policy))
		if err != nil {
			t.Fatal(err)
		}
		c, trust := l.config, *l.config.Trust
		trust.Policy = p
		c.Trust, c.Dir = &trust, tempDir(t)
		if _, err := New(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}
