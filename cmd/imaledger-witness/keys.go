package main

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger/kms"
	"github.com/imaledger/imaledger/witness"
)

// agentPrefix begins a key that an ssh-agent holds, on a security key or a smart
// card for one; the key's fingerprint follows, as ssh-add -l shows it.
const agentPrefix = "ssh-agent:"

const (
	maxKeyFile = 16 << 10
	ownerOnly  = 0o077 // permissions of others that a private key must not have
)

// keyOptions name the witness's keys.
type keyOptions struct {
	names    []string
	name     string
	password string // file
	socket   string // of the ssh-agent
}

func (o *keyOptions) flags(fs *flag.FlagSet) {
	fs.Func("key", "`file` of a private key of the witness (imaledger keygen --kind witness), a PEM file, which may be encrypted, "+
		"ssh-agent:SHA256:FINGERPRINT, or a sigstore KMS URI, SCHEME://KEY, for which the program sigstore-kms-SCHEME signs; repeated, each key signs", func(name string) error {
		o.names = append(o.names, name)
		return nil
	})
	fs.StringVar(&o.name, "name", "", "`name` of the witness, for keys that have none: of PEM files, agents and KMS")
	fs.StringVar(&o.password, "password-file", "", "`file` with the password of an encrypted key; its first line counts")
	fs.StringVar(&o.socket, "ssh-agent", os.Getenv("SSH_AUTH_SOCK"), "`socket` of the ssh-agent")
}

func (o *keyOptions) read() ([]*witness.Key, error) {
	var keys []*witness.Key
	for _, name := range o.names {
		read := o.file
		switch {
		case strings.HasPrefix(name, agentPrefix):
			read = o.agent
		case kms.Is(name):
			read = o.kms
		}
		key, err := read(name)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func (o *keyOptions) file(file string) (*witness.Key, error) {
	text, err := readSecret(file)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(strings.TrimSpace(text), "-----BEGIN ") {
		key, err := witness.ParseKey(text)
		if err != nil {
			return nil, cli.Usagef("%s: %w", file, err)
		}
		return key, nil
	}
	private, err := cryptoutils.UnmarshalPEMToPrivateKey([]byte(text), func(bool) ([]byte, error) {
		if o.password == "" {
			return nil, fmt.Errorf("it is encrypted, and there is no --password-file")
		}
		password, err := readSecret(o.password)
		first, _, _ := strings.Cut(password, "\n")
		return []byte(first), err
	})
	if err != nil {
		return nil, cli.Usagef("%s: %w", file, err)
	}
	signer, ok := private.(ed25519.PrivateKey)
	if !ok {
		return nil, cli.Usagef("%s: a key of type %T, want Ed25519", file, private)
	}
	return o.named(file, signer)
}

// named makes a key of a signer that has no name.
func (o *keyOptions) named(what string, signer crypto.Signer) (*witness.Key, error) {
	if o.name == "" {
		return nil, cli.WithHint(cli.Usagef("%s: the key has no name", what), "--name gives the witness's, which stands in every signature")
	}
	key, err := witness.NewKey(o.name, signer)
	if err != nil {
		return nil, cli.Usagef("%s: %w", what, err)
	}
	return key, nil
}

// kms takes a key of a KMS.
func (o *keyOptions) kms(uri string) (*witness.Key, error) {
	key, err := kms.Open(context.Background(), uri)
	if errors.Is(err, kms.ErrNone) {
		scheme, _, _ := strings.Cut(uri, "://")
		return nil, cli.WithHint(cli.Usagef("%w", err), "put the program sigstore-kms-%s into a folder of PATH: it is sigstore's plugin for that KMS", scheme)
	}
	if err != nil {
		return nil, cli.Usagef("%w", err)
	}
	return o.named(uri, key)
}

// agent takes a key of an ssh-agent.
func (o *keyOptions) agent(name string) (*witness.Key, error) {
	if o.socket == "" {
		return nil, cli.WithHint(cli.Usagef("%s: no ssh-agent", name), "--ssh-agent takes its socket, or SSH_AUTH_SOCK")
	}
	var keys []*agent.Key
	err := withAgent(o.socket, func(a agent.Agent) (err error) {
		keys, err = a.List()
		return err
	})
	if err != nil {
		return nil, cli.Usagef("%s: ask the agent: %w", name, err)
	}
	for _, key := range keys {
		if ssh.FingerprintSHA256(key) != strings.TrimPrefix(name, agentPrefix) {
			continue
		}
		public, err := ssh.ParsePublicKey(key.Blob)
		if err != nil {
			return nil, cli.Usagef("%s: %w", name, err)
		}
		if key, ok := public.(ssh.CryptoPublicKey); ok {
			if ed, ok := key.CryptoPublicKey().(ed25519.PublicKey); ok {
				return o.named(name, &agentSigner{o.socket, public, ed})
			}
		}
		return nil, cli.Usagef("%s: a key of type %s, want ssh-ed25519", name, public.Type())
	}
	return nil, cli.WithHint(cli.Usagef("%s: the agent has no such key", name), "ssh-add -l lists its keys")
}

// agentTimeout bounds what is asked of an agent, which may ask a person to touch a
// security key.
const agentTimeout = 30 * time.Second

// withAgent asks an agent. Each time it is a connection of its own: an agent that
// was started again is found again, and requests do not wait for one another.
func withAgent(socket string, ask func(agent.Agent) error) error {
	conn, err := net.DialTimeout("unix", socket, agentTimeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(agentTimeout)); err != nil {
		return err
	}
	return ask(agent.NewClient(conn))
}

// An agentSigner signs with a key of an ssh-agent.
type agentSigner struct {
	socket string
	key    ssh.PublicKey
	public ed25519.PublicKey
}

// Public implements crypto.Signer.
func (s *agentSigner) Public() crypto.PublicKey { return s.public }

// Sign implements crypto.Signer, for messages that were not hashed.
func (s *agentSigner) Sign(_ io.Reader, message []byte, _ crypto.SignerOpts) ([]byte, error) {
	var blob []byte
	err := withAgent(s.socket, func(a agent.Agent) error {
		signature, err := a.Sign(s.key, message)
		if err == nil {
			blob = signature.Blob
		}
		return err
	})
	return blob, err
}

// readSecret reads a file that nobody else may read.
func readSecret(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", cli.Usagef("read the key: %w", err)
	}
	// A service manager's credentials show the group's bits for an access list that
	// has one user.
	credential := filepath.Dir(file) == os.Getenv("CREDENTIALS_DIRECTORY")
	if mode := info.Mode().Perm(); mode&ownerOnly != 0 && !credential {
		return "", cli.WithHint(cli.Usagef("key file %s can be read by others (mode %04o)", file, mode), "chmod 600 %s", file)
	}
	text, err := cli.ReadFile(file, maxKeyFile)
	if err != nil {
		return "", cli.Usagef("read the key: %w", err)
	}
	return string(text), nil
}
