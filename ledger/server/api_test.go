package server

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
)

const apiPage = "../API.md"

// An example is a command of API.md and what it prints, in which … stands for
// anything, and a line of it alone for any lines.
type example struct {
	line          int
	command, want string
}

// examples reads the console blocks of a page.
func examples(t *testing.T, page string) (list []example) {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	in := false
	for i, line := range strings.Split(string(b), "\n") {
		switch command, ok := strings.CutPrefix(line, "$ "); {
		case line == "```console":
			in = true
		case line == "```":
			in = false
		case in && ok:
			list = append(list, example{line: i + 1, command: command})
		case in && len(list) > 0:
			list[len(list)-1].want += line + "\n"
		}
	}
	return list
}

func (e example) matches(got string) bool {
	pattern := regexp.QuoteMeta(e.want)
	pattern = strings.ReplaceAll(pattern, "\n…\n", "\n(?:.*\n)*?")
	pattern = strings.ReplaceAll(pattern, "…", ".*")
	return regexp.MustCompile(`^` + pattern + `$`).MatchString(got)
}

// TestAPIPage runs the examples of API.md, in their order and in one shell, with
// curl against a real ledger.
func TestAPIPage(t *testing.T) {
	const operator, auditor = "the operator's token", "the web auditor's token"
	l := closedLedger(t, func(c *Config) {
		c.Access = access(t, "operator ops token %s\nauditor web token %s hosts web-*\n", operator, auditor)
		c.Limits = DefaultLimits()
		c.Search = true
	})
	dir := t.TempDir()
	write := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h := l.enrolHost(t, "web-1.example")
	anchor := l.anchor(t)
	other, _ := h.fork().segment(t, testOrigin, anchor, "/bin/other")
	segment, payload := h.segment(t, testOrigin, anchor, "/bin/sh")
	write("segment", segment)
	write("leaf-hash", fmt.Appendf(nil, "%x\n", ledger.LeafHash(segment)))
	write("other-segment", other)
	write("payload", payload)
	write("anchor", anchor.Raw)
	write("big", noise(t, 1<<20))
	write("text", bytes.Repeat([]byte("10 ima-ng /usr/bin/true\n"), 1000))
	write("ak", newTestAK(t).ak)

	list := examples(t, apiPage)
	if len(list) < 25 {
		t.Fatalf("API.md has %d examples", len(list))
	}
	const mark = "-- the end of an example --"
	script := "set -u\n"
	for _, e := range list {
		script += e.command + "\necho " + strconv.Quote(mark) + "\n"
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
	cmd.Dir, cmd.WaitDelay = dir, 10*time.Second
	cmd.Env = append(os.Environ(), "LEDGER="+l.http.URL, "OPERATOR="+operator, "WEB_AUDITOR="+auditor)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, problems.String())
	}
	answers := strings.Split(out.String(), mark+"\n")
	if len(answers) != len(list)+1 {
		t.Fatalf("%d answers to %d examples: %s", len(answers)-1, len(list), problems.String())
	}
	for i, e := range list {
		if !e.matches(answers[i]) {
			t.Errorf("API.md:%d: %s\nprints\n%swant\n%s", e.line, e.command, answers[i], e.want)
		}
	}
	if problems.Len() > 0 {
		t.Errorf("the examples complain:\n%s", problems.String())
	}
}

// TestAPIPageIsWhole: each route and each type of problem stands in API.md, and
// nothing that there is not.
func TestAPIPageIsWhole(t *testing.T) {
	page, err := os.ReadFile(apiPage)
	if err != nil {
		t.Fatal(err)
	}
	l := startLedger(t, ledger.GradeSoftware)
	for _, route := range l.server.patterns {
		if !bytes.Contains(page, []byte("| `"+route+"` |")) {
			t.Errorf("API.md does not have %s", route)
		}
	}
	rows := regexp.MustCompile("(?m)^\\| `((?:GET|PUT|POST|DELETE) /[^`]*)` \\|").FindAllSubmatch(page, -1)
	if len(rows) != len(l.server.patterns) {
		t.Errorf("API.md has %d routes, the server %d", len(rows), len(l.server.patterns))
	}

	inPage := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| <a id=\"problem-([a-z-]+)\"></a>`problem-([a-z-]+)` \\| (\\d+) \\|").FindAllSubmatch(page, -1) {
		if string(m[1]) != string(m[2]) {
			t.Errorf("the anchor of %s is %s", m[2], m[1])
		}
		inPage[string(m[1])] = string(m[3])
	}
	for slug, status := range problemTypes(t) {
		if inPage[slug] != strconv.Itoa(status) {
			t.Errorf("problem-%s: status %d, API.md says %q", slug, status, inPage[slug])
		}
		delete(inPage, slug)
	}
	for slug := range inPage {
		t.Errorf("API.md has problem-%s, which is never answered", slug)
	}
}

// problemTypes reads them from the source, so that a new one is not forgotten.
func problemTypes(t *testing.T) map[string]int {
	t.Helper()
	src, err := os.ReadFile("problem.go")
	if err != nil {
		t.Fatal(err)
	}
	statuses := map[string]int{}
	for code := 400; code < 600; code++ {
		if text := http.StatusText(code); text != "" {
			statuses["Status"+strings.NewReplacer(" ", "", "-", "").Replace(text)] = code
		}
	}
	types := map[string]int{}
	f, err := parser.ParseFile(token.NewFileSet(), "problem.go", src, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		a, ok := n.(*ast.AssignStmt)
		if !ok || len(a.Lhs) < 2 {
			return true
		}
		if field, ok := a.Lhs[0].(*ast.SelectorExpr); !ok || field.Sel.Name != "Type" {
			return true
		}
		slug := ""
		ast.Inspect(a.Rhs[0], func(n ast.Node) bool {
			if s, ok := n.(*ast.BasicLit); ok {
				slug, _ = strconv.Unquote(s.Value)
			}
			return true
		})
		if status, ok := a.Rhs[1].(*ast.SelectorExpr); ok {
			types[slug] = statuses[status.Sel.Name]
		}
		return true
	})
	if len(types) < 15 {
		t.Fatalf("%d types of problems found in problem.go", len(types))
	}
	return types
}

// What is not foreseen tells a stranger nothing; what is has a type.
func TestProblemOf(t *testing.T) {
	p := problemOf(errors.New("the disk /dev/secret fails"))
	if p.Status != http.StatusInternalServerError || p.Detail != "" || p.Type != problemBase+"internal" {
		t.Errorf("%+v", p)
	}
	l := startLedger(t, ledger.GradeSoftware)
	for path, want := range map[string]int{"/nowhere": 404, "/": 404, "/tile/0": 404} {
		resp, b := l.do(t, "GET", path, nil)
		if resp.StatusCode != want || resp.Header.Get("Content-Type") != "application/problem+json" || !bytes.Contains(b, []byte("problem-not-found")) {
			t.Errorf("%s: %s %s %s", path, resp.Status, resp.Header.Get("Content-Type"), b)
		}
	}
	resp, b := l.do(t, "DELETE", "/checkpoint", nil)
	if resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" || !bytes.Contains(b, []byte("problem-method")) {
		t.Errorf("%s %q %s", resp.Status, resp.Header.Get("Allow"), b)
	}
}
