package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/trustdir"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/server"
	"github.com/imaledger/imaledger/web"
	"github.com/imaledger/imaledger/witness"
)

// demoOrigin names the demonstration's log.
const demoOrigin = "demo.example/ledger"

// demoWait is how long the ledger is asked to wait for its witnesses.
const demoWait = 20 * time.Second

// A demo is a ledger, three witnesses and their hosts in one process, and what a
// stranger would be given of them.
type demo struct {
	dir    string
	url    string
	client *client.Client
	trust  *ledger.Trust
	hosts  []*demoHost

	pause       time.Duration    // between segments while it keeps serving
	now         func() time.Time // of TPMs in software, and of the witnesses
	more        []string         // verifier keys of other logs that the witnesses know
	operatorKey string           // private, in the note encoding
	logKey      string           // the same
	logSigner   note.Signer      // with logKey, for the lies
	witnessKeys []*witness.Key   // for those that tests make up
	entries     [][]byte
	sources     []ledger.BundleSource // addenda
	closers     []func() error
}

// startDemo starts the hosts' TPMs, the witnesses and the ledger. Close ends
// what was started, also after an error. The witnesses know more logs than the
// demonstration's, by their verifier keys.
func startDemo(ctx context.Context, dir string, now func() time.Time, more ...string) (*demo, error) {
	d := &demo{dir: dir, pause: demoPause, now: now, more: more}
	for _, h := range []struct{ name, list string }{{"web1.example", "stock-6.1"}, {"db1.example", "staging-7.3"}} {
		host, err := newDemoHost(dir, h.name, h.list, now)
		if err != nil {
			return d, fmt.Errorf("host %s: %w", h.name, err)
		}
		d.hosts = append(d.hosts, host)
		d.closers = append(d.closers, host.close)
	}
	if err := d.startLedger(ctx); err != nil {
		return d, err
	}
	return d, nil
}

func (d *demo) close() error {
	var errs []error
	for i := len(d.closers) - 1; i >= 0; i-- {
		errs = append(errs, d.closers[i]())
	}
	return errors.Join(errs...)
}

func demoKey(name string) (note.Signer, string, error) {
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return nil, "", err
	}
	signer, err := note.NewSigner(skey)
	return signer, vkey, err
}

func (d *demo) startLedger(ctx context.Context) error {
	var registrarKey, operatorKey string
	var registrar note.Signer
	secret, logKey, err := note.GenerateKey(rand.Reader, demoOrigin)
	if err != nil {
		return err
	}
	if d.logSigner, err = note.NewSigner(secret); err != nil {
		return err
	}
	d.logKey = secret
	if registrar, registrarKey, err = demoKey("registrar.demo.example"); err != nil {
		return err
	}
	if d.operatorKey, operatorKey, err = note.GenerateKey(rand.Reader, "operator.demo.example"); err != nil {
		return err
	}
	policy := "log " + logKey + "\n"
	for i := range 3 {
		line, err := d.startWitness(i, logKey)
		if err != nil {
			return err
		}
		policy += line
	}
	policy += "group two-of-three 2 w1 w2 w3\nquorum two-of-three\n"

	pinned := make(map[ledger.Name]string)
	rules := ledger.TrustRulesFormat + "\nregistrar " + registrarKey + "\nregistrars 1\noperator " + operatorKey + "\n"
	software := d.hosts[0].ek == nil
	if software {
		rules += "# The keys of this demonstration live in a process and not in a TPM. No trust\n# folder but this one has this line.\ngrade software because this is a demonstration without a TPM\n"
	} else {
		rules += "grade pinned\n"
		for _, h := range d.hosts {
			name, err := ekName(h.ek)
			if err != nil {
				return err
			}
			pinned[name] = h.name
		}
	}
	if d.trust, err = writeTrust(filepath.Join(d.dir, "trust"), policy, rules); err != nil {
		return err
	}
	server.RouteLogs(slog.New(slog.DiscardHandler))
	s, err := server.New(ctx, server.Config{
		Dir: filepath.Join(d.dir, "ledger"), Signer: d.logSigner, Trust: d.trust, Registrars: []note.Signer{registrar},
		Pinned: pinned, AllowSoftware: software, PublicPayloads: true, Search: true, CheckpointInterval: 100 * time.Millisecond, BatchMaxAge: 5 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	d.closers = append(d.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return s.Close(ctx)
	})
	pages, err := web.New(web.Config{Next: s, Trust: &web.Trust{Policy: policy, Rules: rules}})
	if err != nil {
		return err
	}
	if d.url, err = d.serve(pages); err != nil {
		return err
	}
	d.client = &client.Client{Base: d.url}
	return nil
}

// startWitness starts a witness with a key and a state of its own, and returns
// its line of the policy.
func (d *demo) startWitness(i int, logKey string) (string, error) {
	key, err := witness.GenerateKey(rand.Reader, fmt.Sprintf("witness%d.demo.example", i+1))
	if err != nil {
		return "", err
	}
	d.witnessKeys = append(d.witnessKeys, key)
	var logs []witness.Log
	for _, key := range append([]string{logKey}, d.more...) {
		l, err := witness.ParseLog(key)
		if err != nil {
			return "", err
		}
		logs = append(logs, l)
	}
	w, err := witness.New(witness.Config{Keys: []*witness.Key{key}, Logs: logs, Now: d.now, Dir: filepath.Join(d.dir, fmt.Sprintf("witness%d", i+1))})
	if err != nil {
		return "", err
	}
	d.closers = append(d.closers, w.Close)
	url, err := d.serve(w)
	return fmt.Sprintf("witness w%d %s %s\n", i+1, key.VKey(), url), err
}

// serve serves a handler on a port of the loopback interface.
func (d *demo) serve(h http.Handler) (url string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go s.Serve(listener) // ends when it is closed, which is no error
	d.closers = append(d.closers, s.Close)
	return "http://" + listener.Addr().String(), nil
}

// writeTrust writes a trust folder and reads it back as a verifier would.
func writeTrust(dir, policy, rules string) (*ledger.Trust, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for name, content := range map[string]string{ledger.TrustPolicyFile: policy, ledger.TrustRulesFile: rules} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return nil, err
		}
	}
	return trustdir.Read(dir)
}

// keep notes an addendum for the bundle.
func (d *demo) keep(folder string, content []byte) {
	d.sources = append(d.sources, ledger.SourceBytes(folder, content, ledger.Hash{}))
}

// entry notes an entry for the bundle.
func (d *demo) entry(raw []byte) ledger.Hash {
	d.entries = append(d.entries, raw)
	return ledger.LeafHash(raw)
}

// submit uploads a segment's addenda and then the leaf: a ledger admits what it
// can check.
func (d *demo) submit(ctx context.Context, s *ledger.Segment, payload, anchor []byte) error {
	put := func(digest ledger.Hash, content []byte) error {
		return d.client.PutAddendum(ctx, digest, int64(len(content)), bytes.NewReader(content))
	}
	if err := client.Upload(ctx, s.Marshal(), d.client.SubmitLeaf, func() error {
		if err := put(s.Payload.Digest, payload); err != nil {
			return err
		}
		return put(s.Anchor.Note, anchor)
	}); err != nil {
		return err
	}
	accepted, err := d.client.SubmitLeaf(ctx, s.Marshal(), demoWait)
	if err != nil {
		return err
	}
	proof, err := ledger.ParseProof([]byte(accepted.Proof))
	if err != nil {
		return cli.Undecidedf("the ledger gave no proof in %v: are its witnesses up? %w", demoWait, err)
	}
	leaf := d.entry(s.Marshal())
	if _, err := proof.Verify(d.trust.Policy, leaf); err != nil {
		return fmt.Errorf("the ledger's receipt: %w", err)
	}
	d.keep(ledger.FolderPayloads, payload)
	d.keep(ledger.FolderAnchors, anchor)
	return nil
}

// bundle collects what a stranger gets: every entry with its proof, and all that
// the entries name.
func (d *demo) bundle(ctx context.Context) ([]ledger.BundleSource, error) {
	sources := append([]ledger.BundleSource(nil), d.sources...)
	for _, raw := range d.entries {
		leaf := ledger.LeafHash(raw)
		accepted, err := d.client.Proof(ctx, leaf, demoWait)
		if err != nil {
			return nil, err
		}
		sources = append(sources, ledger.SourceBytes(ledger.FolderLeaves, raw, ledger.Hash{}), ledger.SourceBytes(ledger.FolderProofs, []byte(accepted.Proof), leaf))
	}
	return sources, nil
}

// contentOf reads a source.
func contentOf(s ledger.BundleSource) ([]byte, error) {
	r, err := s.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
