// Package trustdir reads a trust folder: what an auditor, a ledger and a host are
// told to believe (ledger/FORMAT.md, "Trust folder").
package trustdir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
)

// Read reads a trust folder. The error is one of usage, and says what such a
// folder has.
func Read(dir string) (*ledger.Trust, error) {
	policy, err := readFile(filepath.Join(dir, ledger.TrustPolicyFile), ledger.MaxPolicy)
	if err != nil {
		return nil, missing(err)
	}
	rules, err := readFile(filepath.Join(dir, ledger.TrustRulesFile), ledger.MaxTrustRules)
	if err != nil {
		return nil, missing(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, ledger.TrustRootsDir, "*.pem"))
	if err != nil {
		return nil, missing(err)
	}
	var roots [][]byte
	for _, name := range names {
		root, err := readFile(name, ledger.MaxRoots)
		if err != nil {
			return nil, missing(err)
		}
		roots = append(roots, root)
	}
	trust, err := ledger.ParseTrust(policy, rules, roots...)
	if err != nil {
		return nil, cli.Usagef("trust folder %s: %w", dir, err)
	}
	return trust, nil
}

func missing(err error) error {
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return cli.Usagef("trust folder: %w", err)
	}
	return cli.WithHint(cli.Usagef("trust folder: %w", err), "a trust folder has the files %s and %s; the one who runs the log publishes them, and you check them before you use them", ledger.TrustPolicyFile, ledger.TrustRulesFile)
}

func readFile(name string, max int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(b)) > max {
		err = fmt.Errorf("%s: more than %d bytes", name, max)
	}
	return b, err
}
