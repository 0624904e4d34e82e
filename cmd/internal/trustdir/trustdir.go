// Package trustdir reads a trust folder: what an auditor, a ledger and a host are
// told to believe (ledger/FORMAT.md, "Trust folder").
package trustdir

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/web"
)

// Read reads a trust folder. The error is one of usage, and says what such a
// folder has.
func Read(dir string) (*ledger.Trust, error) {
	policy, rules, roots, err := files(dir)
	if err != nil {
		return nil, missing(err)
	}
	trust, err := ledger.ParseTrust(policy, rules, roots...)
	if err != nil {
		return nil, cli.Usagef("trust folder %s: %w", dir, err)
	}
	return trust, nil
}

// Offer reads a trust folder for the pages, which offer it to viewers. It is one
// that Read reads.
func Offer(dir string) (*web.Trust, error) {
	if _, err := Read(dir); err != nil {
		return nil, err
	}
	policy, rules, roots, err := files(dir)
	if err != nil {
		return nil, missing(err)
	}
	offered := &web.Trust{Policy: string(policy), Rules: string(rules)}
	for _, root := range roots {
		offered.Roots = append(offered.Roots, string(root))
	}
	return offered, nil
}

func files(dir string) (policy, rules []byte, roots [][]byte, err error) {
	if policy, err = cli.ReadFile(filepath.Join(dir, ledger.TrustPolicyFile), ledger.MaxPolicy); err != nil {
		return nil, nil, nil, err
	}
	if rules, err = cli.ReadFile(filepath.Join(dir, ledger.TrustRulesFile), ledger.MaxTrustRules); err != nil {
		return nil, nil, nil, err
	}
	names, err := filepath.Glob(filepath.Join(dir, ledger.TrustRootsDir, "*.pem"))
	if err != nil {
		return nil, nil, nil, err
	}
	for _, name := range names {
		root, err := cli.ReadFile(name, ledger.MaxRoots)
		if err != nil {
			return nil, nil, nil, err
		}
		roots = append(roots, root)
	}
	return policy, rules, roots, nil
}

func missing(err error) error {
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return cli.Usagef("trust folder: %w", err)
	}
	return cli.WithHint(cli.Usagef("trust folder: %w", err), "a trust folder has the files %s and %s; the one who runs the log publishes them, and you check them before you use them", ledger.TrustPolicyFile, ledger.TrustRulesFile)
}
