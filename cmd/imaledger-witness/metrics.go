package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/imaledger/imaledger/cmd/internal/cli"
)

// serveMetrics shows the metrics of the witness and of the process until the
// context ends.
func serveMetrics(ctx context.Context, listen string, registry *prometheus.Registry, logger *slog.Logger) error {
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	listener, err := net.Listen("tcp", listen)
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
