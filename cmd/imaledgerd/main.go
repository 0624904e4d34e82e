// Imaledgerd is a ledger: it checks the segments that hosts submit, commits them
// to a Merkle tile log whose checkpoints witnesses cosign, and gives proofs
// (https://c2sp.org/tlog-tiles, https://c2sp.org/tlog-proof).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/trustdir"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/server"
)

const name = "imaledgerd"

const usage = `Usage: imaledgerd --dir DIR --key FILE --trust DIR [--registrar FILE|URL]... [--listen ADDR]
       imaledgerd --registrar-only --registrar FILE --registrar-token FILE --trust DIR [--listen ADDR]

Runs a ledger in one directory. It prints the log's verifier key and the URL that
it listens on.

The trust folder is the one that auditors have: "policy" names this log's key and
its witnesses, with their URLs; "rules" names the registrars. What an auditor with
that folder would refuse is not admitted.

Where the trust folder demands several registrars, others run them: the second form
is such a registrar. It makes an activation of its own with each host's TPM, by its
own trust folder and list of EKs, and signs what it has seen. The ledger names it by
its URL, and both have the token in a file.

Keys are in the note encoding (imaledger keygen), or PEM: PKCS #8, plain or
encrypted, or encrypted by sigstore's tools. A PEM key has no name, so --origin
names the log, and a registrar is given as NAME=FILE. The password of encrypted
keys is taken from --password-file, or from the variable IMALEDGER_KEY_PASSWORD.

Example:
  imaledger keygen --kind log --name ledger.example/prod --out log.key
  imaledger keygen --kind registrar --name registrar.example --out registrar.key
  imaledgerd --dir /var/lib/imaledgerd --key log.key --registrar registrar.key \
      --trust /etc/imaledger/trust --listen 127.0.0.1:8080

Flags:
`

// Limits of the server. A transfer that goes on gets more time as it goes; these
// are for everything else.
const (
	readTimeout  = 30 * time.Second
	writeTimeout = readTimeout + server.MaxWait + 30*time.Second
	// closeTimeout is how long an orderly end waits for the witnesses.
	closeTimeout = 20 * time.Second
)

func main() { cli.Main(name, run) }

// options are the command line.
type options struct {
	dir, listen, origin, key, trust   string
	registrars                        []string
	pinned, password, token           string
	registrarOnly                     bool
	checkpointInterval, batchAge      time.Duration
	sessionLife                       time.Duration
	publicPayloads, allowSoftwareKeys bool
	door                              doorOptions
	erase                             eraserOptions
	metrics                           metricsOptions
}

func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) error {
	var o options
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	logger := o.flags(fs)
	if err := cli.ParseFlags(fs, args, stdout); err != nil {
		return err
	}
	if o.registrarOnly {
		return o.serveRegistrar(ctx, logger(stderr), stdout)
	}
	config, err := o.config()
	if err != nil {
		return err
	}
	config.Logger = logger(stderr)
	server.RouteLogs(config.Logger)
	return o.serve(ctx, config, stdout)
}

func (o *options) flags(fs *flag.FlagSet) func(io.Writer) *slog.Logger {
	fs.StringVar(&o.dir, "dir", "", "`directory` of the ledger, made if it does not exist")
	fs.StringVar(&o.listen, "listen", "127.0.0.1:8080", "serve HTTP on this `address`; port 0 takes a free one")
	fs.StringVar(&o.key, "key", "", "`file` of the log's private key")
	fs.StringVar(&o.origin, "origin", "", "the log's `origin`, needed for a PEM key; otherwise the key's name")
	fs.StringVar(&o.trust, "trust", "", "trust `folder`: policy, rules, roots/")
	fs.BoolVar(&o.registrarOnly, "registrar-only", false, "be a registrar of somebody else's ledger")
	fs.StringVar(&o.token, "registrar-token", "", "`file` with the token that the ledger shows to registrars elsewhere")
	fs.Func("registrar", "`file` of a registrar's private key, NAME=FILE for PEM, or the URL of a registrar elsewhere; may be repeated", func(v string) error {
		o.registrars = append(o.registrars, v)
		return nil
	})
	fs.StringVar(&o.pinned, "pinned", "", "`file` of EKs that the operator vouches for: lines \"HOST EK-NAME\", the name in hex")
	fs.StringVar(&o.password, "password-file", "", "`file` with the password of encrypted keys")
	fs.DurationVar(&o.checkpointInterval, "checkpoint-interval", server.DefaultCheckpointInterval, "`time` between checkpoints, at least 100ms")
	fs.DurationVar(&o.batchAge, "batch-age", server.DefaultBatchMaxAge, "`time` for which entries are gathered for one write")
	fs.DurationVar(&o.sessionLife, "session-life", server.DefaultSessionLife, "`time` that a host has to answer an enrolment's challenge; days, where folders are carried")
	fs.BoolVar(&o.publicPayloads, "public-payloads", false, "serve measurement records and evidence to everyone")
	fs.BoolVar(&o.allowSoftwareKeys, "allow-software-keys", false, "enrol hosts without a TPM, for demonstrations; the trust folder must accept grade software")
	o.door.flags(fs)
	o.erase.flags(fs)
	o.metrics.flags(fs)
	logger := cli.LogFlags(fs)
	fs.Usage = func() {
		io.WriteString(fs.Output(), usage)
		fs.PrintDefaults()
	}
	return logger
}

// config reads what the command line names.
func (o *options) config() (server.Config, error) {
	c := server.Config{
		Dir: o.dir, AllowSoftware: o.allowSoftwareKeys, PublicPayloads: o.publicPayloads,
		CheckpointInterval: o.checkpointInterval, BatchMaxAge: o.batchAge, SessionLife: o.sessionLife,
	}
	switch {
	case o.dir == "":
		return c, cli.WithHint(cli.Usagef("no --dir"), "name the directory that holds the log; one process at a time may use it")
	case o.key == "":
		return c, cli.WithHint(cli.Usagef("no --key"), "imaledger keygen --kind log --name ORIGIN --out FILE makes one")
	case o.trust == "":
		return c, cli.WithHint(cli.Usagef("no --trust"), "the trust folder holds policy and rules, and is the one that auditors verify with")
	}
	err := o.door.config(&c)
	if err != nil {
		return c, err
	}
	if c.Trust, err = trustdir.Read(o.trust); err != nil {
		return c, err
	}
	if err := o.eraser(&c); err != nil {
		return c, err
	}
	if c.Signer, err = o.readKey(o.origin, o.key); err != nil {
		return c, err
	}
	for _, r := range o.registrars {
		if strings.HasPrefix(r, "http://") || strings.HasPrefix(r, "https://") {
			token, err := o.readToken()
			if err != nil {
				return c, err
			}
			c.RemoteRegistrars = append(c.RemoteRegistrars, &client.Registrar{Client: client.Client{Base: r}, Token: token})
			continue
		}
		s, err := o.readRegistrar(r)
		if err != nil {
			return c, err
		}
		c.Registrars = append(c.Registrars, s)
	}
	if o.pinned != "" {
		c.Pinned, err = readPinned(o.pinned)
	}
	return c, err
}

// serve runs the ledger until the context ends or its storage fails.
func (o *options) serve(ctx context.Context, config server.Config, stdout io.Writer) (err error) {
	if err := o.metrics.serve(ctx, &config, config.Logger); err != nil {
		return err
	}
	s, err := server.New(ctx, config)
	if err != nil {
		return cli.WithHint(cli.Undecidedf("%w", err), "nothing was changed; see the message for what does not fit together")
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err = errors.Join(err, s.Close(end))
	}()
	listener, url, err := o.door.listen(o.listen, o.dir, config.Proxies, config.Logger)
	if err != nil {
		return err
	}
	if err := o.door.watchAccess(ctx, s, config.Logger); err != nil {
		return errors.Join(err, listener.Close())
	}
	// Two lines that a script can read, in a fixed order.
	fmt.Fprintf(stdout, "%s\n%s\n", s.VerifierKey(), url)

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-s.Failed():
			stop()
		case <-ctx.Done():
		}
	}()
	// Before the HTTP server waits for its requests to end: those that wait for
	// witnesses are let go.
	context.AfterFunc(ctx, s.Drain)
	err = cli.Serve(ctx, cli.NewServer(s, readTimeout, writeTimeout, config.Logger), listener)
	if failure := s.Err(); failure != nil {
		return cli.WithHint(cli.Undecidedf("%w", failure), "start it again: it reads the log and goes on from what the log holds")
	}
	return err
}
