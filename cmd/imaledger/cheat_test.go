package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"filippo.io/torchwood"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
)

// scriptCheat writes the evidence of the script's ledger as it would be if somebody
// cheated: cheat HOW FILE. Who cheats has the log's key and those of a quorum of
// its witnesses, so that nothing but the evidence itself speaks against him.
func scriptCheat(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cheat HOW FILE")
	}
	l, _ := ts.Value(scriptedLedgerKey{}).(**scriptedLedger)
	c := &cheat{ts: ts, demo: (*l).demo}
	sources, err := (*l).everything(context.Background(), 0)
	ts.Check(err)
	for _, raw := range c.demo.entries {
		c.leaves = append(c.leaves, ledger.LeafHash(raw))
	}
	c.sources = sources
	switch args[0] {
	case "not": // the same bundle, so that a script sees that it is good
	case "left-out":
		c.leaveOut(2)
	case "forked":
		// The enrolment is proven in a tree whose second entry is another, and which
		// has another size, so that no two checkpoints name one size.
		forked := append(slices.Clone(c.leaves), ledger.Hash{})
		forked[1][0] ^= 1
		c.prove(0, forked, 2)
	case "quorum":
		for i := range c.leaves {
			c.prove(i, c.leaves, 1)
		}
	case "another-ak":
		c.append(c.quotedByAnother())
	case "older-quote":
		s := c.next()
		s.Attest, s.Signature = c.demo.hosts[0].last.Attest, c.demo.hosts[0].last.Signature
		c.append(s)
	default:
		ts.Fatalf("nobody cheats like %s", args[0])
	}
	ts.Check(writeBundle(ts.MkAbs(args[1]), c.sources))
}

type cheat struct {
	ts      *testscript.TestScript
	demo    *demo
	leaves  []ledger.Hash
	sources []ledger.BundleSource
}

// leaveOut takes out the segment of a sequence and what belongs to it alone.
func (c *cheat) leaveOut(sequence int) {
	s, err := ledger.ParseSegment(c.demo.entries[sequence])
	c.ts.Check(err)
	c.sources = slices.DeleteFunc(c.sources, func(b ledger.BundleSource) bool {
		return b.Hash == c.leaves[sequence] || b.Hash == s.Payload.Digest || b.Hash == s.Anchor.Note
	})
}

// prove replaces an entry's proof by one that leads to the root of a tree, cosigned
// by so many witnesses.
func (c *cheat) prove(i int, tree []ledger.Hash, witnesses int) {
	path, err := ledger.RecordPath(tree, uint64(i))
	c.ts.Check(err)
	p := ledger.Proof{Index: uint64(i), Hashes: path, Checkpoint: c.sign(tree, witnesses)}
	proof := ledger.SourceBytes(ledger.FolderProofs, p.Marshal(), tree[i])
	same := func(b ledger.BundleSource) bool { return b.Name() == proof.Name() }
	c.sources = append(slices.DeleteFunc(c.sources, same), proof)
}

func (c *cheat) sign(tree []ledger.Hash, witnesses int) []byte {
	root := treeRoot(tree)
	signers := []note.Signer{c.demo.logSigner}
	for _, key := range c.demo.witnessKeys[:witnesses] {
		secret := strings.SplitN(key.Secret(), "+", 5) // PRIVATE, KEY, name, key ID, algorithm and seed
		seed, err := base64.StdEncoding.DecodeString(secret[len(secret)-1])
		c.ts.Check(err)
		signer, err := torchwood.NewCosignatureSigner(key.Name(), ed25519.NewKeyFromSeed(seed[1:]))
		c.ts.Check(err)
		signers = append(signers, signer)
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", demoOrigin, len(tree), base64.StdEncoding.EncodeToString(root[:]))
	signed, err := note.Sign(&note.Note{Text: text}, signers...)
	c.ts.Check(err)
	return signed
}

// treeRoot folds the path of the last leaf, all of whose siblings are on its left.
func treeRoot(tree []ledger.Hash) ledger.Hash {
	path, err := ledger.RecordPath(tree, uint64(len(tree)-1))
	if err != nil {
		panic(err) // there is a leaf
	}
	root := tree[len(tree)-1]
	for _, left := range path {
		root = ledger.Hash(rfc6962.DefaultHasher.HashChildren(left[:], root[:]))
	}
	return root
}

// next is a host's segment after its last, whose records are that one's again.
func (c *cheat) next() *ledger.Segment {
	h := c.demo.hosts[0]
	s := *h.last
	s.Sequence, s.Previous = h.sequence, h.head
	return &s
}

// quotedByAnother has the other host's TPM quote what the first's should.
func (c *cheat) quotedByAnother() *ledger.Segment {
	other := c.demo.hosts[1]
	s := c.next()
	s.AK = ledger.Name(other.ak.Name)
	nonce := s.Nonce()
	var err error
	s.Attest, s.Signature, err = other.tpm.Quote(nonce[:], demoSelection)
	c.ts.Check(err)
	return s
}

// append puts a segment into the log that no honest ledger takes, and proves all
// entries in that.
func (c *cheat) append(s *ledger.Segment) {
	raw := s.Marshal()
	c.leaves = append(c.leaves, ledger.LeafHash(raw))
	c.sources = append(c.sources, ledger.SourceBytes(ledger.FolderLeaves, raw, ledger.Hash{}))
	for i := range c.leaves {
		c.prove(i, c.leaves, 2)
	}
}
