package main

import (
	"context"
	"flag"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger/server"
)

// profileTimeout is the longest profile, and then some.
const profileTimeout = 3 * time.Minute

// metricsOptions are where the metrics are shown.
type metricsOptions struct {
	listen string
	pprof  bool
}

func (m *metricsOptions) flags(fs *flag.FlagSet) {
	fs.StringVar(&m.listen, "metrics-listen", "", "serve Prometheus metrics at /metrics on this `address`, which is nobody's but the operator's")
	fs.BoolVar(&m.pprof, "pprof", false, "serve Go's profiles at /debug/pprof/ there, too: they show what is in memory")
}

// serve shows the metrics of the ledger and of the process until the context ends.
func (m *metricsOptions) serve(ctx context.Context, config *server.Config, logger *slog.Logger) error {
	switch {
	case m.listen == "" && m.pprof:
		return cli.WithHint(cli.Usagef("--pprof without --metrics-listen"), "profiles are served where the metrics are: --metrics-listen 127.0.0.1:9180")
	case m.listen == "":
		return nil
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	config.Metrics = registry
	listener, err := net.Listen("tcp", m.listen)
	if err != nil {
		return cli.WithHint(cli.Usagef("%w", err), "--metrics-listen takes HOST:PORT; is another program using it?")
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	if m.pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	logger.Info("metrics", "url", "http://"+listener.Addr().String()+"/metrics")
	go func() {
		if err := cli.Serve(ctx, cli.NewServer(mux, readTimeout, profileTimeout, logger), listener); err != nil {
			logger.Error("metrics are no longer served", "error", err)
		}
	}()
	return nil
}
