// Imaledger-witness cosigns the checkpoints of the logs it is given, for
// whoever wants to know that everyone is shown the same log
// (https://c2sp.org/tlog-witness).
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/witness"
)

const name = "imaledger-witness"

const usage = `Usage: imaledger-witness --key FILE... --state DIR [--logs FILE | --log VKEY | --pull LIST]... [--listen ADDR]
       imaledger-witness --config FILE

Cosigns checkpoints of the given logs that are consistent with what it cosigned
before: POST /add-checkpoint, as https://c2sp.org/tlog-witness says. With an
ML-DSA-44 key it answers POST /sign-subtree too. GET /<origin hash>/checkpoint has
the newest checkpoint that it cosigned of a log, GET / a page for people, and GET
/healthz answers "ok" while it cosigns. It prints its verifier keys, one a line,
and the URL that it listens on.

The state directory is the witness's memory. Never roll it back, never restore
it from a backup and never use its key with another: the witness would cosign
two histories. If the state is lost, take a new key. The fence, a small file
beside the key, tells an old state from the newest; keep it with the key.

Example:
  imaledger keygen --kind witness --name witness.example/w1 --out witness.key
  imaledger-witness --key witness.key --state /var/lib/imaledger-witness \
      --log log.example+1a2b3c4d+AQ... --listen 127.0.0.1:8081

keygen notes beside the key that it has never signed, and the first start takes the
note; a key that was made elsewhere wants --new at its first start. A witness that
nobody can reach serves through bastions: --bastion bastion.example:443
--bastion-key bastion.key. A configuration file has a flag a line, without its dashes: "listen 0.0.0.0:8081".

Flags:
`

// Limits of the server.
const (
	readTimeout  = 15 * time.Second // a request is at most 256 KiB
	writeTimeout = 30 * time.Second // counted from the end of the header: reading, one fsync, answering
	failureCheck = time.Second      // how soon a witness that cosigns nothing any more ends
)

func main() { cli.Main(name, run) }

func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	var o options
	o.flags(fs)
	logger := cli.LogFlags(fs)
	fs.Usage = func() {
		io.WriteString(fs.Output(), usage)
		fs.PrintDefaults()
	}
	if err := cli.ParseFlags(fs, args, stdout); err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	log := logger(stderr)
	keys, err := o.keys.read()
	if err != nil {
		return err
	}
	sources, err := openSources(o.logs, o.pulls, o.state, keys, log)
	if err != nil {
		return err
	}
	config := witness.Config{Keys: keys, Logs: sources.logs(), Dir: o.state, Fence: o.fenceFile(), Expect: o.expect(), Logger: log, OnEquivocation: o.hook(ctx, log)}
	if o.metrics != "" {
		registry := prometheus.NewRegistry()
		config.Metrics = registry
		if err := serveMetrics(ctx, o.metrics, registry, log); err != nil {
			return err
		}
	}
	w, err := witness.New(config)
	if errors.Is(err, witness.ErrNoState) {
		return cli.WithHint(cli.Usagef("%w", err), "if it has never signed, start it with --new, this once")
	}
	if err != nil {
		return cli.Usagef("%w", err)
	}
	// After the server has ended: no request is under way when the directory is given up.
	return errors.Join(serve(ctx, w, &o, sources, keys, stdout, log), w.Close())
}

func serve(ctx context.Context, w *witness.Witness, o *options, sources *sources, keys []*witness.Key, stdout io.Writer, log *slog.Logger) error {
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return cli.WithHint(cli.Usagef("%w", err), "--listen takes HOST:PORT; is another program using it?")
	}
	// Before TLS, which the server must see.
	served, scheme := cli.LimitConnections(listener, o.connections, nil), "http"
	if o.tls.Certificate != "" {
		config, err := o.tls.Config(log)
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		served, scheme = tls.NewListener(served, config), "https"
	}
	mux := http.NewServeMux()
	mux.Handle("/", w)
	mux.Handle("GET /{$}", &page{witness: w, keys: keys, now: time.Now})
	mux.HandleFunc("GET /healthz", func(response http.ResponseWriter, _ *http.Request) {
		if err := w.Err(); err != nil {
			http.Error(response, "nothing is cosigned; the log of this witness says why", http.StatusServiceUnavailable)
			return
		}
		io.WriteString(response, "ok\n")
	})
	// Lines that a script can read, in a fixed order.
	for _, key := range keys {
		fmt.Fprintln(stdout, key.VKey())
	}
	fmt.Fprintf(stdout, "%s://%s/\n", scheme, listener.Addr())
	ctx, stop := context.WithCancelCause(ctx)
	// The witness alone: a bastion's other backends would be of one origin with a page.
	wait, err := o.bastions.serve(ctx, w, log)
	if err != nil {
		stop(nil)
		return errors.Join(err, listener.Close())
	}
	defer wait()
	defer stop(nil)
	go watch(ctx, w, stop)
	go sources.follow(ctx, w)
	err = cli.Serve(ctx, cli.NewServer(mux, readTimeout, writeTimeout, log), served)
	if failure := w.Err(); failure != nil {
		return errors.Join(failure, err)
	}
	return err
}

// watch ends the service when the witness cosigns nothing any more: a service
// manager starts it again where that can help, and people see that it is down.
func watch(ctx context.Context, w *witness.Witness, stop context.CancelCauseFunc) {
	tick := time.NewTicker(failureCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := w.Err(); err != nil {
				stop(err)
				return
			}
		}
	}
}
