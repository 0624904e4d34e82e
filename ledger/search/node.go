// Package search answers which records of a log are of a file, a key or a register,
// and proves each. It asks an index: the ledger's, which may leave hits out, or one
// of the auditor's own, a Node, which has read everything itself.
package search

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/internal/answer"
	"github.com/imaledger/imaledger/ledger/internal/index"
)

// Files of a node's directory.
const (
	nodeIndex = "index" // the database
	nodeURL   = "url"   // of the ledger that it follows
)

// A Node is an index of somebody's own, of a ledger that he need not trust: each
// entry that it reads is in the tree of a checkpoint that his policy accepts, each
// segment's records have the digest that the entry names. That the records replay to
// the quotes is checked of each hit, and by an audit.
type Node struct {
	dir   string
	trust *ledger.Trust
	x     *index.Index
}

// OpenNode opens the node in a directory, which is made if it does not exist. Only
// one process may have it open.
func OpenNode(dir string, trust *ledger.Trust, logger *slog.Logger) (*Node, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	// What operators state is judged as the ledger should have: an erasure that no
	// operator signed erases nothing here.
	state := audit.NewState(trust)
	judge := func(_ uint64, leaf ledger.Hash, s ledger.Statement) bool {
		j := state.Judge(leaf, s, nil)
		state.Commit(j)
		return ledger.Worst(j.Findings) != ledger.Contradicted
	}
	x, err := index.Open(index.Config{Dir: filepath.Join(dir, nodeIndex), Policy: trust.Policy, Judge: judge, Logger: logger})
	if err != nil {
		return nil, err
	}
	return &Node{dir, trust, x}, nil
}

// Close closes the node.
func (n *Node) Close() error { return n.x.Close() }

// URL returns the ledger that the node has followed, empty for none.
func (n *Node) URL() string {
	b, err := os.ReadFile(filepath.Join(n.dir, nodeURL))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Status says how far the node is. It must not run at the same time as Update.
func (n *Node) Status() index.Status { return n.x.Status() }

// Update reads what the ledger's log has gained. With retry it asks again for records
// that the ledger did not give before. A ledger that shows another history than the
// one that was read is a finding; the index stays as it is, and shows what it was.
func (n *Node) Update(ctx context.Context, c *client.Client, retry bool, progress func(done, total uint64)) error {
	r := &remote{client: c, trust: n.trust}
	err := n.x.Update(ctx, r, progress)
	switch {
	case errors.Is(err, index.ErrOtherLog):
		err = fmt.Errorf("%w: give another directory", err)
	case errors.Is(err, index.ErrMismatch):
		err = fmt.Errorf("%w: %w", contradiction(ledger.LogSplit, c.Base, "what was read before is not part of what the ledger shows now"), err)
	}
	if err == nil && retry {
		err = n.x.Retry(ctx, r)
	}
	if err != nil {
		return err
	}
	if c.Base != n.URL() {
		return os.WriteFile(filepath.Join(n.dir, nodeURL), []byte(c.Base+"\n"), 0o644)
	}
	return nil
}

// Search implements Finder.
func (n *Node) Search(ctx context.Context, q *client.SearchQuery) (*client.SearchAnswer, error) {
	asked := *q
	if asked.Limit == 0 {
		asked.Limit = pageSize
	}
	return answer.Search(ctx, n.x, &asked, nil)
}
