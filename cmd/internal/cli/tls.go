package cli

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
)

// A TLSFiles names the PEM files of an HTTPS server. They are read again when they
// change, and connections that were made before go on.
type TLSFiles struct {
	Certificate string // the server's, and the chain after it
	Key         string
	// ClientCA has the authorities whose client certificates are believed, empty
	// for none. Clients need not have one: who has none is a stranger.
	ClientCA string
}

// Config returns a TLS configuration with the files.
func (f TLSFiles) Config(logger *slog.Logger) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	pair, err := Reload(logger, func() (*tls.Certificate, error) {
		c, err := tls.LoadX509KeyPair(f.Certificate, f.Key)
		return &c, err
	}, f.Certificate, f.Key)
	if err != nil {
		return nil, WithHint(Usagef("certificate: %w", err), "the certificate and its key are PEM files, and belong together")
	}
	config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.Get(), nil }
	return config, f.AddClientCA(config, logger)
}

// AddClientCA has a TLS configuration verify client certificates, if ClientCA is
// set.
func (f TLSFiles) AddClientCA(config *tls.Config, logger *slog.Logger) error {
	if f.ClientCA == "" {
		return nil
	}
	pool, err := Reload(logger, func() (*x509.CertPool, error) {
		b, err := os.ReadFile(f.ClientCA)
		if err != nil {
			return nil, err
		}
		p := x509.NewCertPool()
		if !p.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("%s: no certificate in it", f.ClientCA)
		}
		return p, nil
	}, f.ClientCA)
	if err != nil {
		return Usagef("client authorities: %w", err)
	}
	config.ClientAuth = tls.VerifyClientCertIfGiven
	config.ClientCAs = pool.Get()
	// A resumed session is not verified anew, and would outlive its authority.
	config.SessionTicketsDisabled = true
	plain := config.Clone()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := plain.Clone()
		now.ClientCAs = pool.Get()
		return now, nil
	}
	return nil
}
