package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/tpm/securityfs"
)

// with opens the agent, has f use it, and writes the status.
func (o *options) with(f func(*agent.Agent) error) (err error) {
	c, err := o.agentConfig()
	if err != nil {
		return err
	}
	source, err := securityfs.Open(o.securityfs)
	if err != nil {
		return notYet(err)
	}
	if c.Delete, err = o.deletion(source.Flavour()); err != nil {
		return err
	}
	c.Shrinks = source.Flavour() != securityfs.ReadOnly
	d, err := o.device()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	c.Kernel, c.TPM = source, d
	a, err := agent.New(c)
	if errors.Is(err, agent.ErrLocked) {
		return cli.WithHint(cli.Undecidedf("%w", err), "%s resume has it make a round now", name)
	}
	if err != nil {
		return cli.Undecidedf("%w", err)
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	d.enrolled = a.EnrolledAK
	if err := o.writePID(); err != nil {
		return cli.Undecidedf("%w", err)
	}
	return f(a)
}

// notYet is an error of the host's, and not of evidence.
func notYet(err error) error {
	return cli.WithHint(cli.Undecidedf("%w", err), "%s check says what this host lacks", name)
}

func once(ctx context.Context, o *options, stdout io.Writer) error {
	return o.with(func(a *agent.Agent) error {
		err := a.Once(ctx)
		s := a.Status()
		err = errors.Join(err, o.writeStatus(s))
		if err != nil {
			return failed(s, err)
		}
		return printStatus(stdout, s)
	})
}

func enrol(ctx context.Context, o *options, stdout io.Writer) error {
	return o.with(func(a *agent.Agent) error {
		err := a.Enrol(ctx)
		s := a.Status()
		if err = errors.Join(err, o.writeStatus(s)); err != nil {
			return failed(s, err)
		}
		fmt.Fprintf(stdout, "%s is enrolled with %s, grade %s\n", s.Host, s.Log, s.Grade)
		return nil
	})
}

// failed gives an error the mend of the first problem as its hint. A ledger that
// signed two histories is contradicted by evidence.
func failed(s *agent.Status, err error) error {
	code := cli.Undecidedf
	if errors.Is(err, agent.ErrSplit) {
		code = cli.Contradictedf
	}
	for _, p := range s.Problems {
		if p.Mend != "" {
			return cli.WithHint(code("%w", err), "%s", p.Mend)
		}
	}
	return code("%w", err)
}

func loop(ctx context.Context, o *options, _ io.Writer) error {
	return o.with(func(a *agent.Agent) error {
		wake := make(chan os.Signal, 1)
		signal.Notify(wake, syscall.SIGUSR1)
		defer signal.Stop(wake)
		stopping := context.AfterFunc(ctx, func() { o.complain("notify", notify("STOPPING=1")) })
		defer stopping()
		ready := false
		a.Run(ctx, o.schedule, wake, func(err error) {
			s := a.Status()
			o.complain("status", o.writeStatus(s))
			o.complain("metrics", o.writeMetrics(s))
			state := "STATUS=" + sentence(s)
			if !ready {
				ready, state = true, "READY=1\n"+state
			}
			o.complain("notify", notify(state))
		})
		return nil
	})
}

// complain logs an error of what only tells others how the agent is.
func (o *options) complain(what string, err error) {
	if err != nil {
		o.logger.Warn("agent: "+what, "error", err)
	}
}

const pidFile = "pid"

func (o *options) writePID() error {
	if err := os.MkdirAll(o.run, 0o755); err != nil {
		return err
	}
	return os.WriteFile(o.runFile(pidFile), fmt.Appendln(nil, os.Getpid()), 0o644)
}

// running returns the process of the agent that has the directory.
func (o *options) running() (pid int, ok bool) {
	if !agent.Running(o.state) {
		return 0, false
	}
	b, err := os.ReadFile(o.runFile(pidFile))
	if err != nil {
		return 0, false
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
	return pid, err == nil
}

func resume(ctx context.Context, o *options, stdout io.Writer) error {
	pid, ok := o.running()
	if !ok {
		return once(ctx, o, stdout)
	}
	if err := syscall.Kill(pid, syscall.SIGUSR1); err != nil {
		return cli.Undecidedf("process %d: %w", pid, err)
	}
	fmt.Fprintf(stdout, "the agent (process %d) makes a round now; %s status shows what came of it\n", pid, name)
	return nil
}

func export(_ context.Context, o *options, stdout io.Writer) (err error) {
	source, err := securityfs.Open(o.securityfs)
	if err != nil {
		return notYet(err)
	}
	bank, err := parseBank(o.bank)
	if err != nil {
		return err
	}
	w := stdout
	if o.out != "-" {
		f, err := os.Create(o.out)
		if err != nil {
			return cli.Usagef("%w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		w = f
	}
	if err := agent.Export(o.state, source, bank, w); err != nil {
		return cli.Undecidedf("%w", err)
	}
	return nil
}
