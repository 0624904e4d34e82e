package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/witness"
)

// pullTimeout bounds the fetching of a list.
const pullTimeout = time.Minute

// digestPrefix begins the SHA-256 of a list that is pinned.
const digestPrefix = "sha256:"

// A pull is a list that others publish: a signed note whose text is the list, or
// a list of a known digest. TLS alone is not enough: who holds the server is not
// who writes the list.
type pull struct {
	url    string
	key    note.Verifier // nil for a pinned list
	digest string        // SHA-256 in lower-case hex
}

func parsePull(s string) (p pull, err error) {
	address, by, found := strings.Cut(strings.TrimSpace(s), " ")
	u, err := url.Parse(address)
	if err != nil || !found || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return p, errors.New(`want "URL VKEY" or "URL sha256:HEX"`)
	}
	p.url = address
	if digest, ok := strings.CutPrefix(by, digestPrefix); ok {
		if raw, err := hex.DecodeString(digest); err != nil || len(raw) != sha256.Size || strings.ToLower(digest) != digest {
			return p, fmt.Errorf("%s: want 64 digits of lower-case hex", digestPrefix)
		}
		p.digest = digest
		return p, nil
	}
	p.key, err = note.NewVerifier(by)
	return p, err
}

// fetch fetches the list and verifies whose it is.
func (p pull) fetch(ctx context.Context) ([]witness.Log, error) {
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", p.url, answer.Status)
	}
	b, err := io.ReadAll(io.LimitReader(answer.Body, witness.MaxLogList+1))
	if err != nil {
		return nil, err
	}
	text, err := p.open(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.url, err)
	}
	return witness.ParseLogList(text)
}

// open gives the list's text, if it is who it should be from.
func (p pull) open(b []byte) (string, error) {
	if p.key == nil {
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != p.digest {
			return "", fmt.Errorf("its SHA-256 is %x, want %s", sum, p.digest)
		}
		return string(b), nil
	}
	n, err := note.Open(b, note.VerifierList(p.key))
	if err != nil {
		return "", fmt.Errorf("as a note signed by %s: %w", p.key.Name(), err)
	}
	return n.Text, nil
}

// file is where what the list has added is kept.
func (p pull) file(dir string) string {
	sum := sha256.Sum256([]byte(p.url))
	return filepath.Join(dir, hex.EncodeToString(sum[:]))
}

// kept gives what the list has added until now.
func (p pull) kept(dir string) ([]witness.Log, error) {
	text, err := cli.ReadFile(p.file(dir), witness.MaxLogList)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("what %s has added: %w", p.url, err)
	}
	logs, err := witness.ParseLogList(string(text))
	if err != nil {
		return nil, fmt.Errorf("what %s has added, %s: %w", p.url, p.file(dir), err)
	}
	return logs, nil
}

// keep keeps what the list has added. What could not be read again, because it has
// become too much, is refused: it would keep the witness from starting.
func (p pull) keep(dir string, logs []witness.Log) error {
	text, err := witness.FormatLogList(logs)
	if err == nil {
		_, err = witness.ParseLogList(text)
	}
	if err != nil {
		return err
	}
	return writeFile(p.file(dir), text)
}
