package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger/audit"
)

// TestVerifyVectors: on every bundle of the shared vectors the command ends with
// the code of the expected class, and says what it found.
func TestVerifyVectors(t *testing.T) {
	const dir = "../../ledger/testdata/vectors"
	text, err := os.ReadFile(filepath.Join(dir, "bundles.json"))
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Name, What, Bundle, Trust, Class string
		Codes                            []string
		Records                          *uint64
	}
	if err := json.Unmarshal(text, &vectors); err != nil || len(vectors) < 40 {
		t.Fatalf("%d vectors, %v", len(vectors), err)
	}
	classes := map[string]struct {
		code int
		head string
	}{
		"verified": {cli.ExitOK, "VERIFIED\n"}, "contradicted": {cli.ExitContradicted, "CONTRADICTED: "}, "undecided": {cli.ExitUndecided, "UNDECIDED: "},
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			class, known := classes[v.Class]
			if !known {
				t.Fatalf("class %q", v.Class)
			}
			args := []string{"verify", "--trust", filepath.Join(dir, v.Trust), filepath.Join(dir, v.Bundle)}
			code, stdout, stderr := tool(t, args...)
			if code != class.code || stderr != "" || !strings.HasPrefix(stdout, class.head) {
				t.Errorf("code %d, stderr %q, want %d and %q\n%s", code, stderr, class.code, class.head, stdout)
			}
			for _, c := range v.Codes {
				if !strings.Contains(stdout, " ["+c+"]\n") {
					t.Errorf("no [%s] in\n%s", c, stdout)
				}
			}
			if got := strings.Count(stdout, "]\n"); len(v.Codes) == 0 && got > 0 {
				t.Errorf("%d findings, want none\n%s", got, stdout)
			}

			code, stdout, stderr = tool(t, append(args, "--json")...)
			var r struct {
				Verdict    string   `json:"verdict"`
				Statements []string `json:"statements"`
				audit.Report
			}
			decodeStrict(t, stdout, &r)
			if code != class.code || stderr != "" || r.Verdict != v.Class {
				t.Errorf("--json: code %d, verdict %s, stderr %q", code, r.Verdict, stderr)
			}
			if strings.Contains(stdout, ": null") {
				t.Errorf("--json: a list is null, want []\n%s", stdout)
			}
			if v.Class == "contradicted" && len(r.Statements) > 0 {
				t.Errorf("--json: states %q", r.Statements)
			}
			var codes []string
			for _, f := range r.Findings {
				codes = append(codes, string(f.Code))
				if f.Subject == "" || f.Text == "" {
					t.Errorf("finding %+v does not say which or what", f)
				}
			}
			slices.Sort(codes)
			if codes = slices.Compact(codes); !slices.Equal(codes, v.Codes) {
				t.Errorf("--json: codes %v, want %v", codes, v.Codes)
			}
			var records uint64
			for _, s := range r.Segments {
				records += s.Count
			}
			if v.Records != nil && (records != *v.Records || len(r.Statements) == 0) {
				t.Errorf("%d records and %d statements, want %d records", records, len(r.Statements), *v.Records)
			}
		})
	}
}
