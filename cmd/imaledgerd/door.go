package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/keys"
	"github.com/imaledger/imaledger/ledger/server"
)

const (
	maxAccessFile = 1 << 20 // bytes
	// accessInterval is how often the access list's file is looked at.
	accessInterval = 2 * time.Second
	acmeTimeout    = time.Minute
)

// doorOptions are who may do what, and how it comes in.
type doorOptions struct {
	tls                    cli.TLSFiles
	acmeNames, proxies     cli.Strings
	acmeDirectory, contact string
	acmeCA                 string
	access, tokenKey       string
	tokenLife              time.Duration
	publicUploads          bool
	privateEntries         bool
	limits                 server.Limits
	connections            int
}

// listenFlags are how connections come in.
func (o *doorOptions) listenFlags(fs *flag.FlagSet) {
	fs.StringVar(&o.tls.Certificate, "tls-certificate", "", "serve HTTPS with the PEM certificate, and the chain after it, in this `file`; read again when it changes")
	fs.StringVar(&o.tls.Key, "tls-key", "", "`file` of the certificate's PEM key")
	fs.StringVar(&o.tls.ClientCA, "client-ca", "", "`file` of PEM authorities whose client certificates stand for hosts and auditors, by their DNS names")
	fs.Var(&o.acmeNames, "acme", "serve HTTPS with a certificate for this `name` from an ACME authority, on port 443; agrees to its terms; may be repeated")
	fs.StringVar(&o.acmeDirectory, "acme-directory", acme.LetsEncryptURL, "`URL` of the ACME authority's directory")
	fs.StringVar(&o.acmeCA, "acme-ca", "", "`file` of PEM authorities for the directory's own certificate, where it is not a public one")
	fs.StringVar(&o.contact, "acme-contact", "", "`address` for the ACME authority's mail")
	fs.IntVar(&o.connections, "address-connections", 4096, "`connections` that one network address may have open; 0 for no limit")
}

// flags are who may do what.
func (o *doorOptions) flags(fs *flag.FlagSet) {
	fs.StringVar(&o.access, "access", "", "`file` with the auditors and operators who may read what is not public; read again when it changes")
	fs.StringVar(&o.tokenKey, "token-key", "", "`file` with the key of upload tokens, 64 hex digits or more, for several front ends; by default the directory has one")
	fs.DurationVar(&o.tokenLife, "token-life", server.DefaultTokenLife, "`time` for which an upload token is good")
	fs.BoolVar(&o.publicUploads, "public-uploads", false, "take uploads from everyone, without tokens")
	fs.BoolVar(&o.privateEntries, "private-entries", false, "show entries and host chains only to those of the access list")
	fs.Var(&o.proxies, "proxy", "`prefix` of proxies, such as 10.0.0.0/8, whose X-Forwarded-For is believed; may be repeated")
	o.limits = server.DefaultLimits()
	fs.Float64Var(&o.limits.Host, "host-rate", o.limits.Host, "`requests` a second that a host may make; 0 for no limit")
	fs.IntVar(&o.limits.Burst, "host-burst", o.limits.Burst, "`requests` that a host may make at once")
	fs.IntVar(&o.limits.Uploads, "host-uploads", o.limits.Uploads, "`uploads` that a host may have under way; 0 for no limit")
	fs.Int64Var(&o.limits.Pending, "host-pending", o.limits.Pending, "`bytes` that a host may have uploaded and not submitted; 0 for no limit")
	fs.Float64Var(&o.limits.Address, "address-rate", o.limits.Address, "`requests` a second from one network address that begin an enrolment or are refused; 0 for no limit")
	fs.IntVar(&o.limits.AddressBurst, "address-burst", o.limits.AddressBurst, "such `requests` at once")
}

// config reads what the options name.
func (o *doorOptions) config(c *server.Config) (err error) {
	c.PublicUploads, c.PrivateEntries, c.Limits, c.TokenLife = o.publicUploads, o.privateEntries, o.limits, o.tokenLife
	for _, p := range o.proxies {
		prefix, err := netip.ParsePrefix(p)
		if err != nil {
			return cli.WithHint(cli.Usagef("--proxy %q: %w", p, err), "10.0.0.0/8, or 192.0.2.7/32 for one machine")
		}
		c.Proxies = append(c.Proxies, prefix)
	}
	if o.tokenKey != "" {
		b, err := keys.Secret(o.tokenKey)
		if err != nil {
			return err
		}
		if c.TokenKey, err = hex.DecodeString(string(bytes.TrimSpace(b))); err != nil || len(c.TokenKey) < 32 {
			return cli.WithHint(cli.Usagef("%s: want 64 hex digits or more", o.tokenKey), "openssl rand -hex 32 > FILE, and chmod 600 FILE")
		}
	}
	if o.access != "" {
		c.Access, err = o.readAccess()
	}
	return err
}

func (o *doorOptions) readAccess() (*server.Access, error) {
	b, err := cli.ReadFile(o.access, maxAccessFile)
	if err != nil {
		return nil, cli.Usagef("%w", err)
	}
	a, err := server.ParseAccess(b)
	if err != nil {
		return nil, cli.WithHint(cli.Usagef("%s: %w", o.access, err), "the first line is %s; go doc server.Access has the others", server.AccessFormat)
	}
	return a, nil
}

// watchAccess has the server go by the access list as its file has it, until the
// context ends.
func (o *doorOptions) watchAccess(ctx context.Context, s *server.Server, logger *slog.Logger) error {
	if o.access == "" {
		return nil
	}
	list, err := cli.Reload(logger, o.readAccess, o.access)
	if err != nil {
		return err
	}
	go func() {
		tick := time.NewTicker(accessInterval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.SetAccess(list.Get())
			case <-ctx.Done():
				return
			}
		}
	}()
	return nil
}

// listen returns a listener and the URL that it serves.
func (o *doorOptions) listen(address, dir string, proxies []netip.Prefix, logger *slog.Logger) (l net.Listener, url string, err error) {
	config, err := o.tlsConfig(dir, logger)
	if err != nil {
		return nil, "", err
	}
	if l, err = net.Listen("tcp", address); err != nil {
		return nil, "", cli.WithHint(cli.Usagef("%w", err), "--listen takes HOST:PORT; is another program using it?")
	}
	at := l.Addr()
	l = cli.LimitConnections(l, o.connections, proxies)
	if config == nil {
		return l, fmt.Sprintf("http://%s/", at), nil
	}
	return tls.NewListener(l, config), fmt.Sprintf("https://%s/", at), nil
}

// tlsConfig returns nil where the options want none.
func (o *doorOptions) tlsConfig(dir string, logger *slog.Logger) (*tls.Config, error) {
	files := o.tls.Certificate != "" || o.tls.Key != ""
	switch {
	case files && len(o.acmeNames) > 0:
		return nil, cli.Usagef("--tls-certificate and --acme: the one or the other")
	case files && (o.tls.Certificate == "" || o.tls.Key == ""):
		return nil, cli.Usagef("--tls-certificate and --tls-key go together")
	case files:
		return o.tls.Config(logger)
	case len(o.acmeNames) > 0:
		config, err := o.acmeConfig(dir)
		if err != nil {
			return nil, err
		}
		return config, o.tls.AddClientCA(config, logger)
	case o.tls.ClientCA != "":
		return nil, cli.WithHint(cli.Usagef("--client-ca without HTTPS"), "add --tls-certificate and --tls-key, or --acme")
	}
	return nil, nil
}

// acmeConfig gets certificates by the tls-alpn-01 challenge (RFC 8737), on the
// ledger's own port: no other need be open.
func (o *doorOptions) acmeConfig(dir string) (*tls.Config, error) {
	if dir == "" {
		return nil, cli.WithHint(cli.Usagef("--acme without --dir"), "certificates are kept in the ledger's directory; a registrar takes --tls-certificate")
	}
	client := &acme.Client{DirectoryURL: o.acmeDirectory}
	if o.acmeCA != "" {
		b, err := cli.ReadFile(o.acmeCA, maxAccessFile)
		if err != nil {
			return nil, cli.Usagef("%w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(b) {
			return nil, cli.Usagef("%s: no certificate in it", o.acmeCA)
		}
		client.HTTPClient = &http.Client{Timeout: acmeTimeout, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	}
	m := &autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(filepath.Join(dir, "acme")), HostPolicy: autocert.HostWhitelist(o.acmeNames...),
		Email: o.contact, Client: client,
	}
	config := m.TLSConfig()
	config.MinVersion = tls.VersionTLS12
	return config, nil
}
