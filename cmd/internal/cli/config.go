package cli

import (
	"bufio"
	"flag"
	"fmt"
	"strings"
)

// Strings is a flag that may be repeated.
type Strings []string

// String implements flag.Value.
func (s *Strings) String() string { return strings.Join(*s, " ") }

// Set implements flag.Value.
func (s *Strings) Set(v string) error {
	*s = append(*s, v)
	return nil
}

// A Config is a program's configuration file: a line for each flag, its name, a
// space, and its value; empty lines and those that begin with # say nothing. A
// flag that may be repeated may have several lines. One file is for all of a
// program's commands.
type Config struct {
	File    string        // its name, for errors
	Content string        // what it says
	Known   *flag.FlagSet // the flags of all commands
	Hint    string        // what lists them
	// Variables begin with the prefix, then the flag's name in capitals with _ for
	// -, and go before the file. Flags that may be repeated are separated by
	// spaces. An empty prefix stands for none.
	Prefix  string
	Environ []string // as os.Environ gives it
}

// Apply sets those of the command's flags that the command line did not give.
func (c *Config) Apply(fs *flag.FlagSet) error {
	given := make(map[string]bool)
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if err := c.applyEnviron(fs, given); err != nil {
		return err
	}
	return c.applyFile(fs, given)
}

func (c *Config) applyEnviron(fs *flag.FlagSet, given map[string]bool) error {
	if c.Prefix == "" {
		return nil
	}
	for _, variable := range c.Environ {
		key, value, _ := strings.Cut(variable, "=")
		name, ours := strings.CutPrefix(key, c.Prefix)
		if !ours {
			continue
		}
		name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
		f := c.Known.Lookup(name)
		if f == nil {
			return WithHint(Usagef("environment: %s stands for no flag", key), "%s", c.Hint)
		}
		if given[name] || fs.Lookup(name) == nil {
			continue
		}
		given[name] = true
		values := []string{value}
		if _, repeated := f.Value.(*Strings); repeated {
			values = strings.Fields(value)
		}
		for _, v := range values {
			if err := fs.Set(name, v); err != nil {
				return WithHint(Usagef("environment: %s=%q: %w", key, v, err), "%s", c.Hint)
			}
		}
	}
	return nil
}

func (c *Config) applyFile(fs *flag.FlagSet, given map[string]bool) error {
	seen := make(map[string]bool)
	lines := bufio.NewScanner(strings.NewReader(c.Content))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, _ := strings.Cut(line, " ")
		value = strings.TrimSpace(value)
		bad := func(format string, args ...any) error {
			return WithHint(Usagef("%s:%d: %s", c.File, n, fmt.Sprintf(format, args...)), "%s", c.Hint)
		}
		f := c.Known.Lookup(key)
		if f == nil {
			return bad("unknown name %q", key)
		}
		_, repeated := f.Value.(*Strings)
		switch {
		case seen[key] && !repeated:
			return bad("%q stands there twice", key)
		case value == "":
			return bad("%q has no value", key)
		}
		seen[key] = true
		if given[key] || fs.Lookup(key) == nil {
			continue
		}
		if err := fs.Set(key, value); err != nil {
			return bad("%s %q: %v", key, value, err)
		}
	}
	if err := lines.Err(); err != nil {
		return Usagef("%s: %w", c.File, err)
	}
	return nil
}
