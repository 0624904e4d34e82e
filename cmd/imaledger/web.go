package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/trustdir"
	"github.com/imaledger/imaledger/web"
)

const (
	webListen   = "127.0.0.1:8090"
	webTransfer = time.Hour // the longest that records of 1 GiB may take to be sent
	bundleEnd   = ".tar"
)

func newWebCommand() *cobra.Command {
	var listen, trustDir, ledgerURL, tokenFile string
	cmd := &cobra.Command{
		Use:   "web [--trust DIR] (--ledger URL | FOLDER)",
		Short: "Serve the pages from this machine, against a ledger or a folder of bundles",
		Long: `web serves the pages that a ledger has, from this program: what they check is
checked by code of yours, whoever runs the ledger. Against a ledger it passes on
what the pages ask for, and nothing but reading; of a folder it serves the bundles
of evidence, which are files that end in .tar.

It listens on this machine alone unless told otherwise, ends when it is interrupted
(Ctrl-C), and prints the address to open in a browser. The trust folder is offered
to the browser, where you look at its keys and pin them.`,
		Example: `  imaledger web --trust trust/ --ledger https://ledger.example/
  imaledger web --trust trust/ bundles/`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (ledgerURL == "") == (len(args) == 0) {
				return cli.WithHint(cli.Usagef("want a ledger or a folder, and not both"), "usage: %s; with --help, all of it", cmd.UseLine())
			}
			var next http.Handler
			var err error
			if ledgerURL != "" {
				next, err = ledgerReader(ledgerURL, tokenFile)
			} else {
				next, err = bundleFolder(args[0])
			}
			if err != nil {
				return err
			}
			config := web.Config{Next: next}
			if trustDir != "" {
				if config.Trust, err = trustdir.Offer(trustDir); err != nil {
					return err
				}
			}
			pages, err := web.New(config)
			if err != nil {
				return err
			}
			return serveWeb(cmd.Context(), listen, pages, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&listen, "listen", webListen, "address to listen on; port 0 takes a free one")
	cmd.Flags().StringVar(&trustDir, "trust", "", "trust folder to offer to the browser")
	cmd.Flags().StringVar(&ledgerURL, "ledger", "", "URL of a ledger, or of a static server with its files")
	cmd.Flags().StringVar(&tokenFile, "token-file", "", "file with a token of the ledger's access list, for what is not public")
	return cmd
}

// serveWeb serves until the context ends.
func serveWeb(ctx context.Context, listen string, handler http.Handler, stdout, stderr io.Writer) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return cli.WithHint(cli.Usagef("%w", err), "--listen takes HOST:PORT; is another program using it?")
	}
	fmt.Fprintf(stdout, "http://%s/\n", listener.Addr())
	if at, err := netip.ParseAddrPort(listener.Addr().String()); err == nil && at.Addr().IsLoopback() {
		handler = ownHost(handler)
	} else {
		fmt.Fprintln(stderr, "everyone who reaches this address reads what you may read; and browsers check signatures on pages from this machine or by HTTPS alone")
	}
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return cli.Serve(ctx, cli.NewServer(handler, 30*time.Second, webTransfer, logger), listener)
}

// ownHost refuses requests for another host's name: a page of a stranger's, whose
// name he has resolve to this machine, would else read what only this one may.
func ownHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if host != "localhost" && (err != nil || !addr.IsLoopback()) {
			http.Error(w, "this server is for 127.0.0.1 and localhost", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// readPaths are what pages read of a ledger, by their first part.
var readPaths = map[string]bool{
	"checkpoint": true, "tile": true, "addenda": true, "leaf": true, "proof": true, "host": true, "hosts": true, "search": true,
	"retention": true, "freeze": true, "healthz": true,
}

// ledgerReader passes on requests that read, to a ledger.
func ledgerReader(base, tokenFile string) (http.Handler, error) {
	to, err := url.Parse(base)
	if err != nil || to.Scheme != "http" && to.Scheme != "https" || to.Host == "" {
		return nil, cli.WithHint(cli.Usagef("--ledger %q is no URL", base), "it begins with https:// or http://")
	}
	token := ""
	if tokenFile != "" {
		b, err := readLimited(tokenFile, maxToken)
		if err != nil {
			return nil, err
		}
		token = strings.TrimSpace(string(b))
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Header.Del("Cookie")
			r.Out.Header.Del("Origin")
			if token != "" && r.Out.Header.Get("Authorization") == "" {
				r.Out.Header.Set("Authorization", "Bearer "+token)
			}
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			http.Error(w, "the ledger cannot be reached", http.StatusBadGateway)
		},
		ModifyResponse: func(r *http.Response) error {
			r.Header.Set("X-Content-Type-Options", "nosniff")
			r.Header.Set("Content-Security-Policy", "sandbox") // what a ledger serves is data, and never a page of this origin
			r.Header.Del("Set-Cookie")
			return nil
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if r.Method != http.MethodGet && r.Method != http.MethodHead || !readPaths[first] || path.Clean(r.URL.Path) != r.URL.Path {
			http.NotFound(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	}), nil
}

// bundleFolder serves the bundles of a folder, and the list of them.
func bundleFolder(dir string) (http.Handler, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, cli.WithHint(cli.Usagef("%w", err), "name a folder with bundles of evidence, files that end in .tar")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /bundles.json", func(w http.ResponseWriter, r *http.Request) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			http.Error(w, "the folder cannot be read", http.StatusInternalServerError)
			return
		}
		type bundle struct {
			Name string `json:"name"`
			Size int64  `json:"size"`
		}
		list := []bundle{}
		for _, e := range entries {
			if info, err := e.Info(); err == nil && info.Mode().IsRegular() && strings.HasSuffix(e.Name(), bundleEnd) {
				list = append(list, bundle{e.Name(), info.Size()})
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(map[string]any{"bundles": list}) // who asked is gone
	})
	mux.HandleFunc("GET /bundles/{name}", func(w http.ResponseWriter, r *http.Request) {
		f, err := openBundle(root, r.PathValue("name"))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		defer f.Close()
		w.Header().Set("Content-Type", "application/x-tar")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		http.ServeContent(w, r, "", time.Time{}, f)
	})
	return mux, nil
}

// openBundle opens a file of the folder itself that is called like a bundle.
func openBundle(root *os.Root, name string) (*os.File, error) {
	if !strings.HasSuffix(name, bundleEnd) || strings.ContainsAny(name, `/\`) {
		return nil, os.ErrNotExist
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, f.Close(), os.ErrNotExist)
	}
	return f, nil
}
