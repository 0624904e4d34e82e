// Imaledger-agent is the host's part of imaledger: it cuts the kernel's IMA
// measurement list into segments that each end at a quote of the TPM, submits
// them to a ledger, and deletes from kernel memory what it holds a verified
// receipt for.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/imaledger/imaledger/cmd/internal/cli"
)

const name = "imaledger-agent"

const usage = `Usage: imaledger-agent COMMAND [flags]

Commands:
  check    say whether this host can be used, and what is missing; changes nothing
  enrol    have the ledger enrol this host's TPM
  once     make one round: quote, cut, submit, verify the receipt, delete
  run      make rounds until it is stopped (systemd runs this)
  status   show what the agent did last, and what is wrong
  resume   have a running agent try again at once; without one, make a round
  export   write the untrimmed list of this boot, as if nothing was ever deleted

imaledger-agent COMMAND -h lists a command's flags. Each flag can stand in the
configuration file, a line each: its name, a space, and its value.

A new host, with the ledger's trust folder copied to /etc/imaledger/trust:
  echo 'ledger https://ledger.example/' >/etc/imaledger/agent.conf
  imaledger-agent check
  imaledger-agent once
  systemctl enable --now imaledger-agent
`

func main() { cli.Main(name, run) }

// A command is what a subcommand does once its flags are read.
type command func(ctx context.Context, o *options, stdout io.Writer) error

var commands = map[string]command{
	"check": check, "enrol": enrol, "once": once, "run": loop, "status": status, "resume": resume, "export": export,
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
	if !ok {
		return cli.WithHint(cli.Usagef("unknown command %q", args[0]), "%s -h lists the commands", name)
	}
	o, err := readOptions(args[0], args[1:], stdout)
	if err != nil {
		return err
	}
	o.logger = o.log(stderr)
	return do(ctx, o, stdout)
}

// readOptions reads the command line, and then the configuration file for what
// the command line does not say.
func readOptions(command string, args []string, stdout io.Writer) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet(name+" "+command, flag.ContinueOnError)
	o.flags(fs, command)
	if err := cli.ParseFlags(fs, args, stdout); err != nil {
		return nil, err
	}
	given := make(map[string]bool)
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	content, err := os.ReadFile(o.config)
	switch {
	case errors.Is(err, os.ErrNotExist) && !given["config"]:
		return o, nil // the flags may say it all
	case err != nil:
		return nil, cli.Usagef("configuration: %w", err)
	}
	// The file is the same for all commands, so each knows the others' names.
	all := flag.NewFlagSet(name, flag.ContinueOnError)
	new(options).flags(all, "")
	c := cli.Config{File: o.config, Content: string(content), Known: all, Hint: name + " run -h lists what can stand there"}
	return o, c.Apply(fs)
}
