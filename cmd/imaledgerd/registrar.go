package main

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/keys"
	"github.com/imaledger/imaledger/cmd/internal/trustdir"
	"github.com/imaledger/imaledger/ledger/server"
)

// readToken reads the token that a ledger and its registrars elsewhere share.
func (o *options) readToken() (string, error) {
	if o.token == "" {
		return "", cli.WithHint(cli.Usagef("no --registrar-token"), "a registrar elsewhere and its ledger share a token: head -c 24 /dev/urandom | base64 > FILE, and chmod 600 FILE")
	}
	b, err := keys.Secret(o.token)
	return string(bytes.TrimSpace(b)), err
}

// serveRegistrar is the command registrar.
func serveRegistrar(ctx context.Context, o *options, stdout io.Writer) error {
	if o.key == "" {
		return cli.WithHint(cli.Usagef("no --key"), "imaledger keygen --kind registrar --name NAME --out FILE makes one")
	}
	c := server.RegistrarConfig{SessionLife: o.sessionLife, Logger: o.logger}
	var err error
	if c.Trust, err = trustdir.Read(o.trust); err != nil {
		return err
	}
	if c.Key, err = o.readRegistrar(o.key); err != nil {
		return err
	}
	if c.Token, err = o.readToken(); err != nil {
		return err
	}
	if o.pinned != "" {
		if c.Pinned, err = readPinned(o.pinned); err != nil {
			return err
		}
	}
	s, err := server.NewRegistrar(c)
	if err != nil {
		return cli.Usagef("%w", err)
	}
	listener, url, err := o.door.listen(o.listen, "", nil, o.logger)
	if err != nil {
		return err
	}
	// Two lines that a script can read, in a fixed order.
	fmt.Fprintf(stdout, "%s\n%s\n", c.Key.Name(), url)
	return cli.Serve(ctx, cli.NewServer(s, readTimeout, readTimeout, o.logger), listener)
}
