package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/tpm/ima"
)

// lies alters the evidence in ways that parties of the system could, each as
// cleverly as that party can, and shows what a verifier finds.
func (d *demo) lies(p *printer, sources []ledger.BundleSource) error {
	for _, lie := range []struct {
		what string
		make func([]ledger.BundleSource) ([]byte, error)
	}{
		{"One byte of the file is altered on its way.", d.alterByte},
		{"The host drops a record, and makes leaf, proof and manifest fit.", d.dropRecord},
		{"A segment is left out of the middle.", d.leaveOut},
		{"The ledger rewrites its tree and signs it, but the witnesses do not.", d.fork},
	} {
		raw, err := lie.make(slices.Clone(sources))
		if err != nil {
			return fmt.Errorf("demonstration of a lie: %w", err)
		}
		report, err := d.check(raw)
		if err != nil {
			return err
		}
		if report.Class() == ledger.Noted {
			return fmt.Errorf("a lie passed: %s", lie.what)
		}
		p.f("   %s\n", lie.what)
		for _, f := range worst(report) {
			p.f("     %s\n", f)
		}
	}
	return p.err
}

// check verifies a bundle in memory.
func (d *demo) check(raw []byte) (*audit.Report, error) {
	b, err := ledger.OpenBundle(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		if bad, ok := err.(*ledger.BundleError); ok {
			return &audit.Report{Findings: []ledger.Finding{{Code: bad.Code, Subject: bad.File, Text: bad.What}}}, nil
		}
		return nil, err
	}
	return audit.CheckBundle(d.trust, b)
}

// worst returns the findings of the worst class, two of them at most.
func worst(r *audit.Report) []ledger.Finding {
	list := slices.DeleteFunc(slices.Clone(r.Findings), func(f ledger.Finding) bool { return f.Class() != r.Class() })
	return list[:min(len(list), 2)]
}

func packed(sources []ledger.BundleSource) ([]byte, error) {
	var b bytes.Buffer
	err := ledger.WriteBundle(&b, sources)
	return b.Bytes(), err
}

func (d *demo) alterByte(sources []ledger.BundleSource) ([]byte, error) {
	raw, err := packed(sources)
	if err == nil {
		raw[len(raw)/2] ^= 1
	}
	return raw, err
}

// dropRecord takes a record out of a segment's payload and makes every field of
// the leaf that follows from it anew. What it cannot make anew is the quote.
func (d *demo) dropRecord(sources []ledger.BundleSource) ([]byte, error) {
	victim := d.hosts[0].last
	old := victim.Marshal()
	i := slices.IndexFunc(sources, func(s ledger.BundleSource) bool {
		return s.Folder == ledger.FolderPayloads && s.Hash == victim.Payload.Digest
	})
	payload, err := contentOf(sources[i])
	if err != nil {
		return nil, err
	}
	forged := *victim
	tree, kept := ledger.NewRecordTree(), []byte(nil)
	for r := ima.NewReader(bytes.NewReader(payload), ima.Format{Bank: ima.SHA1}); ; {
		rec, err := r.Next()
		if err != nil {
			break // the payload is whole: this is its end
		}
		if rec.Index == 3 {
			continue
		}
		kept = append(kept, rec.Raw...)
		tree.Add(rec.Raw)
	}
	sources[i] = ledger.SourceBytes(ledger.FolderPayloads, kept, ledger.Hash{})
	forged.Count--
	forged.Payload = ledger.Addendum{Size: sources[i].Size, Digest: sources[i].Digest}
	forged.Records = tree.Root()
	return d.replaceLeaf(sources, old, forged.Marshal())
}

// replaceLeaf puts another leaf in the place of one, with the old one's proof.
func (d *demo) replaceLeaf(sources []ledger.BundleSource, old, forged []byte) ([]byte, error) {
	was, is := ledger.LeafHash(old), ledger.LeafHash(forged)
	for i, s := range sources {
		if s.Hash != was {
			continue
		}
		if s.Folder == ledger.FolderLeaves {
			sources[i] = ledger.SourceBytes(s.Folder, forged, ledger.Hash{})
			continue
		}
		proof, err := contentOf(s)
		if err != nil {
			return nil, err
		}
		sources[i] = ledger.SourceBytes(s.Folder, proof, is)
	}
	return packed(sources)
}

// leaveOut takes out a segment with all that belongs to it alone.
func (d *demo) leaveOut(sources []ledger.BundleSource) ([]byte, error) {
	var victim *ledger.Segment
	for _, raw := range d.entries {
		if s, err := ledger.ParseSegment(raw); err == nil && s.Host == d.hosts[0].name && s.Sequence == 2 {
			victim = s
		}
	}
	leaf := ledger.LeafHash(victim.Marshal())
	return packed(slices.DeleteFunc(sources, func(s ledger.BundleSource) bool {
		return s.Hash == leaf || s.Hash == victim.Payload.Digest || s.Hash == victim.Anchor.Note
	}))
}

// fork has the log sign a tree in which one leaf is another, and prove from it.
func (d *demo) fork(sources []ledger.BundleSource) ([]byte, error) {
	leaf := ledger.LeafHash(d.entries[0])
	i := slices.IndexFunc(sources, func(s ledger.BundleSource) bool { return s.Folder == ledger.FolderProofs && s.Hash == leaf })
	raw, err := contentOf(sources[i])
	if err != nil {
		return nil, err
	}
	proof, err := ledger.ParseProof(raw)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("%s\n1\n%s\n", demoOrigin, base64.StdEncoding.EncodeToString(leaf[:]))
	signed, err := note.Sign(&note.Note{Text: text}, d.logSigner)
	if err != nil {
		return nil, err
	}
	proof.Index, proof.Hashes, proof.Checkpoint = 0, nil, signed
	sources[i] = ledger.SourceBytes(ledger.FolderProofs, proof.Marshal(), leaf)
	return packed(sources)
}
