package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/trustdir"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/server"
)

// checkLedger is the command check.
func checkLedger(ctx context.Context, o *options, stdout io.Writer) error {
	trust, err := trustdir.Read(o.trust)
	if err != nil {
		return err
	}
	server.RouteLogs(nil)
	progress := cli.NewProgress(o.stderr)
	storage, end, err := o.storage.open(ctx, o.dir, o.logger)
	if err != nil {
		return err
	}
	defer end()
	r, err := storage.Check(ctx, trust, progress.Show)
	progress.End()
	if err != nil {
		return cli.WithHint(undecided(err), "--dir is the directory of a ledger, or of a backup")
	}
	if o.json {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		err = e.Encode(r)
	} else {
		err = printCheck(stdout, r)
	}
	if err != nil {
		return err
	}
	if class := r.Class(); class != ledger.Noted {
		return cli.Exit(int(class))
	}
	return nil
}

func printCheck(w io.Writer, r *server.CheckReport) (err error) {
	print := func(format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintf(w, format, args...)
		}
	}
	for _, d := range r.Damage {
		print("damaged: %s\n", d)
	}
	for _, u := range r.Unknown {
		print("not known: %s\n", u)
	}
	for _, f := range r.Findings {
		print("%s\n", f)
	}
	for _, e := range r.Erasures {
		print("%s %s\n", audit.Count(e.Segments, "segment"), &e.ErasedSegment)
	}
	verdict := map[ledger.Class]string{ledger.Noted: "sound", ledger.Contradicted: "NOT SOUND", ledger.Undecided: "NOT WHOLE"}[r.Class()]
	print("%s: %s, %s of %s, %d of them cosigned; %s, %d of them erased; %d addenda, and %s that no entry names\n",
		verdict, r.Origin, audit.Count(r.Size, "entry"), audit.Count(r.Hosts, "host"), r.Published, audit.Count(r.Segments, "segment"), r.Erased, r.Addenda, audit.Count(r.Unnamed, "file"))
	return err
}

// undecided is for what could not be looked at, as far as the error does not say
// more.
func undecided(err error) error {
	if cli.Code(err) == cli.ExitUsage {
		return cli.Usagef("%w", err)
	}
	return cli.Undecidedf("%w", err)
}

// backup is the command backup.
func backup(ctx context.Context, o *options, stdout io.Writer) error {
	if o.to == "" {
		return cli.WithHint(cli.Usagef("no --to"), "name the directory of the backup; the next one goes to the same")
	}
	// The line that scripts read has the whole path.
	to, err := filepath.Abs(o.to)
	if err != nil {
		return err
	}
	storage, end, err := o.storage.open(ctx, o.dir, o.logger)
	if err != nil {
		return err
	}
	defer end()
	return o.copyLedger(ctx, storage, server.Directory(to), "backed up", stdout)
}

// restore is the command restore.
func restore(ctx context.Context, o *options, stdout io.Writer) error {
	if o.from == "" {
		return cli.WithHint(cli.Usagef("no --from"), "name the directory of the backup")
	}
	if list, err := os.ReadDir(o.dir); err == nil && len(list) > 0 && o.storage.url == "" {
		return cli.WithHint(cli.Usagef("%s is not empty", o.dir), "move what is there away, and keep it: it may hold entries that the backup does not")
	}
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return err
	}
	storage, end, err := o.storage.open(ctx, dir, o.logger)
	if err != nil {
		return err
	}
	defer end()
	if err := o.copyLedger(ctx, server.Directory(o.from), storage, "restored", stdout); err != nil {
		return err
	}
	fmt.Fprintln(o.stderr, "The ledger starts once its witnesses have said that they have seen no more of the log than the backup has.")
	return nil
}

// rebuild is the command rebuild.
func rebuild(ctx context.Context, o *options, stdout io.Writer) error {
	trust, err := trustdir.Read(o.trust)
	if err != nil {
		return err
	}
	progress := cli.NewProgress(o.stderr)
	storage, end, err := o.storage.open(ctx, o.dir, o.logger)
	if err != nil {
		return err
	}
	defer end()
	n, err := storage.Rebuild(ctx, trust, progress.Show)
	progress.End()
	if err != nil {
		return cli.WithHint(undecided(err), "entries that were altered come from a backup: imaledgerd restore")
	}
	_, err = fmt.Fprintf(stdout, "%s made again, missing or other than the entries say\n", audit.Count(n, "file"))
	return err
}
