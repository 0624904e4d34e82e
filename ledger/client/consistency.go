package client

import (
	"context"
	"fmt"

	"github.com/imaledger/imaledger/ledger"
)

// Consistent checks that the tree of one checkpoint continues the tree of an
// older one, from the log's tiles. Both were verified by a policy before. The
// error wraps ledger.ErrConsistency where the log signed two histories; any other
// says that it did not give what proves it.
func (c *Client) Consistent(ctx context.Context, older, newer *ledger.Checkpoint) error {
	if older.Size > newer.Size {
		return fmt.Errorf("the older checkpoint has size %d, the newer one %d", older.Size, newer.Size)
	}
	var path []ledger.Hash
	if older.Size > 0 && older.Size < newer.Size {
		var err error
		if path, err = c.ConsistencyPath(ctx, older.Size, newer.Size, newer); err != nil {
			return err
		}
	}
	return ledger.VerifyConsistency(older, newer, path)
}

// ConsistencyPath returns the RFC 6962 consistency path between the trees of two
// sizes, from the tiles of a tree that is no smaller, and is held to its root.
func (c *Client) ConsistencyPath(ctx context.Context, older, newer uint64, tree *ledger.Checkpoint) ([]ledger.Hash, error) {
	return c.Tree(tree).consistency(ctx, older, newer)
}

// Prove makes the proof that a checkpoint includes the entry at an index, from the
// log's tiles: a mirror, or a static server with the log's directory, gives no
// other. The checkpoint was verified before; the tiles are held to its root.
func (c *Client) Prove(ctx context.Context, index uint64, tree *ledger.Checkpoint) (*ledger.Proof, error) {
	return c.Tree(tree).Prove(ctx, index, tree)
}
