package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/imaledger/imaledger/cmd/internal/cli"
)

// A bastion (https://c2sp.org/https-bastion) takes requests for a witness that
// cannot be reached, or should not be: the witness connects to it, and serves
// HTTP/2 on that connection.
const bastionProtocol = "bastion/0" // in the TLS handshake

// Times of the connection to a bastion.
const (
	bastionDial  = 15 * time.Second
	bastionFirst = time.Second      // before it is tried again
	bastionLast  = time.Minute      // as the first, doubled until this
	bastionPing  = 15 * time.Second // of silence, after which it is asked whether it is there
	bastionIdle  = 24 * time.Hour   // without a request; logs come when they come
)

// bastionOptions name bastions, and the key that the witness is known by there.
type bastionOptions struct {
	addresses cli.Strings
	key       string
	ca        string
}

func (o *bastionOptions) flags(fs *flag.FlagSet) {
	fs.Var(&o.addresses, "bastion", "serve through the bastion at this `address`, HOST:PORT (c2sp.org/https-bastion); may be repeated")
	fs.StringVar(&o.key, "bastion-key", "", "PEM `file` of the Ed25519 key that bastions know the witness by, which is not its own; made if it does not exist")
	fs.StringVar(&o.ca, "bastion-ca", "", "PEM `file` with the certificates that the bastions' are issued by; those of the system unless given")
}

func (o *bastionOptions) check() error {
	if (len(o.addresses) > 0) != (o.key != "") {
		return cli.Usagef("--bastion and --bastion-key go together")
	}
	for _, address := range o.addresses {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return cli.Usagef("--bastion: %w", err)
		}
	}
	return nil
}

// tls gives how the witness speaks to bastions, and the name that it has there.
//
// SPEC: Other TLS versions MUST be rejected, as only TLS 1.3 hides client
// SPEC: certificates from network observers. The backend MUST present as its client
// SPEC: certificate an Ed25519 certificate containing the backend public key. The
// SPEC: backend certificate MAY be self-signed. (https-bastion)
func (o *bastionOptions) tls(now time.Time) (config *tls.Config, hash string, err error) {
	private, err := bastionKey(o.key)
	if err != nil {
		return nil, "", err
	}
	public := private.Public().(ed25519.PublicKey)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bastion backend"},
		// The key is what counts: bastions look at nothing else.
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return nil, "", fmt.Errorf("certificate for bastions: %w", err)
	}
	config = &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{bastionProtocol},
		Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: private}}}
	if o.ca != "" {
		text, err := cli.ReadFile(o.ca, maxConfig)
		if err != nil {
			return nil, "", cli.Usagef("--bastion-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, "", cli.Usagef("--bastion-ca: no certificate in %s", o.ca)
		}
	}
	return config, fmt.Sprintf("%x", sha256.Sum256(public)), nil
}

// bastionKey reads the key, which is made if there is none: it says nothing but
// that this is the same backend as before.
func bastionKey(file string) (ed25519.PrivateKey, error) {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		_, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			return nil, err
		}
		return private, writeFile(file, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	}
	text, err := readSecret(file)
	if err != nil {
		return nil, err
	}
	key, err := cryptoutils.UnmarshalPEMToPrivateKey([]byte(text), nil)
	if err != nil {
		return nil, cli.Usagef("%s: %w", file, err)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, cli.Usagef("%s: a key of type %T, want Ed25519", file, key)
	}
	return private, nil
}

// serveBastions serves through each bastion until the context ends, and gives
// what waits for the end.
func (o *bastionOptions) serve(ctx context.Context, handler http.Handler, logger *slog.Logger) (wait func(), err error) {
	var group sync.WaitGroup
	if len(o.addresses) == 0 {
		return group.Wait, nil
	}
	config, hash, err := o.tls(time.Now())
	if err != nil {
		return nil, err
	}
	for _, address := range o.addresses {
		logger := logger.With("bastion", address)
		host, _, _ := net.SplitHostPort(address) // check has looked at it
		logger.Info("serving through a bastion", "submission prefix", "https://"+host+"/"+hash)
		server := cli.NewServer(handler, readTimeout, writeTimeout, logger)
		server.IdleTimeout = bastionIdle
		server.Protocols = new(http.Protocols)
		server.Protocols.SetUnencryptedHTTP2(true) // as the server sees it: TLS is below it
		server.HTTP2 = &http.HTTP2Config{SendPingTimeout: bastionPing, PingTimeout: bastionPing}
		listener := newBastionListener(address, config, logger)
		group.Go(func() {
			if err := cli.Serve(ctx, server, listener); err != nil {
				logger.Error("nothing is served through the bastion any more", "error", err)
			}
		})
	}
	return group.Wait, nil
}

// A bastionListener gives one connection at a time to a bastion, a new one when
// the last has ended.
type bastionListener struct {
	address string
	dialer  tls.Dialer
	logger  *slog.Logger
	ctx     context.Context // ends with the listener
	close   context.CancelFunc

	// Accept's own.
	ended chan struct{} // closed with the last connection; nil before the first
	pause time.Duration
}

func newBastionListener(address string, config *tls.Config, logger *slog.Logger) *bastionListener {
	l := &bastionListener{address: address, logger: logger, dialer: tls.Dialer{NetDialer: &net.Dialer{Timeout: bastionDial}, Config: config}}
	l.ctx, l.close = context.WithCancel(context.Background())
	return l
}

// Accept implements net.Listener.
func (l *bastionListener) Accept() (net.Conn, error) {
	if l.ended != nil {
		begun := time.Now()
		select {
		case <-l.ended:
		case <-l.ctx.Done():
			return nil, net.ErrClosed
		}
		l.logger.Warn("the bastion has ended the connection", "after", time.Since(begun).Round(time.Millisecond))
		if time.Since(begun) > bastionLast {
			l.pause = 0
		}
	}
	for {
		// One that takes the connection and ends it, because it does not know the
		// key, must not be asked without a pause either.
		select {
		case <-time.After(l.pause):
		case <-l.ctx.Done():
			return nil, net.ErrClosed
		}
		l.pause = min(max(2*l.pause, bastionFirst), bastionLast)
		ctx, cancel := context.WithTimeout(l.ctx, bastionDial)
		conn, err := l.dialer.DialContext(ctx, "tcp", l.address)
		cancel()
		if err == nil && conn.(*tls.Conn).ConnectionState().NegotiatedProtocol != bastionProtocol {
			conn.Close()
			err = errors.New("it is no bastion: it does not speak " + bastionProtocol)
		}
		if err == nil {
			l.logger.Info("connected to the bastion")
			l.ended = make(chan struct{})
			return &bastionConn{Conn: conn, ended: l.ended}, nil
		}
		if l.ctx.Err() != nil {
			return nil, net.ErrClosed
		}
		l.logger.Warn("cannot connect to the bastion", "error", err, "again in", l.pause)
	}
}

// Close implements net.Listener.
func (l *bastionListener) Close() error {
	l.close()
	return nil
}

// Addr implements net.Listener.
func (l *bastionListener) Addr() net.Addr { return bastionAddr(l.address) }

type bastionAddr string

func (bastionAddr) Network() string  { return "bastion" }
func (a bastionAddr) String() string { return string(a) }

// A bastionConn tells when it is closed. It hides that it is TLS: the server would
// look for HTTP/2 among the protocols of the handshake, where a bastion has none.
type bastionConn struct {
	net.Conn
	once  sync.Once
	ended chan struct{}
}

func (c *bastionConn) Close() error {
	c.once.Do(func() { close(c.ended) })
	return c.Conn.Close()
}
