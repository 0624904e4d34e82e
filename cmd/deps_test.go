package cmd

import (
	"errors"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/imaledger/imaledger/"

// levels is the layout: a package imports packages of the module that stand on
// a level below its own, and no others.
var levels = map[string]int{
	"tpm/ima": 0, "tpm/quote": 0, "tpm/securityfs": 0, "ledger": 0, "witness": 0, "web": 0, "ledger/kms": 0, "ledger/internal/durable": 0,
	"tpm": 1, "ledger/audit": 1, "ledger/client": 1, "ledger/internal/payload": 1, "ledger/internal/index": 1,
	"ledger/export": 1, "ledger/appraise": 1,
	"ledger/agent": 2, "ledger/carry": 2,
	"ledger/gather": 2, "ledger/monitor": 2, "ledger/internal/answer": 2,
	"ledger/server": 3, "ledger/search": 3,

	"ledger/testlog":        4,
	"ledger/server/s3mysql": 2, "ledger/server/s3mysql/s3mysqltest": 3, "ledger/server/storagetest": 4,

	"cmd/internal/cli": 2, "cmd/internal/trustdir": 3, "cmd/internal/keys": 4, "cmd/internal/guest": 3, "cmd/internal/guest/guestinit": 4, "cmd/imaledger": 5, "cmd/imaledgerd": 5, "cmd/imaledger-agent": 5, "cmd/imaledger-witness": 5,
}

// forbidden are imports that a folder and all below it must not have, each with
// the reason. An import that ends in a slash stands for all below it.
var forbidden = []struct{ folder, imports, reason string }{
	{"witness", module + "ledger", "a witness does not care what is logged"},
	{"witness", module + "tpm", "a witness does not care what is logged"},
	{"ledger/audit", "net", "the same answer everywhere, twice"},
	{"ledger/audit", "net/", "the same answer everywhere, twice"},
	{"ledger/audit", "os", "the same answer everywhere, twice"},
	{"ledger/audit", "log", "what was found is returned"},
	{"ledger/export", "os", "records in, bytes out"},
	{"ledger/export", "net/", "records in, bytes out"},
	{"ledger/appraise", "os", "the same verdict everywhere, twice"},
	{"ledger/appraise", "net/", "the same verdict everywhere, twice"},
	{"ledger/appraise", module + "ledger", "it knows records and policies, not where they are kept"},
	{"ledger/agent", module + "tpm", "it takes a quoter, so its tests need no TPM"},
	{"tpm/ima", "os", "bytes in, value out"},
	{"tpm/ima", "net/", "bytes in, value out"},
	{"tpm/quote", "os", "bytes in, value out"},
	{"tpm/quote", "net/", "bytes in, value out"},
	{"ledger", "flag", "flags are for commands"},
	{"tpm", "flag", "flags are for commands"},
	{"witness", "flag", "flags are for commands"},
}

// quarantined are modules that only some folders may import.
var quarantined = []struct {
	imports string
	folders []string
	reason  string
}{
	{"github.com/google/go-tpm/", []string{"tpm"}, "one place speaks to TPMs"},
	{"github.com/transparency-dev/tessera", []string{"ledger/server"}, "one place drives the log's storage"},
	{"github.com/sigstore/sigstore/pkg/signature/kms/aws", []string{"cmd/imaledgerd"}, "clouds are the ledger's; other programs speak to a KMS by sigstore's plugins"},
	{"github.com/sigstore/sigstore/pkg/signature/kms/azure", []string{"cmd/imaledgerd"}, "as for aws"},
	{"github.com/sigstore/sigstore/pkg/signature/kms/gcp", []string{"cmd/imaledgerd"}, "as for aws"},
	{"github.com/sigstore/sigstore/pkg/signature/kms/hashivault", []string{"cmd/imaledgerd"}, "as for aws"},
	{"github.com/cockroachdb/pebble", []string{"ledger/internal/index"}, "a cache of the log, and nobody's truth"},
	{module + "ledger/server/s3mysql", []string{"cmd/imaledgerd", "ledger/server/s3mysql"}, "it links a cloud, which imaledgerd alone does"},
	{"github.com/spf13/cobra", []string{"cmd/imaledger"}, "the daemons have the standard flag package"},
	{"filippo.io/torchwood", nil, "the second opinion in tests alone"},
}

// clouds are the SDKs that programs which sign for people must not be made of,
// whichever package of the module brings them.
var clouds = []string{
	"github.com/aws/", "cloud.google.com/", "github.com/Azure/", "github.com/hashicorp/vault/",
	"github.com/sigstore/sigstore/pkg/signature/kms/aws", "github.com/sigstore/sigstore/pkg/signature/kms/azure",
	"github.com/sigstore/sigstore/pkg/signature/kms/gcp", "github.com/sigstore/sigstore/pkg/signature/kms/hashivault",
	"github.com/transparency-dev/tessera/storage/aws", "github.com/transparency-dev/tessera/storage/gcp",
}

// TestClouds: of the programs, imaledgerd alone links clouds. The tool speaks to a
// KMS by a plugin, a program of its own. What a package needs of S3 stands in a
// package that imaledgerd imports and the tool's ledger/server does not.
func TestClouds(t *testing.T) {
	for _, program := range []string{"imaledger", "imaledger-agent", "imaledger-witness"} {
		seen := make(map[string]bool)
		var visit func(folder string, way []string)
		visit = func(folder string, way []string) {
			if seen[folder] {
				return
			}
			seen[folder] = true
			way = append(way[:len(way):len(way)], folder)
			for _, imported := range importsOf(t, folder) {
				for _, cloud := range clouds {
					if strings.HasPrefix(imported, cloud) {
						t.Errorf("%s links %s by %s", program, imported, strings.Join(way, " → "))
					}
				}
				if below, ok := strings.CutPrefix(imported, module); ok {
					visit(below, way)
				}
			}
		}
		visit("cmd/"+program, nil)
		if len(seen) < 3 {
			t.Errorf("%s: only %d packages were looked at", program, len(seen))
		}
	}
	if !slices.Contains(importsOf(t, "cmd/imaledgerd"), "github.com/sigstore/sigstore/pkg/signature/kms/hashivault") {
		t.Error("imaledgerd links no KMS")
	}
}

// importsOf returns what a folder's files import, tests aside.
func importsOf(t *testing.T, folder string) []string {
	t.Helper()
	names, err := filepath.Glob("../" + folder + "/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range f.Imports {
			list = append(list, strings.Trim(spec.Path.Value, `"`))
		}
	}
	return list
}

// TestImports parses every file of the module in this process: a go list in
// another would be cached, and pass what it no longer sees.
func TestImports(t *testing.T) {
	root := os.DirFS("..")
	seen := 0
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
		if err != nil {
			return err
		}
		seen++
		for _, spec := range f.Imports {
			checkImport(t, name, strings.Trim(spec.Path.Value, `"`))
		}
		return nil
	})
	if err != nil || seen < 50 {
		t.Fatalf("%d files read, %v", seen, err)
	}
}

func checkImport(t *testing.T, name, imported string) {
	folder, test := path.Dir(name), strings.HasSuffix(name, "_test.go")
	if folder == "cmd" {
		return
	}
	level, known := levels[folder]
	if !known {
		t.Errorf("%s: folder %s has no level; give it one here, with a reason for the new package", name, folder)
		return
	}
	within := func(f string) bool { return folder == f || strings.HasPrefix(folder, f+"/") }
	matches := func(pattern string) bool {
		return imported == pattern || strings.HasSuffix(pattern, "/") && strings.HasPrefix(imported, pattern)
	}
	if test {
		return // a test may bring foreign verifiers and fakes
	}
	if below, ok := strings.CutPrefix(imported, module); ok && levels[below] >= level {
		t.Errorf("%s: level %d, imports %s of level %d", name, level, below, levels[below])
	}
	for _, rule := range forbidden {
		if within(rule.folder) && matches(rule.imports) && !exempt(rule.folder, folder) {
			t.Errorf("%s imports %s: %s", name, imported, rule.reason)
		}
	}
	for _, q := range quarantined {
		if (imported == strings.TrimSuffix(q.imports, "/") || strings.HasPrefix(imported, strings.TrimSuffix(q.imports, "/")+"/")) && !slices.ContainsFunc(q.folders, within) {
			t.Errorf("%s imports %s, which only %v may: %s", name, imported, q.folders, q.reason)
		}
	}
}

// exempt: a rule for a folder of formats does not bind the services below it.
func exempt(rule, folder string) bool {
	return rule == "tpm" && folder != "tpm" || rule == "ledger" && folder != "ledger"
}

// TestPackageDocs: every package says what it is.
func TestPackageDocs(t *testing.T) {
	for folder := range levels {
		entries, err := os.ReadDir("../" + folder)
		if errors.Is(err, fs.ErrNotExist) {
			continue // planned in the layout
		}
		if err != nil {
			t.Fatal(err)
		}
		documented := false
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), "../"+folder+"/"+e.Name(), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			documented = documented || f.Doc != nil
		}
		if !documented {
			t.Errorf("%s: no package comment", folder)
		}
	}
}
