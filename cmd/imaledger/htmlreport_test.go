package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

// TestReportEscapes: what evidence says is text in the page, whatever it is.
func TestReportEscapes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, `<img src=x onerror=alert(1)>&".tar`)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	trust, err := writeTrust(filepath.Join(dir, "trust"), reportPolicy(t), reportRules(t))
	if err != nil {
		t.Fatal(err)
	}
	r := &audit.Report{Entries: 1, Segments: []*audit.Segment{{Host: "h", Join: "<b>boot</b>", Leaf: "<i>"}},
		Findings: []ledger.Finding{{Code: ledger.Kexec, Subject: "<script>alert(1)</script>", Text: "a ' \" & < > %s %d"}}}
	out := filepath.Join(dir, "report.html")
	if err := writeHTMLReport(out, trust, []*checkedBundle{{File: file, Report: r}}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	for _, never := range []string{"<script", "<img", "<b>", "<i>", "%!", "@@"} {
		if strings.Contains(page, never) {
			t.Errorf("the page has %q", never)
		}
	}
	for _, want := range []string{"&lt;script&gt;alert(1)&lt;/script&gt;", "a &#39; &#34; &amp; &lt; &gt; %s %d", "&lt;b&gt;boot", "</html>"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func reportPolicy(t *testing.T) string {
	_, key, err := demoKey("log.example")
	if err != nil {
		t.Fatal(err)
	}
	return "log " + key + "\nquorum none\n"
}

func reportRules(t *testing.T) string {
	_, key, err := demoKey("registrar.example")
	if err != nil {
		t.Fatal(err)
	}
	return ledger.TrustRulesFormat + "\nregistrar " + key + "\nregistrars 1\ngrade certificate\n"
}

// maxBinary is what the tool may have, stripped, in bytes.
const maxBinary = 25_000_000

// TestBinary: the tool is one file that is not too large to hand around.
func TestBinary(t *testing.T) {
	name := filepath.Join(t.TempDir(), "imaledger")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", name, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", info.Size())
	if info.Size() > maxBinary {
		t.Errorf("%d bytes, at most %d: does something call methods by their names, as text/template does?", info.Size(), maxBinary)
	}
}
