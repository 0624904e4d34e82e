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
	"os"
	"strings"

	"github.com/imaledger/imaledger/cmd/internal/cli"
)

const name = "imaledgerd"

const usage = `Usage: imaledgerd COMMAND [flags]

Commands:
  init       make the keys, the trust folder and the configuration of a new ledger
  serve      run the ledger in one directory (systemd runs this)
  registrar  be a registrar of somebody else's ledger
  check      read everything that a ledger keeps, and say whether it is sound
  backup     copy a ledger, which may be running, to a directory
  restore    bring a ledger back from a backup
  rebuild    make again what follows from the entries: tiles, and the tree's state
  migrate    copy a ledger from a directory to S3 and MySQL, or back

imaledgerd COMMAND -h lists a command's flags. Each flag of serve can stand in the
configuration file, a line each: its name, a space, and its value; or in the
environment, as IMALEDGERD_ and its name in capitals, with _ for -. The command
line goes before the environment, and that before the file. A flag that may be
repeated has several lines in the file, and spaces in the environment.

A new ledger of three witnesses:
  imaledgerd init --origin ledger.example/2026 --grade first-use \
      --witness "w1 VKEY https://w1.example/" --witness ... --witness ...
  imaledgerd serve
`

func main() { cli.Main(name, run) }

// A command is what a subcommand does once its flags are read.
type command func(ctx context.Context, o *options, stdout io.Writer) error

var commands = map[string]command{
	"init": initLedger, "serve": serveLedger, "registrar": serveRegistrar, "check": checkLedger, "backup": backup, "restore": restore, "rebuild": rebuild, "migrate": migrate,
}

func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return cli.WithHint(cli.Usagef("no command"), "%s -h lists the commands", name)
	}
	switch args[0] {
	case "-h", "-help", "--help", "help":
		io.WriteString(stdout, usage)
		return flag.ErrHelp
	case "-version", "--version":
		fmt.Fprintf(stdout, "%s %s\n", name, cli.Version())
		return flag.ErrHelp
	}
	do, ok := commands[args[0]]
	switch {
	case !ok && strings.HasPrefix(args[0], "-"):
		return cli.WithHint(cli.Usagef("no command before %s", args[0]), "%s serve %s ... runs a ledger", name, args[0])
	case !ok:
		return cli.WithHint(cli.Usagef("unknown command %q", args[0]), "%s -h lists the commands", name)
	}
	o, err := readOptions(args[0], args[1:], stdout)
	if err != nil {
		return err
	}
	o.logger, o.stderr = o.log(stderr), stderr
	return do(ctx, o, stdout)
}

// readOptions reads the command line, and then the environment and the
// configuration file for what the command line does not say.
func readOptions(command string, args []string, stdout io.Writer) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet(name+" "+command, flag.ContinueOnError)
	o.flags(fs, command)
	if err := cli.ParseFlags(fs, args, stdout); err != nil {
		return nil, err
	}
	given := false
	fs.Visit(func(f *flag.Flag) { given = given || f.Name == "config" })
	if command == "init" {
		return o, nil // it writes the file
	}
	content, err := os.ReadFile(o.configFile)
	if errors.Is(err, os.ErrNotExist) && !given {
		err = nil // the flags may say it all
	}
	if err != nil {
		return nil, cli.Usagef("configuration: %w", err)
	}
	// The file is the same for all commands, so each knows the others' names.
	all := flag.NewFlagSet(name, flag.ContinueOnError)
	new(options).flags(all, "")
	c := cli.Config{
		File: o.configFile, Content: string(content), Known: all, Prefix: "IMALEDGERD_", Environ: os.Environ(),
		Hint: name + " serve -h lists what can stand there",
	}
	return o, c.Apply(fs)
}
