package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/quote"
)

// demoPause is how often the demonstration adds a segment while it keeps
// serving.
const demoPause = 30 * time.Second

func newDemoCommand() *cobra.Command {
	var dir string
	var once bool
	cmd := &cobra.Command{
		Use:   "demo [--once] [--dir D]",
		Short: "See a ledger, three witnesses and two hosts work, on this machine alone",
		Long: `demo starts a ledger and three witnesses on the loopback interface, enrols two
hosts, replays real measurement lists onto their TPMs, has each part quoted,
logged and witnessed, and verifies the result as a stranger would. Then it alters
a byte, drops a record, and lets the ledger lie, and shows what the stranger sees.

The TPMs are swtpm where it is installed; otherwise a key in the process stands in
for them, and the evidence says so.

Without --once the ledger then serves on, and a host adds a segment every 30 s,
until it is interrupted (Ctrl-C).`,
		Example: "  imaledger demo --once --dir /tmp/demo",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), cmd.OutOrStdout(), dir, once)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "folder to work in and to leave trust/ and evidence.tar in; a new one if not given")
	cmd.Flags().BoolVar(&once, "once", false, "end after the verification instead of serving on")
	return cmd
}

func runDemo(ctx context.Context, out io.Writer, dir string, once bool) (err error) {
	if dir, err = demoDir(dir); err != nil {
		return err
	}
	p := &printer{w: out}
	p.f(`A Linux kernel with IMA lists every file before it is run, and extends a TPM
register with each record. imaledger cuts that list into segments, has the TPM
sign a quote over each, and logs them where independent witnesses look on. So
anyone can check later, offline, what a machine ran, in which order, and when.

`)
	d, err := startDemo(ctx, dir, time.Now)
	defer func() { err = errors.Join(err, d.close()) }()
	if err != nil {
		return err
	}
	p.f("1. A ledger (%s) and three witnesses run in this process.\n", d.url)
	if err := d.play(ctx, p); err != nil {
		return err
	}
	sources, err := d.bundle(ctx)
	if err != nil {
		return err
	}
	evidence := filepath.Join(dir, "evidence.tar")
	if err := writeBundle(evidence, sources); err != nil {
		return err
	}
	p.f("\n4. A stranger gets two things: %s and, from elsewhere,\n   the folder %s. With no network:\n\n", evidence, filepath.Join(dir, "trust"))
	report, err := verifyFile(d.trust, evidence)
	if err != nil {
		return err
	}
	if err := printReport(indent(out), d.trust, report); err != nil {
		return err
	}
	if report.Class() != ledger.Noted {
		return cli.Contradictedf("the demonstration's own evidence does not verify")
	}
	p.f(`
   So he knows what each machine ran, boot by boot and with nothing left out, and
   between which two moments by the witnesses' clocks. He took nobody's word for it.

5. Now someone cheats. What the stranger sees:

`)
	if err := d.lies(p, sources); err != nil {
		return err
	}
	p.f(`
Try next:
  %[2]s verify --trust %[1]s/trust %[1]s/evidence.tar
                   the same check again: it needs these two and nothing else
  tar xf %[1]s/evidence.tar -C %[1]s && head -c 1000 %[1]s/leaves/*
                   what the log has of each segment: plain text
  %[2]s inspect /sys/kernel/security/ima/binary_runtime_measurements
                   this machine's own list, as root, if its kernel has IMA
`, dir, invocation())
	if p.err != nil || once {
		return p.err
	}
	return d.keepServing(ctx, p)
}

// demoDir makes the folder; one that has a demonstration in it already is left
// alone.
func demoDir(dir string) (string, error) {
	if dir == "" {
		dir, err := os.MkdirTemp("", "imaledger-demo-")
		if err != nil {
			return "", cli.WithHint(cli.Usagef("%w", err), "name a folder to work in with --dir, or set TMPDIR")
		}
		return dir, nil
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return "", cli.WithHint(cli.Usagef("%s is not empty", dir), "name a folder that does not exist yet, or leave --dir out")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", cli.WithHint(cli.Usagef("--dir %s: %w", dir, err), "name a folder that does not exist yet, where you may make one")
	}
	return dir, nil
}

// A demoStep is a segment: records measured, and records that the kernel lists
// between the quote and the reading of the list.
type demoStep struct {
	records, excess int
	what            string
}

// play has the two hosts boot, measure and submit.
func (d *demo) play(ctx context.Context, p *printer) error {
	web, db := d.hosts[0], d.hosts[1]
	for _, h := range d.hosts {
		if err := h.boot(); err != nil {
			return err
		}
		if err := h.enrol(ctx, d); err != nil {
			return err
		}
	}
	how := "Each proved that its attestation key lives in the TPM whose\n   endorsement key the operator listed (grade pinned; the TPMs are swtpm)."
	if web.ek == nil {
		how = "No TPM and no swtpm is here, so keys in this process stand in\n   for them (grade software), which no trust folder but the demonstration's accepts."
	}
	p.f("2. Two hosts were enrolled. %s\n", how)
	p.f("3. They boot, measure and submit. The records are those of real kernels; only\n   boot_aggregate, the first of a boot, is made for the TPMs of this demonstration.\n\n")
	p.f("   host          segment  records      boot  what happened\n")
	for _, run := range []struct {
		host  *demoHost
		boot  bool
		steps []demoStep
	}{
		{web, false, []demoStep{{52, 2, "Debian 12 boots (Linux 6.1)"}, {65, 0, "goes on; the two records that came after the quote are here"}, {22, 0, "goes on"}}},
		{db, false, []demoStep{{63, 1, "Linux 7.3 boots"}, {122, 0, "the list leaves kernel memory"}, {71, 0, "a kexec: another kernel, the TPM not reset"}}},
		{web, true, []demoStep{{119, 0, "reboots"}, {22, 0, "goes on"}}},
	} {
		if run.boot {
			if err := run.host.boot(); err != nil {
				return err
			}
		}
		for _, step := range run.steps {
			if _, err := run.host.measure(step.records); err != nil {
				return err
			}
			s, err := run.host.seal(ctx, d, step.excess)
			if err != nil {
				return err
			}
			if err := p.segment(s, step.what); err != nil {
				return err
			}
		}
	}
	return p.err
}

func (p *printer) segment(s *ledger.Segment, what string) error {
	q, err := quote.Parse(s.Attest)
	if err != nil {
		return err
	}
	p.f("   %-12s  #%-6d  %3d to %-4d  %4d  %s\n", s.Host, s.Sequence, s.First, s.First+s.Count-1, q.ResetCount, what)
	return p.err
}

// invocation is how the program is called again.
func invocation() string {
	if _, err := exec.LookPath("imaledger"); err == nil {
		return "imaledger"
	}
	if program, err := os.Executable(); err == nil && strings.Contains(program, "go-build") {
		return "go run ./cmd/imaledger"
	}
	return os.Args[0]
}

// keepServing adds a segment now and then until it is interrupted.
func (d *demo) keepServing(ctx context.Context, p *printer) error {
	p.f("\nOpen %s/ in a browser: pin the keys of %s there, open a host and\na segment, watch it being checked, and alter a byte of it.\n", d.url, filepath.Join(d.dir, "trust"))
	p.f("The ledger serves on at %s and takes a segment every %v. Interrupt to end.\n", d.url, d.pause)
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(d.pause):
		}
		h, what := d.hosts[i%len(d.hosts)], "goes on"
		n, err := h.measure(20)
		if err == nil && n == 0 {
			what = "reboots"
			if err = h.boot(); err == nil {
				_, err = h.measure(60)
			}
		}
		if err != nil {
			return err
		}
		s, err := h.seal(ctx, d, 0)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.segment(s, what); err != nil {
			return err
		}
	}
}

// indent moves what is written to the right, a line's begin at a time.
func indent(w io.Writer) io.Writer { return &indenter{w: w, begin: true} }

type indenter struct {
	w     io.Writer
	begin bool
}

func (i *indenter) Write(b []byte) (int, error) {
	var out []byte
	for _, c := range b {
		if i.begin && c != '\n' {
			out = append(out, "   "...)
		}
		i.begin = c == '\n'
		out = append(out, c)
	}
	if _, err := i.w.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}

func ekName(public []byte) (ledger.Name, error) {
	ek, err := quote.ParseEK(public)
	if err != nil {
		return "", fmt.Errorf("endorsement key: %w", err)
	}
	return ledger.Name(ek.Name), nil
}
