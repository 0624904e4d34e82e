package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// commands are all commands of the tool, by what calls them.
func commands(cmd *cobra.Command) map[string]*cobra.Command {
	all := map[string]*cobra.Command{cmd.CommandPath(): cmd}
	for _, c := range cmd.Commands() {
		for path, c := range commands(c) {
			all[path] = c
		}
	}
	return all
}

// words splits a line of an example as a shell does, as far as examples go.
func words(line string) (list []string) {
	quote := rune(0)
	word, in := "", false
	for _, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, in = c, true
		case quote == 0 && c == ' ':
			if in {
				list, word, in = append(list, word), "", false
			}
		default:
			word, in = word+string(c), true
		}
	}
	if in {
		list = append(list, word)
	}
	return list
}

// inner is what a shell puts the output of a program in place of.
var inner = regexp.MustCompile(`\$\([^)]*\)`)

// TestExamples: every command has examples, and each calls a command that there is,
// with flags and arguments that it takes. What they do is in testdata/script.
func TestExamples(t *testing.T) {
	n := 0
	for path, cmd := range commands(newRoot()) {
		switch {
		case strings.HasPrefix(path, "imaledger completion"), path == "imaledger help", cmd.HasSubCommands() && path != "imaledger":
			continue // cobra's own, and folders of commands
		case cmd.Example == "":
			t.Errorf("%s: no example", path)
		case cmd.Short == "" || path != "imaledger" && cmd.Long == "" && len(cmd.Flags().FlagUsages()) > 100:
			t.Errorf("%s: no text", path)
		}
		for line := range strings.SplitSeq(strings.ReplaceAll(cmd.Example, "\\\n", ""), "\n") {
			if path == "imaledger" {
				line, _, _ = strings.Cut(strings.TrimSpace(line), "  ") // what it does stands after it
			}
			line = inner.ReplaceAllString(line, "WORD")
			line, _, _ = strings.Cut(line, " > ")
			line, _, _ = strings.Cut(line, " | ")
			list := words(line)
			if len(list) == 0 || list[0] != "imaledger" {
				continue
			}
			n++
			called, args, err := newRoot().Find(list[1:])
			if err != nil {
				t.Errorf("%s: %q: %v", path, line, err)
				continue
			}
			if path != "imaledger" && called.CommandPath() != path && list[1] != "verify" && list[1] != "keygen" {
				t.Errorf("%s: %q is an example of %s", path, line, called.CommandPath())
			}
			if err := called.ParseFlags(args); err != nil {
				t.Errorf("%s: %q: %v", path, line, err)
				continue
			}
			if err := called.ValidateArgs(called.Flags().Args()); err != nil {
				t.Errorf("%s: %q: %v", path, line, err)
			}
			if err := called.ValidateRequiredFlags(); err != nil {
				t.Errorf("%s: %q: %v", path, line, err)
			}
		}
	}
	if n < 30 {
		t.Errorf("only %d examples were found", n)
	}
}

// TestMan: there is a page of each command, with its text.
func TestMan(t *testing.T) {
	dir := t.TempDir()
	if code, _, talk := tool(t, "man", dir); code != 0 {
		t.Fatal(talk)
	}
	for path, cmd := range commands(newRoot()) {
		if cmd.Hidden || cmd.Name() == "help" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(path, " ", "-")+".1"))
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.Contains(strings.ReplaceAll(string(b), `\`, ""), cmd.Short) {
			t.Errorf("%s: the page does not say %q", path, cmd.Short)
		}
	}
}
