package main

import (
	"context"
	"flag"
	"log/slog"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger/server"
)

// metricsOptions are where the metrics are shown.
type metricsOptions struct{ listen string }

func (m *metricsOptions) flags(fs *flag.FlagSet) {
	fs.StringVar(&m.listen, "metrics-listen", "", "serve Prometheus metrics at /metrics on this `address`, which is nobody's but the operator's")
}

// serve shows the metrics of the ledger and of the process until the context ends.
func (m *metricsOptions) serve(ctx context.Context, config *server.Config, logger *slog.Logger) error {
	if m.listen == "" {
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
	logger.Info("metrics", "url", "http://"+listener.Addr().String()+"/metrics")
	go func() {
		if err := cli.Serve(ctx, cli.NewServer(mux, readTimeout, readTimeout, logger), listener); err != nil {
			logger.Error("metrics are no longer served", "error", err)
		}
	}()
	return nil
}
