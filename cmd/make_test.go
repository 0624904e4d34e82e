package cmd

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

var testFunction = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// TestRatios: a test that the race detector would falsify is built without it alone,
// and make check runs those that the Makefile names.
func TestRatios(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(makefile), "\nRATIOS := ")
	names, rest, _ := strings.Cut(rest, "\n")
	_, rest, _ = strings.Cut(rest, "-run '^($(RATIOS))$$' ")
	packages, _, _ := strings.Cut(rest, "\n")
	seen := 0
	err = fs.WalkDir(os.DirFS(".."), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		b, err := os.ReadFile("../" + name)
		if err != nil || !strings.HasPrefix(string(b), "//go:build !race\n") {
			return err
		}
		for _, m := range testFunction.FindAllStringSubmatch(string(b), -1) {
			seen++
			if !strings.Contains("|"+names+"|", "|"+m[1]+"|") || !strings.Contains(" "+packages+" ", " ./"+path.Dir(name)+" ") {
				t.Errorf("%s: make test does not run %s: name it and its package there", name, m[1])
			}
		}
		return nil
	})
	if err != nil || seen == 0 {
		t.Fatalf("%d tests, %v", seen, err)
	}
}
