package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/trustdir"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/server"
	"github.com/imaledger/imaledger/web"
)

// Limits of the server. A transfer that goes on gets more time as it goes; these
// are for everything else.
const (
	readTimeout  = 30 * time.Second
	writeTimeout = readTimeout + server.MaxWait + 30*time.Second
	// closeTimeout is how long an orderly end waits for the witnesses.
	closeTimeout = 20 * time.Second
)

// serveLedger is the command serve.
func serveLedger(ctx context.Context, o *options, stdout io.Writer) error {
	config, err := o.config()
	if err != nil {
		return err
	}
	config.Logger = o.logger
	if o.storage.url != "" {
		storage, end, err := o.storage.open(ctx, o.dir, o.logger)
		if err != nil {
			return err
		}
		defer end()
		config.Storage = storage
	}
	server.RouteLogs(config.Logger)
	return o.serve(ctx, config, stdout)
}

// config reads what the command line names.
func (o *options) config() (server.Config, error) {
	c := server.Config{
		Dir: o.dir, AllowSoftware: o.allowSoftwareKeys, PublicPayloads: o.publicPayloads, Search: o.search,
		CheckpointInterval: o.checkpointInterval, RepublishInterval: o.republish, BatchMaxAge: o.batchAge, SessionLife: o.sessionLife,
	}
	switch {
	case o.dir == "":
		return c, cli.WithHint(cli.Usagef("no --dir"), "name the directory that holds the log; one process at a time may use it")
	case o.key == "":
		return c, cli.WithHint(cli.Usagef("no --key"), "imaledger keygen --kind log --name ORIGIN --out FILE makes one")
	case o.trust == "":
		return c, cli.WithHint(cli.Usagef("no --trust"), "the trust folder holds policy and rules, and is the one that auditors verify with")
	}
	err := o.door.config(&c)
	if err != nil {
		return c, err
	}
	if c.Trust, err = trustdir.Read(o.trust); err != nil {
		return c, err
	}
	if err := o.eraser(&c); err != nil {
		return c, err
	}
	if err := o.readLogKeys(&c); err != nil {
		return c, err
	}
	for _, r := range o.registrars {
		if strings.HasPrefix(r, "http://") || strings.HasPrefix(r, "https://") {
			token, err := o.readToken()
			if err != nil {
				return c, err
			}
			c.RemoteRegistrars = append(c.RemoteRegistrars, &client.Registrar{Client: client.Client{Base: r}, Token: token})
			continue
		}
		s, err := o.readRegistrar(r)
		if err != nil {
			return c, err
		}
		c.Registrars = append(c.Registrars, s)
	}
	if o.pinned != "" {
		c.Pinned, err = readPinned(o.pinned)
	}
	return c, err
}

// serve runs the ledger until the context ends or its storage fails.
func (o *options) serve(ctx context.Context, config server.Config, stdout io.Writer) (err error) {
	if err := o.metrics.serve(ctx, &config, config.Logger); err != nil {
		return err
	}
	s, err := server.New(ctx, config)
	if err != nil {
		return cli.WithHint(cli.Undecidedf("%w", err), "nothing was changed; see the message for what does not fit together")
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err = errors.Join(err, s.Close(end))
	}()
	handler, err := o.pages(s)
	if err != nil {
		return err
	}
	listener, url, err := o.door.listen(o.listen, o.dir, config.Proxies, config.Logger)
	if err != nil {
		return err
	}
	if err := o.door.watchAccess(ctx, s, config.Logger); err != nil {
		return errors.Join(err, listener.Close())
	}
	// Two lines that a script can read, in a fixed order.
	fmt.Fprintf(stdout, "%s\n%s\n", s.VerifierKey(), url)

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-s.Failed():
			stop()
		case <-ctx.Done():
		}
	}()
	// Before the HTTP server waits for its requests to end: those that wait for
	// witnesses are let go.
	context.AfterFunc(ctx, s.Drain)
	err = cli.Serve(ctx, cli.NewServer(handler, readTimeout, writeTimeout, config.Logger), listener)
	if failure := s.Err(); failure != nil {
		return cli.WithHint(cli.Undecidedf("%w", failure), "start it again: it reads the log and goes on from what the log holds")
	}
	return err
}

// pages puts the pages for people before a ledger, which answers all else.
func (o *options) pages(s *server.Server) (http.Handler, error) {
	if !o.web {
		return s, nil
	}
	offered, err := trustdir.Offer(o.trust)
	if err != nil {
		return nil, err
	}
	return web.New(web.Config{Next: s, Trust: offered})
}
