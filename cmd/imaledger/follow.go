package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/monitor"
)

// minInterval is the shortest time between two audits.
const minInterval = time.Second

func newFollowCommand() *cobra.Command {
	var f follower
	cmd := &cobra.Command{
		Use:   "follow --ledger URL --trust DIR --state DIR",
		Short: "Audit a log again and again, and alert",
		Long: `follow audits a log as audit does, and then again at each interval: what is new of it,
and that it continues what it has shown before. Each finding is an alert, once for as
long as it stands: a line of JSON on stdout, a program that is run with it on its
standard input, a POST to a webhook, and metrics for Prometheus. An alert names the
file with its evidence, which imaledger verify or imaledger verify-equivocation checks
without this machine.

A ledger that does not answer is tried again at the next interval, and shows in the
metrics: imaledger_follow_last_success_seconds stands still.`,
		Example: `  imaledger follow --ledger https://ledger.example/ --trust trust/ --state audit/ --evidence found/ --exec ./page-me
  imaledger follow --ledger https://ledger.example/ --trust trust/ --state audit/ --exit-on-finding`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.state == "" {
				return cli.WithHint(cli.Usagef("no --state"), "what the log has shown before is what it is held to")
			}
			if f.interval < minInterval {
				return cli.Usagef("--interval %v: at least %v", f.interval, minInterval)
			}
			if err := f.open(); err != nil {
				return err
			}
			return f.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f.flags(cmd)
	fs := cmd.Flags()
	fs.DurationVar(&f.interval, "interval", time.Minute, "from the end of one audit to the next")
	fs.StringVar(&f.evidence, "evidence", "", "`folder` for the evidence of what was found")
	fs.StringVar(&f.program, "exec", "", "`program` to run with each alert on its standard input")
	fs.StringVar(&f.webhook, "webhook", "", "`URL` to post each alert to")
	fs.StringVar(&f.metricsListen, "metrics-listen", "", "serve Prometheus metrics at /metrics on this `address`")
	fs.BoolVar(&f.exitOnFinding, "exit-on-finding", false, "end with the first alert, and with its exit code")
	return cmd
}

// A follower audits a log again and again.
type follower struct {
	auditing
	interval                   time.Duration
	evidence, program, webhook string
	metricsListen              string
	exitOnFinding              bool

	alerted map[ledger.Finding]bool // what the last audit found, without texts
	metrics *followMetrics
}

func (f *follower) run(ctx context.Context, stdout, stderr io.Writer) error {
	f.metrics = newFollowMetrics()
	if f.metricsListen != "" {
		if err := f.metrics.serve(ctx, f.metricsListen, stderr); err != nil {
			return err
		}
	}
	for {
		r, err := f.audit(ctx, stderr)
		if ctx.Err() != nil {
			return nil // what follows is ended by a signal, in order
		}
		f.metrics.took(r, err)
		if err != nil {
			fmt.Fprintf(stderr, "%s: %v\n", time.Now().UTC().Format(time.RFC3339), err)
		} else if class, err := f.alert(ctx, r, stdout, stderr); err != nil {
			return err
		} else if f.exitOnFinding && class != ledger.Noted {
			return cli.Exit(int(class))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(f.interval):
		}
	}
}

// alert alerts of what the audit before did not find, and returns the worst of it. A
// finding that stands is one, however its text goes on to count.
func (f *follower) alert(ctx context.Context, r *monitor.Report, stdout, stderr io.Writer) (ledger.Class, error) {
	var found []ledger.Finding
	stands := make(map[ledger.Finding]bool, len(r.Findings))
	for _, finding := range r.Findings {
		key := ledger.Finding{Code: finding.Code, Subject: finding.Subject, Entry: finding.Entry}
		if stands[key] = true; !f.alerted[key] {
			found = append(found, finding)
		}
	}
	f.alerted = stands
	for _, finding := range found {
		a := &alert{Time: time.Now().UTC().Format(time.RFC3339), Log: r.Log, Size: r.Size, Verdict: verdictOf(finding.Class()), Finding: finding}
		if f.evidence != "" {
			file, err := f.collect(ctx, r, finding)
			if err != nil {
				a.Missing = err.Error()
			}
			a.Evidence = file
		}
		if err := a.send(ctx, f, stdout, stderr); err != nil {
			return ledger.Noted, err
		}
	}
	return ledger.Worst(found), nil
}

// followMetrics are what Prometheus is shown.
type followMetrics struct {
	registry                              *prometheus.Registry
	size, judged, witnessed, lastSuccess  prometheus.Gauge
	audits, failures                      prometheus.Counter
	findings                              *prometheus.GaugeVec
	erased, unreadable, hosts, violations prometheus.Gauge
}

func newFollowMetrics() *followMetrics {
	m := &followMetrics{registry: prometheus.NewRegistry()}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "imaledger_follow_" + name, Help: help})
		m.registry.MustRegister(g)
		return g
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "imaledger_follow_" + name, Help: help})
		m.registry.MustRegister(c)
		return c
	}
	m.size = gauge("size", "Entries of the newest checkpoint that verified.")
	m.judged = gauge("judged", "Entries that were judged.")
	m.witnessed = gauge("witnessed_seconds", "Time by which witnesses had seen that checkpoint, in Unix seconds.")
	m.lastSuccess = gauge("last_success_seconds", "End of the last audit that could be made, in Unix seconds.")
	m.hosts = gauge("hosts", "Hosts of the log.")
	m.erased = gauge("erased", "Segments whose records were erased.")
	m.unreadable = gauge("unreadable", "Addenda that the ledger does not let this auditor read.")
	m.violations = gauge("violations", "Records whose contents no register binds.")
	m.audits = counter("audits_total", "Audits that could be made.")
	m.failures = counter("failures_total", "Audits that could not be made: the ledger did not answer.")
	m.findings = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "imaledger_follow_findings", Help: "What is undecided or contradicted now, by class and code."}, []string{"class", "code"})
	m.registry.MustRegister(m.findings)
	return m
}

func (m *followMetrics) took(r *monitor.Report, err error) {
	if err != nil {
		m.failures.Inc()
		return
	}
	m.audits.Inc()
	m.lastSuccess.SetToCurrentTime()
	m.size.Set(float64(r.Size))
	m.judged.Set(float64(r.Judged))
	m.witnessed.Set(float64(r.Witnessed))
	m.hosts.Set(float64(r.Hosts))
	m.erased.Set(float64(r.Erased))
	m.unreadable.Set(float64(r.Unreadable))
	m.violations.Set(float64(r.Violations))
	m.findings.Reset()
	for _, f := range r.Findings {
		m.findings.WithLabelValues(f.Class().String(), string(f.Code)).Inc()
	}
}

func (m *followMetrics) serve(ctx context.Context, address string, stderr io.Writer) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return cli.WithHint(cli.Usagef("%w", err), "--metrics-listen takes HOST:PORT; is another program using it?")
	}
	fmt.Fprintf(stderr, "metrics at http://%s/metrics\n", listener.Addr())
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	go serveUntil(ctx, mux, listener, stderr)
	return nil
}

// serveUntil serves until the context ends.
func serveUntil(ctx context.Context, h http.Handler, listener net.Listener, stderr io.Writer) {
	server := cli.NewServer(h, 10*time.Second, 10*time.Second, slog.New(slog.DiscardHandler))
	if err := cli.Serve(ctx, server, listener); err != nil {
		fmt.Fprintln(stderr, err)
	}
}
