package main

import (
	"context"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/cmd/internal/keys"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/server"
)

// maxPinnedFile is the size in bytes of a list of 10^5 hosts and their EKs.
const maxPinnedFile = 64 << 20

// keyTimeout is how long a KMS has to tell its public key at the start.
const keyTimeout = time.Minute

// readRegistrar reads FILE, NAME=FILE or NAME=URI.
func (o *options) readRegistrar(v string) (note.Signer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), keyTimeout)
	defer cancel()
	return o.keys().Signer(ctx, v)
}

// readKey reads the log's key, whose name --origin may have.
func (o *options) readKey(name, key string) (note.Signer, error) {
	if name == "" {
		return o.readRegistrar(key)
	}
	ctx, cancel := context.WithTimeout(context.Background(), keyTimeout)
	defer cancel()
	if own, where, named := strings.Cut(key, "="); named && own == name {
		key = where
	}
	return o.keys().Named(ctx, name, key)
}

func (o *options) keys() *keys.Reader { return &keys.Reader{PasswordFile: o.password} }

func readPinned(file string) (map[ledger.Name]string, error) {
	b, err := cli.ReadFile(file, maxPinnedFile)
	if err != nil {
		return nil, cli.Usagef("%w", err)
	}
	pinned, err := server.ParsePinned(b)
	if err != nil {
		return nil, cli.Usagef("%s: %w", file, err)
	}
	return pinned, nil
}
