package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/server"
)

// passwordVariable has the password of encrypted keys where no file is named.
const passwordVariable = "IMALEDGER_KEY_PASSWORD"

const (
	maxKeyFile    = 64 << 10 // bytes
	maxPinnedFile = 64 << 20 // of 10^5 hosts and their EKs
	ownerOnly     = 0o077    // permissions of others that a secret must not have
)

// readRegistrar reads FILE or NAME=FILE.
func (o *options) readRegistrar(v string) (note.Signer, error) {
	if name, file, named := strings.Cut(v, "="); named {
		return o.readKey(name, file)
	}
	return o.readKey("", v)
}

func (o *options) readKey(name, file string) (note.Signer, error) {
	key, err := readSecret(file)
	if err != nil {
		return nil, err
	}
	s, err := server.ParseSigner(name, key, o.readPassword)
	if err != nil {
		return nil, cli.Usagef("%s: %w", file, err)
	}
	return s, nil
}

func (o *options) readPassword() ([]byte, error) {
	if o.password == "" {
		if p := os.Getenv(passwordVariable); p != "" {
			return []byte(p), nil
		}
		return nil, fmt.Errorf("the key is encrypted: give --password-file, or set %s", passwordVariable)
	}
	b, err := readSecret(o.password)
	return bytes.TrimRight(b, "\r\n"), err
}

// readSecret reads a file that must be its owner's alone.
func readSecret(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, cli.Usagef("%w", err)
	}
	if mode := info.Mode().Perm(); mode&ownerOnly != 0 {
		return nil, cli.WithHint(cli.Usagef("%s can be read by others (mode %04o)", file, mode), "chmod 600 %s", file)
	}
	b, err := readFile(file, maxKeyFile)
	if err != nil {
		return nil, cli.Usagef("%w", err)
	}
	return b, nil
}

func readPinned(file string) (map[ledger.Name]string, error) {
	b, err := readFile(file, maxPinnedFile)
	if err != nil {
		return nil, cli.Usagef("%w", err)
	}
	pinned, err := server.ParsePinned(b)
	if err != nil {
		return nil, cli.Usagef("%s: %w", file, err)
	}
	return pinned, nil
}

func readFile(file string, max int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(b)) > max {
		err = fmt.Errorf("%s: more than %d bytes", file, max)
	}
	return b, err
}
