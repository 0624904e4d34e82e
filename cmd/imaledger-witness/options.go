package main

import (
	"flag"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger/kms"
	"github.com/imaledger/imaledger/witness"
)

// options are what the flags and the configuration file say.
type options struct {
	listen      string
	keys        keyOptions
	state       string
	new         bool
	fence       string
	logs        []logSource
	pulls       []pull
	metrics     string
	program     string // run with each file of evidence
	tls         cli.TLSFiles
	bastions    bastionOptions
	connections int
}

// maxConfig bounds the configuration file in bytes.
const maxConfig = 1 << 20

// maxConnections is how many connections one address may have.
const maxConnections = 256

func (o *options) flags(fs *flag.FlagSet) {
	fs.Func("config", "`file` with a flag a line, its name without dashes, a space and its value; # begins a comment line", func(file string) error {
		return readConfig(fs, file)
	})
	fs.StringVar(&o.listen, "listen", "127.0.0.1:8081", "serve HTTP on this `address`; port 0 takes a free one")
	o.keys.flags(fs)
	fs.StringVar(&o.state, "state", "", "state `directory`, made if it does not exist")
	fs.BoolVar(&o.new, "new", false, "the key has never signed: make its state; without it a witness that has none does not start, and with it one that has one does not")
	fs.StringVar(&o.fence, "fence", "", "`file` that knows how far the state has come, apart from it; the first --key with "+fenceExt+" after it unless given")
	fs.Func("log", "verifier key of a log to cosign for, `vkey`; may be repeated", func(vkey string) error {
		return o.addLog(logSource{vkey: vkey})
	})
	fs.Func("logs", "`file` with a list of logs (c2sp.org/tlog-list), read again when it changes; may be repeated", func(file string) error {
		return o.addLog(logSource{file: file})
	})
	fs.Func("pull", "a list that others publish, `\"URL VKEY\"` for a signed note or \"URL sha256:HEX\" for a pinned one; it adds logs, and changes none; may be repeated", func(s string) error {
		p, err := parsePull(s)
		o.pulls = append(o.pulls, p)
		return err
	})
	fs.StringVar(&o.metrics, "metrics-listen", "", "serve Prometheus metrics at /metrics on this `address`, which is nobody's but the operator's")
	fs.StringVar(&o.program, "on-equivocation", "", "`program` to run with each new file of evidence that a log signed two histories")
	fs.StringVar(&o.tls.Certificate, "tls-certificate", "", "PEM `file` with the server's certificate and its chain, read again when it changes")
	fs.StringVar(&o.tls.Key, "tls-key", "", "PEM `file` with its private key")
	o.bastions.flags(fs)
	fs.IntVar(&o.connections, "connections", maxConnections, "most connections from one `address`, 0 for no limit")
}

// fenceExt is what the fence's name ends with where none is given.
const fenceExt = ".fence"

func (o *options) check() error {
	switch {
	case len(o.keys.names) == 0:
		return cli.WithHint(cli.Usagef("no --key"), "imaledger keygen --kind witness --name NAME --out FILE makes one")
	case o.state == "":
		return cli.WithHint(cli.Usagef("no --state"), "name a directory that is kept as carefully as the key, and never rolled back")
	case len(o.logs)+len(o.pulls) == 0:
		return cli.WithHint(cli.Usagef("no log"), "--log takes the vkey that the log prints, --logs a list of logs")
	case (o.tls.Certificate == "") != (o.tls.Key == ""):
		return cli.Usagef("--tls-certificate and --tls-key go together")
	}
	return o.bastions.check()
}

// fenceFile gives where the fence is: beside the key, and, if that is held
// elsewhere, beside the state.
func (o *options) fenceFile() string {
	switch {
	case o.fence != "":
		return o.fence
	case strings.HasPrefix(o.keys.names[0], agentPrefix), kms.Is(o.keys.names[0]):
		return filepath.Clean(o.state) + fenceExt
	}
	return o.keys.names[0] + fenceExt
}

// expect gives what must be there at the start.
func (o *options) expect() witness.Expectation {
	if o.new {
		return witness.ExpectNew
	}
	return witness.ExpectUsed
}

func (o *options) addLog(s logSource) error {
	o.logs = append(o.logs, s)
	_, err := s.read()
	return err
}

// readConfig sets the flags that a file's lines name.
func readConfig(fs *flag.FlagSet, file string) error {
	text, err := cli.ReadFile(file, maxConfig)
	if err != nil {
		return err
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, _ := strings.Cut(line, " ")
		if name == "config" || fs.Lookup(name) == nil {
			return fmt.Errorf("%s line %d: no setting %q", file, n, name)
		}
		if err := fs.Set(name, strings.TrimSpace(value)); err != nil {
			return fmt.Errorf("%s line %d: %s: %w", file, n, name, err)
		}
	}
	return nil
}
