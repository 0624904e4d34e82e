package cli

import (
	"flag"
	"strings"
	"testing"
	"time"
)

func configFlags() (fs *flag.FlagSet, name *string, life *time.Duration, list *Strings) {
	fs = flag.NewFlagSet("x", flag.ContinueOnError)
	list = new(Strings)
	fs.Var(list, "proxy", "")
	return fs, fs.String("name", "n", ""), fs.Duration("token-life", time.Hour, ""), list
}

// TestConfigOrder: the command line goes before the environment, that before the
// file, and each whole: lists are not mixed.
func TestConfigOrder(t *testing.T) {
	for _, test := range []struct {
		args, environ []string
		content       string
		want          string
	}{
		{nil, nil, "", "n 1h0m0s "},
		{nil, nil, "# x\n\n name  a b \ntoken-life 2h\nproxy 1\nproxy 2", "a b 2h0m0s 1 2"},
		{nil, []string{"X_NAME=e", "Y_NAME=f", "X_TOKEN_LIFE=3h", "X_PROXY=3 4"}, "name a\nproxy 1\n", "e 3h0m0s 3 4"},
		{[]string{"-name", "c", "-proxy", "5"}, []string{"X_NAME=e", "X_PROXY=3 4"}, "name a\nproxy 1\n", "c 1h0m0s 5"},
		{nil, []string{"X_OTHER=1"}, "other 2", "n 1h0m0s "}, // another command's
	} {
		fs, name, life, list := configFlags()
		if err := fs.Parse(test.args); err != nil {
			t.Fatal(err)
		}
		known, _, _, _ := configFlags()
		known.Int("other", 0, "")
		c := &Config{File: "f", Content: test.content, Known: known, Prefix: "X_", Environ: test.environ}
		if err := c.Apply(fs); err != nil {
			t.Errorf("%+v: %v", test, err)
		}
		if got := *name + " " + life.String() + " " + list.String(); got != test.want {
			t.Errorf("%+v: %q", test, got)
		}
	}
}

// TestConfigErrors: each error names the place and has a hint.
func TestConfigErrors(t *testing.T) {
	for _, test := range []struct{ environ, content, want string }{
		{"", "\nnome a", `f:2: unknown name "nome"`},
		{"", "name a\nname b", `f:2: "name" stands there twice`},
		{"", "name", `f:1: "name" has no value`},
		{"", "token-life soon", `f:1: token-life "soon": `},
		{"X_NOME=a", "", "environment: X_NOME stands for no flag"},
		{"X_TOKEN_LIFE=soon", "", `environment: X_TOKEN_LIFE="soon": `},
	} {
		fs, _, _, _ := configFlags()
		known, _, _, _ := configFlags()
		c := &Config{File: "f", Content: test.content, Known: known, Hint: "look there", Prefix: "X_", Environ: []string{test.environ}}
		err := c.Apply(fs)
		e, ok := err.(*Error)
		if !ok || !strings.Contains(err.Error(), test.want) || e.Hint != "look there" || e.Code != ExitUsage {
			t.Errorf("%+v: %v", test, err)
		}
	}
}
