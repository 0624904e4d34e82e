package main

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/trustdir"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/ledger/carry"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/securityfs"
)

// Where things are unless the configuration says otherwise.
const (
	defaultConfig = "/etc/imaledger/agent.conf"
	defaultTrust  = "/etc/imaledger/trust"
	defaultState  = "/var/lib/imaledger-agent"
	defaultRun    = "/run/imaledger-agent"
	defaultTPM    = "/dev/tpmrm0"
	bootIDFile    = "/proc/sys/kernel/random/boot_id"
)

// Defaults of when and how much.
const (
	defaultInterval = 10 * time.Minute
	defaultPoll     = 30 * time.Second
	defaultRecords  = 1000
	defaultBytes    = 4 << 20
	defaultSpool    = 1 << 30
	defaultLists    = 4
	defaultWait     = 20 * time.Second
	minPoll         = time.Second
)

// options are the flags and the configuration file.
type options struct {
	config, ledger, offline, host, trust, state, run, tpm, securityfs string
	ak, quote, delete, banks, metrics                                 string
	schedule                                                          agent.Schedule
	spoolLimit                                                        int64
	lists                                                             int
	wait                                                              time.Duration
	json                                                              bool
	bank, out                                                         string

	log    func(io.Writer) *slog.Logger
	logger *slog.Logger
}

// flags defines the flags of a command; an empty one stands for all that the
// configuration file may have.
func (o *options) flags(fs *flag.FlagSet, command string) {
	if command != "" {
		fs.StringVar(&o.config, "config", defaultConfig, "configuration `file`")
	}
	fs.StringVar(&o.ledger, "ledger", "", "`URL` of the ledger")
	fs.StringVar(&o.offline, "offline", "", "`folder` that is carried to the ledger, where that cannot be reached (imaledger submit)")
	fs.StringVar(&o.host, "host", "", "this host's `name` in the ledger; the machine's if it is not given")
	fs.StringVar(&o.trust, "trust", defaultTrust, "trust `folder`: the ledger's key, its witnesses, its registrars")
	fs.StringVar(&o.state, "state", defaultState, "the agent's `directory`: lists, segments and receipts")
	fs.StringVar(&o.run, "run", defaultRun, "`directory` for the status, which need not outlive a boot")
	fs.StringVar(&o.tpm, "tpm", defaultTPM, "the TPM's `device`, or a socket of swtpm")
	fs.StringVar(&o.securityfs, "securityfs", securityfs.Dir, "`directory` of the kernel's measurement lists")
	fs.StringVar(&o.ak, "ak", akAuto, "`kind` of attestation key: auto, ecc-p256 or rsa-2048")
	fs.StringVar(&o.quote, "quote", "auto", "`registers` that are quoted besides those of the list: auto, or all for PCR 0 to 9 in every bank")
	fs.StringVar(&o.delete, "delete", "auto", "how receipted records leave the kernel: auto, stage, count or never")
	fs.StringVar(&o.banks, "banks", "sha256", "digests, besides sha1, that the untrimmed list is kept in, separated by commas")
	fs.DurationVar(&o.schedule.Interval, "interval", defaultInterval, "longest `time` between rounds")
	fs.DurationVar(&o.schedule.Poll, "poll", defaultPoll, "`time` between looks at how many records there are, at least 1s")
	fs.Uint64Var(&o.schedule.Records, "records", defaultRecords, "`number` of new records that begins a round")
	fs.Int64Var(&o.schedule.Bytes, "bytes", defaultBytes, "`number` of bytes of new records that begins a round")
	fs.Int64Var(&o.spoolLimit, "spool-limit", defaultSpool, "`bytes` of records without a receipt, from which on the rest stays in the kernel; 0 for no limit")
	fs.IntVar(&o.lists, "lists", defaultLists, "`number` of untrimmed lists to keep, one for each boot; 0 keeps all")
	fs.DurationVar(&o.wait, "wait", defaultWait, "`time` to wait for witnesses at each submission")
	fs.StringVar(&o.metrics, "metrics", "", "`file` for node_exporter's textfile collector, written after each round")
	switch command {
	case "check", "status":
		fs.BoolVar(&o.json, "json", false, "print JSON")
	case "export":
		fs.StringVar(&o.bank, "bank", "sha1", "`digest` of the list: sha1, or the name of another")
		fs.StringVar(&o.out, "out", "-", "`file` to write to, - for standard output")
	}
	o.log = cli.LogFlags(fs)
	if command != "" {
		fs.Usage = func() {
			fmt.Fprintf(fs.Output(), "Usage: %s [flags]\n\nFlags:\n", fs.Name())
			fs.PrintDefaults()
		}
	}
}

// agentConfig is what an agent is made of, but for the TPM and the kernel.
func (o *options) agentConfig() (agent.Config, error) {
	c := agent.Config{
		Host: o.host, Dir: o.state, BootID: bootID, SpoolLimit: o.spoolLimit, Lists: o.lists, Wait: o.wait, Logger: o.logger, Step: step(),
		Errors: agent.KernelErrors{Staged: securityfs.ErrStaged, Nothing: securityfs.ErrNothing, Suspended: securityfs.ErrSuspended},
	}
	switch {
	case o.ledger == "" && o.offline == "":
		return c, cli.WithHint(cli.Usagef("no ledger"), "give --ledger URL, or a line \"ledger URL\" in %s", o.config)
	case o.ledger != "" && o.offline != "":
		return c, cli.Usagef("ledger and offline: a host has the one or the other")
	case o.offline != "":
		c.Ledger = &carry.Folder{Dir: o.offline}
	default:
		c.Ledger = &client.Client{Base: o.ledger}
	}
	if c.Host == "" {
		var err error
		if c.Host, err = os.Hostname(); err != nil {
			return c, cli.WithHint(cli.Usagef("%w", err), "give --host NAME")
		}
	}
	if c.Host = strings.ToLower(c.Host); !ledger.ValidHost(c.Host) {
		return c, cli.WithHint(cli.Usagef("%q is no host name: a-z, 0-9, dot, dash and underscore, first and last a letter or digit", c.Host), "give --host NAME, such as web1.example")
	}
	if o.schedule.Poll < minPoll || o.schedule.Interval < o.schedule.Poll {
		return c, cli.Usagef("poll %s, interval %s: poll must be at least %s, and interval no shorter than poll", o.schedule.Poll, o.schedule.Interval, minPoll)
	}
	if o.spoolLimit < 0 {
		return c, cli.Usagef("spool-limit %d: it must not be negative", o.spoolLimit)
	}
	switch o.quote {
	case "auto":
	case "all":
		c.QuoteAll = true
	default:
		return c, cli.Usagef("quote %q: it is auto or all", o.quote)
	}
	for b := range strings.SplitSeq(o.banks, ",") {
		bank, err := parseBank(strings.TrimSpace(b))
		if err != nil {
			return c, err
		}
		if bank != ima.SHA1 {
			c.Banks = append(c.Banks, bank)
		}
	}
	var err error
	c.Trust, err = trustdir.Read(o.trust)
	return c, err
}

func parseBank(s string) (ima.Bank, error) {
	b, err := ima.ParseBank(s)
	if err == nil && !b.Available() {
		err = fmt.Errorf("%s: its hash is not known here", s)
	}
	if err != nil {
		return 0, cli.WithHint(cli.Usagef("%w", err), "a list has sha1, sha256, sha384 or sha512")
	}
	return b, nil
}

// deletion picks how records leave the kernel.
func (o *options) deletion(f securityfs.Flavour) (agent.Deletion, error) {
	best := map[securityfs.Flavour]agent.Deletion{
		securityfs.Staging: agent.DeleteStaged, securityfs.Counted: agent.DeleteCount, securityfs.ReadOnly: agent.DeleteNever}[f]
	switch d := agent.Deletion(o.delete); {
	case o.delete == "auto":
		return best, nil
	case d == agent.DeleteNever, d == best, d == agent.DeleteCount && f == securityfs.Staging:
		return d, nil
	case d == agent.DeleteStaged, d == agent.DeleteCount:
		return "", cli.WithHint(cli.Usagef("delete %s: this kernel's list is %s", d, f), "\"auto\" takes what the kernel offers; staging needs Linux 7.2 with CONFIG_IMA_STAGING")
	}
	return "", cli.Usagef("delete %q: it is auto, stage, count or never", o.delete)
}

func bootID() (string, error) {
	b, err := os.ReadFile(bootIDFile)
	return strings.TrimSpace(string(b)), err
}

func (o *options) runFile(name string) string { return filepath.Join(o.run, name) }
