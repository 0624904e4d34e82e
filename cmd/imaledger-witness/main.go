// Imaledger-witness cosigns the checkpoints of the logs it is given, for
// whoever wants to know that everyone is shown the same log
// (https://c2sp.org/tlog-witness).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/witness"
)

const name = "imaledger-witness"

const usage = `Usage: imaledger-witness --key FILE... --state DIR (--log VKEY | --logs FILE)... [--listen ADDR]

Cosigns checkpoints of the given logs that are consistent with what it cosigned
before: POST /add-checkpoint, as https://c2sp.org/tlog-witness says. With an
ML-DSA-44 key it answers POST /sign-subtree too. GET /<origin hash>/checkpoint has
the newest checkpoint that it cosigned of a log, GET /healthz answers "ok". It
prints its verifier keys, one a line, and the URL that it listens on.

The state directory is the witness's memory. Never roll it back, never restore
it from a backup and never use its key with another: the witness would cosign
two histories. If the state is lost, take a new key. The fence, a small file
beside the key, tells an old state from the newest; keep it with the key.

Example:
  imaledger keygen --kind witness --name witness.example/w1 --out witness.key
  imaledger-witness --key witness.key --state /var/lib/imaledger-witness \
      --log log.example+1a2b3c4d+AQ... --listen 127.0.0.1:8081

Flags:
`

// Limits of the server and of the files it reads.
const (
	readTimeout  = 15 * time.Second // a request is at most 256 KiB
	writeTimeout = 30 * time.Second // counted from the end of the header: reading, one fsync, answering
	maxKeyFile   = 4 << 10
	maxLogsFile  = 4 << 20
	ownerOnly    = 0o077 // permissions of others that a private key must not have
	fenceExt     = ".fence"
	failureCheck = time.Second // how soon a witness that cosigns nothing any more ends
)

func main() { cli.Main(name, run) }

func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	listen := fs.String("listen", "127.0.0.1:8081", "serve HTTP on this `address`; port 0 takes a free one")
	var keyFiles []string
	fs.Func("key", "`file` of a private key of the witness (imaledger keygen --kind witness); repeated, each signs", func(file string) error {
		keyFiles = append(keyFiles, file)
		return nil
	})
	dir := fs.String("state", "", "state `directory`, made if it does not exist")
	fence := fs.String("fence", "", "`file` that knows how far the state has come, apart from it; the first --key with "+fenceExt+" after it unless given")
	var logs []witness.Log
	fs.Func("log", "verifier key of a log to cosign for, `vkey`; may be repeated", func(vkey string) error {
		l, err := witness.ParseLog(vkey)
		logs = append(logs, l)
		return err
	})
	fs.Func("logs", "`file` of such keys, one a line; # begins a comment line; may be repeated", func(file string) error {
		more, err := readLogs(file)
		logs = append(logs, more...)
		return err
	})
	logger := cli.LogFlags(fs)
	fs.Usage = func() {
		io.WriteString(fs.Output(), usage)
		fs.PrintDefaults()
	}
	if err := cli.ParseFlags(fs, args, stdout); err != nil {
		return err
	}
	switch {
	case len(keyFiles) == 0:
		return cli.WithHint(cli.Usagef("no --key"), "imaledger keygen --kind witness --name NAME --out FILE makes one")
	case *dir == "":
		return cli.WithHint(cli.Usagef("no --state"), "name a directory that is kept as carefully as the key, and never rolled back")
	case len(logs) == 0:
		return cli.WithHint(cli.Usagef("no log"), "--log takes the vkey that the log prints, --logs a file of them")
	}
	var keys []*witness.Key
	for _, file := range keyFiles {
		key, err := readKey(file)
		if err != nil {
			return err
		}
		keys = append(keys, key)
	}
	log := logger(stderr)
	if *fence == "" {
		*fence = keyFiles[0] + fenceExt
	}
	w, err := witness.New(witness.Config{Keys: keys, Logs: logs, Dir: *dir, Fence: *fence, Logger: log})
	if err != nil {
		return cli.Usagef("%w", err)
	}
	// After the server has ended: no request is under way when the directory is given up.
	return errors.Join(serve(ctx, w, keys, *listen, stdout, log), w.Close())
}

func serve(ctx context.Context, w *witness.Witness, keys []*witness.Key, listen string, stdout io.Writer, log *slog.Logger) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return cli.WithHint(cli.Usagef("%w", err), "--listen takes HOST:PORT; is another program using it?")
	}
	mux := http.NewServeMux()
	mux.Handle("/", w)
	mux.HandleFunc("GET /healthz", func(response http.ResponseWriter, _ *http.Request) {
		io.WriteString(response, "ok\n")
	})
	// Lines that a script can read, in a fixed order.
	for _, key := range keys {
		fmt.Fprintln(stdout, key.VKey())
	}
	fmt.Fprintf(stdout, "http://%s/\n", listener.Addr())
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go watch(ctx, w, stop)
	err = cli.Serve(ctx, cli.NewServer(mux, readTimeout, writeTimeout, log), listener)
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

func readKey(file string) (*witness.Key, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, cli.Usagef("read the key: %w", err)
	}
	if mode := info.Mode().Perm(); mode&ownerOnly != 0 {
		return nil, cli.WithHint(cli.Usagef("key file %s can be read by others (mode %04o)", file, mode), "chmod 600 %s", file)
	}
	text, err := readFile(file, maxKeyFile)
	if err != nil {
		return nil, cli.Usagef("read the key: %w", err)
	}
	key, err := witness.ParseKey(text)
	if err != nil {
		return nil, cli.Usagef("%s: %w", file, err)
	}
	return key, nil
}

// readLogs reads a file of verifier keys. Empty lines, and lines that begin with
// #, are left out.
func readLogs(file string) ([]witness.Log, error) {
	text, err := readFile(file, maxLogsFile)
	if err != nil {
		return nil, err
	}
	var logs []witness.Log
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		l, err := witness.ParseLog(line)
		if err != nil {
			return nil, fmt.Errorf("%s line %d: %w", file, n, err)
		}
		logs = append(logs, l)
	}
	if len(logs) == 0 {
		return nil, fmt.Errorf("%s: no key in it", file)
	}
	return logs, nil
}

// readFile reads a text file of at most limit bytes.
func readFile(name string, limit int64) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return "", err
	}
	if int64(len(text)) > limit {
		return "", fmt.Errorf("%s: larger than %d bytes", name, limit)
	}
	return string(text), nil
}
