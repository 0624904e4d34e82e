// Package keys reads the keys that commands sign with: from a file, or by the URI
// of a KMS.
package keys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger/kms"
	"github.com/imaledger/imaledger/ledger/server"
)

// PasswordVariable has the password of encrypted keys where no file is named.
const PasswordVariable = "IMALEDGER_KEY_PASSWORD"

const (
	maxFile   = 64 << 10 // bytes
	ownerOnly = 0o077    // permissions of others that a secret must not have
)

// A Reader reads keys.
type Reader struct {
	PasswordFile string // of encrypted keys; empty for PasswordVariable
}

// Signer reads the key that is called FILE, NAME=FILE or NAME=URI. A file in the
// note encoding has the key's name, PEM and a KMS have none.
func (r *Reader) Signer(ctx context.Context, key string) (server.Signer, error) {
	name, where, named := strings.Cut(key, "=")
	if !named || kms.Is(key) {
		return r.Named(ctx, "", key)
	}
	return r.Named(ctx, name, where)
}

// Named reads the key in a file, or of a URI. name may be empty where the file
// has it.
func (r *Reader) Named(ctx context.Context, name, where string) (server.Signer, error) {
	if kms.Is(where) {
		return openKMS(ctx, name, where)
	}
	key, err := Secret(where)
	if err != nil {
		return nil, err
	}
	s, err := server.ParseSigner(name, key, r.password)
	if err != nil {
		return nil, typed(cli.Usagef("%s: %w", where, err))
	}
	return s, nil
}

func openKMS(ctx context.Context, name, uri string) (server.Signer, error) {
	s, err := server.OpenKMS(ctx, name, uri)
	var kind *server.KeyTypeError
	switch {
	case err == nil:
		return s, nil
	case errors.As(err, &kind):
		return nil, typed(cli.Usagef("%w", err))
	case errors.Is(err, kms.ErrNone):
		scheme, _, _ := strings.Cut(uri, "://")
		return nil, cli.WithHint(cli.Usagef("%w", err), "put the program sigstore-kms-%s into a folder of PATH: it is sigstore's plugin for that KMS", scheme)
	case name == "":
		return nil, cli.Usagef("%w", err)
	}
	return nil, cli.WithHint(cli.Undecidedf("%w", err), "can this machine reach the KMS, and may it use the key? its own variables, such as VAULT_ADDR and VAULT_TOKEN, say where and who")
}

// typed adds a hint to the error of a key of another type than the formats have.
func typed(err error) error {
	var kind *server.KeyTypeError
	if !errors.As(err, &kind) {
		return err
	}
	return cli.WithHint(err, "make an Ed25519 key: vault write -f transit/keys/NAME type=ed25519, openssl genpkey -algorithm ed25519, or imaledger keygen")
}

func (r *Reader) password() ([]byte, error) {
	if r.PasswordFile == "" {
		if p := os.Getenv(PasswordVariable); p != "" {
			return []byte(p), nil
		}
		return nil, fmt.Errorf("the key is encrypted: give --password-file, or set %s", PasswordVariable)
	}
	b, err := Secret(r.PasswordFile)
	return bytes.TrimRight(b, "\r\n"), err
}

// Secret reads a file that must be its owner's alone.
func Secret(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, cli.Usagef("secret file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, cli.Usagef("%w", err)
	}
	if mode := info.Mode().Perm(); mode&ownerOnly != 0 {
		return nil, cli.WithHint(cli.Usagef("%s can be read by others (mode %04o)", file, mode), "chmod 600 %s", file)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, cli.Usagef("%s: %w", file, err)
	}
	if len(b) > maxFile {
		return nil, cli.Usagef("%s: more than %d bytes: no key is as large", file, maxFile)
	}
	return b, nil
}
