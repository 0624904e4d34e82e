package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// The rules of accessibility that pages are held against: https://github.com/dequelabs/axe-core,
// fetched by npm once, and kept.
const (
	axeVersion = "4.14.1"
	axeDigest  = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c" // SHA-256 of axe.min.js
)

var axeOnce sync.Once

// axe returns the script.
func axe(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "imaledger", "axe-"+axeVersion)
	name := filepath.Join(dir, "node_modules", "axe-core", "axe.min.js")
	axeOnce.Do(func() {
		if _, err := os.Stat(name); err == nil {
			return
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "npm", "install", "--prefix", dir, "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "axe-core@"+axeVersion)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("npm: %v; on Debian: apt-get install npm\n%s", err, out)
		}
	})
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if sum := fmt.Sprintf("%x", sha256.Sum256(b)); sum != axeDigest {
		t.Fatalf("%s has SHA-256 %s, want %s: remove it", name, sum, axeDigest)
	}
	return string(b)
}

// A violation is a rule that a page breaks.
type violation struct {
	ID, Help string
	Nodes    []struct{ HTML string }
}

// accessible holds the page that is shown against every rule.
func (b *browser) accessible(what string) {
	b.t.Helper()
	if !eval[bool](b, `"axe" in globalThis`) {
		eval[int](b, axe(b.t)+"; 0")
	}
	list := eval[[]violation](b, `axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations.map((v) => ({ID: v.id, Help: v.help, Nodes: v.nodes.map((n) => ({HTML: n.html}))})))`)
	for _, v := range list {
		b.t.Errorf("%s: %s: %s, at %d places: %.300s", what, v.ID, v.Help, len(v.Nodes), v.Nodes[0].HTML)
	}
}
