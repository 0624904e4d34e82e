package main

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger/server"
)

// Where things are unless the configuration says otherwise.
const (
	defaultConfig    = "/etc/imaledger/imaledgerd.conf"
	defaultRegistrar = "/etc/imaledger/registrar.conf"
	defaultTrust     = "/etc/imaledger/trust"
	defaultDir       = "/var/lib/imaledgerd"
	defaultListen    = "127.0.0.1:8080"
)

// options are the flags, the environment and the configuration file.
type options struct {
	configFile, trust                 string
	dir, listen, origin, key          string
	registrars                        cli.Strings
	pinned, password, token           string
	checkpointInterval, republish     time.Duration
	batchAge                          time.Duration
	sessionLife                       time.Duration
	publicPayloads, allowSoftwareKeys bool
	search                            bool
	web                               bool
	door                              doorOptions
	erase                             eraserOptions
	logKeys                           logKeys
	metrics                           metricsOptions
	storage                           storageOptions

	init initOptions

	// Of upkeep.
	from, to string
	json     bool

	log    func(io.Writer) *slog.Logger
	logger *slog.Logger
	stderr io.Writer
}

// flags defines the flags of a command; an empty one stands for all that the
// ledger's configuration file may have.
func (o *options) flags(fs *flag.FlagSet, command string) {
	config := defaultConfig
	if command == "registrar" {
		config = defaultRegistrar
	}
	if command != "" {
		fs.StringVar(&o.configFile, "config", config, "configuration `file`")
		fs.Usage = func() {
			fmt.Fprintf(fs.Output(), "Usage: %s [flags]\n\n%s\nFlags:\n", fs.Name(), about[command])
			fs.PrintDefaults()
		}
	}
	o.log = cli.LogFlags(fs)
	fs.StringVar(&o.trust, "trust", defaultTrust, "trust `folder`: policy, rules, roots/")
	if command == "registrar" {
		o.keyFlags(fs, "the registrar's private `key`")
		o.listenFlags(fs)
		return
	}
	fs.StringVar(&o.dir, "dir", defaultDir, "`directory` of the ledger, made if it does not exist")
	if command != "init" {
		o.storage.flags(fs)
	}
	switch command {
	case "init":
		fs.StringVar(&o.origin, "origin", "", "the log's `origin`: its name, for ever")
		fs.StringVar(&o.listen, "listen", defaultListen, "`address` that the ledger will listen on")
		o.init.flags(fs)
	case "check":
		fs.BoolVar(&o.json, "json", false, "print JSON")
	case "backup":
		fs.StringVar(&o.to, "to", "", "`directory` of the backup, made if it does not exist")
	case "restore":
		fs.StringVar(&o.from, "from", "", "`directory` of the backup")
	case "migrate":
		fs.StringVar(&o.from, "from", "", "`directory` of the ledger that is copied to --storage")
		fs.StringVar(&o.to, "to", "", "`directory` that the ledger of --storage is copied to, made if it does not exist")
	}
	if command != "serve" && command != "" {
		return
	}
	o.keyFlags(fs, "the log's private `key`")
	o.listenFlags(fs)
	o.serveFlags(fs)
	o.door.flags(fs)
	o.erase.flags(fs)
	o.logKeys.flags(fs)
	o.metrics.flags(fs)
}

// keyFlags are what a ledger and a registrar sign by.
func (o *options) keyFlags(fs *flag.FlagSet, key string) {
	fs.StringVar(&o.key, "key", "", key)
	fs.StringVar(&o.password, "password-file", "", "`file` with the password of encrypted keys")
	fs.StringVar(&o.token, "registrar-token", "", "`file` with the token that the ledger shows to registrars elsewhere")
	fs.StringVar(&o.pinned, "pinned", "", "`file` of EKs that the operator vouches for: lines \"HOST EK-NAME\", the name in hex")
	fs.DurationVar(&o.sessionLife, "session-life", server.DefaultSessionLife, "`time` that a host has to answer an enrolment's challenge; days, where folders are carried")
}

func (o *options) listenFlags(fs *flag.FlagSet) {
	fs.StringVar(&o.listen, "listen", defaultListen, "serve HTTP on this `address`; port 0 takes a free one")
	o.door.listenFlags(fs)
}

// serveFlags are the ledger's alone.
func (o *options) serveFlags(fs *flag.FlagSet) {
	fs.StringVar(&o.origin, "origin", "", "the log's `origin`, where --key gives no name")
	fs.Var(&o.registrars, "registrar", "private `key` of a registrar, or the URL of a registrar elsewhere; may be repeated")
	fs.DurationVar(&o.checkpointInterval, "checkpoint-interval", server.DefaultCheckpointInterval, "`time` between checkpoints, at least 100ms")
	fs.DurationVar(&o.republish, "republish-interval", server.DefaultRepublishInterval, "`time` after which an idle log has its checkpoint cosigned anew, so that the next quote's time is known closely")
	fs.DurationVar(&o.batchAge, "batch-age", server.DefaultBatchMaxAge, "`time` for which entries are gathered for one write")
	fs.BoolVar(&o.search, "search", false, "answer searches, from an index in the ledger's directory that follows the log")
	fs.BoolVar(&o.publicPayloads, "public-payloads", false, "serve measurement records and evidence to everyone")
	fs.BoolVar(&o.web, "web", true, "serve pages for people at /, which check what they show in the viewer's browser, and offer the trust folder")
	fs.BoolVar(&o.allowSoftwareKeys, "allow-software-keys", false, "enrol hosts without a TPM, for demonstrations; the trust folder must accept grade software")
}
