package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/go-sql-driver/mysql"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/keys"
	"github.com/imaledger/imaledger/cmd/internal/trustdir"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/server"
	"github.com/imaledger/imaledger/ledger/server/s3mysql"
)

// storageOptions say where a ledger is that is not in --dir.
type storageOptions struct{ url, database, lock string }

func (o *storageOptions) flags(fs *flag.FlagSet) {
	fs.StringVar(&o.url, "storage", "", "`URL` of what several front ends share, s3://LOG-BUCKET/PAYLOAD-BUCKET, with ?endpoint=URL if it is not AWS and &region= if the environment does not say; by default everything is in --dir")
	fs.StringVar(&o.database, "database", "", "`file` with the data source name of the MySQL database of --storage: USER:PASSWORD@tcp(HOST:3306)/DATABASE")
	fs.StringVar(&o.lock, "object-lock", "", "`lock` of each payload in --storage, governance:DAYS or compliance:DAYS, before which nobody can delete it, erasures included; by default none")
}

const storageHint = "--storage 's3://LOG-BUCKET/PAYLOAD-BUCKET?endpoint=https://s3.example', and for AWS itself without endpoint"

// config reads what the options name.
func (o *storageOptions) config(ctx context.Context) (c s3mysql.Config, err error) {
	u, err := url.Parse(o.url)
	if err != nil || u.Scheme != "s3" || u.Host == "" || strings.Count(u.Path, "/") != 1 || len(u.Path) < 2 {
		return c, cli.WithHint(cli.Usagef("--storage %q is no s3:// URL of two buckets", o.url), storageHint)
	}
	c.LogBucket, c.PayloadBucket = u.Host, u.Path[1:]
	var load []func(*config.LoadOptions) error
	for key, values := range u.Query() {
		switch key {
		case "endpoint":
			// Stores that are not AWS seldom have a name for each bucket.
			c.Endpoint, c.PathStyle = values[0], true
		case "region":
			load = append(load, config.WithRegion(values[0]))
		default:
			return c, cli.WithHint(cli.Usagef("--storage: unknown parameter %q", key), storageHint)
		}
	}
	if o.database == "" {
		return c, cli.WithHint(cli.Usagef("--storage without --database"), "a file with USER:PASSWORD@tcp(HOST:3306)/DATABASE, mode 0600")
	}
	dsn, err := keys.Secret(o.database)
	if err != nil {
		return c, err
	}
	c.DSN = strings.TrimSpace(string(dsn))
	if o.lock != "" {
		mode, days, _ := strings.Cut(o.lock, ":")
		c.Lock = types.ObjectLockRetentionMode(strings.ToUpper(mode))
		c.LockDays, err = strconv.Atoi(days)
		if err != nil || c.LockDays < 1 || mode != "governance" && mode != "compliance" {
			return c, cli.WithHint(cli.Usagef("--object-lock %q", o.lock), "governance:30 or compliance:30")
		}
	}
	sdk, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return c, cli.WithHint(cli.Usagef("--storage: %w", err), "credentials and region are found as by any program of AWS: AWS_ACCESS_KEY_ID and so on, ~/.aws, or the machine's role")
	}
	c.AWS = &sdk
	return c, nil
}

// open returns the storage of a ledger: what --storage names, or else the directory.
func (o *storageOptions) open(ctx context.Context, dir string, logger *slog.Logger) (s *server.Storage, close func(), err error) {
	if o.url == "" {
		return server.Directory(dir), func() {}, nil
	}
	// The process's one; what matters comes as an error too.
	if err := mysql.SetLogger(driverLog{logger}); err != nil {
		return nil, nil, err
	}
	c, err := o.config(ctx)
	if err != nil {
		return nil, nil, err
	}
	store, err := s3mysql.Open(ctx, c)
	if err != nil {
		return nil, nil, cli.WithHint(cli.Undecidedf("storage %s: %w", o.name(), err), "ledger/OPERATING.md, \"At scale\", has what buckets and database must be set to")
	}
	s = &server.Storage{
		Name: o.name(), Log: store.Log, Files: store.Files, Addenda: store.Addenda, Tree: store.DB, Sequencer: store.DB, Driver: store.Driver,
	}
	if store.Locks {
		s.Holder = store.Addenda
	}
	return s, func() { store.Close() }, nil
}

// driverLog takes what the database's driver has to say of connections.
type driverLog struct{ *slog.Logger }

func (l driverLog) Print(v ...any) { l.Debug(fmt.Sprint(v...), "from", "mysql") }

// name is the URL without what is only how to get there.
func (o *storageOptions) name() string {
	name, _, _ := strings.Cut(o.url, "?")
	return name
}

// migrate is the command migrate.
func migrate(ctx context.Context, o *options, stdout io.Writer) error {
	switch {
	case o.storage.url == "":
		return cli.WithHint(cli.Usagef("no --storage"), storageHint)
	case (o.from == "") == (o.to == ""):
		return cli.WithHint(cli.Usagef("one of --from and --to"), "--from DIRECTORY copies a directory to --storage, --to DIRECTORY copies --storage to a directory")
	}
	shared, end, err := o.storage.open(ctx, "", o.logger)
	if err != nil {
		return err
	}
	defer end()
	from, to := shared, server.Directory(o.to)
	if o.from != "" {
		from, to = server.Directory(o.from), shared
	}
	return o.copyLedger(ctx, from, to, "migrated", stdout)
}

func (o *options) copyLedger(ctx context.Context, from, to *server.Storage, done string, stdout io.Writer) error {
	trust, err := trustdir.Read(o.trust)
	if err != nil {
		return err
	}
	server.RouteLogs(nil)
	progress := cli.NewProgress(o.stderr)
	r, err := from.CopyTo(ctx, to, trust, progress.Show)
	progress.End()
	if err != nil {
		return undecided(err)
	}
	if _, err := fmt.Fprintf(stdout, "%s %s to %s: %s and %d addenda, of which %s new; %s deleted\n",
		done, r.Origin, to.Name, audit.Count(r.Size, "entry"), r.Addenda, audit.Count(r.Written, "file"), audit.Count(r.Deleted, "erased payload")); err != nil {
		return err
	}
	if r.Waiting > 0 && done == "migrated" {
		return cli.WithHint(cli.Undecidedf("%s not witnessed yet and not copied", audit.Count(r.Waiting, "entry")), "let the ledger that has them run until its witnesses have seen them, end it, and migrate again: what is there is not copied twice")
	}
	return nil
}
