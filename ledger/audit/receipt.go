package audit

import (
	"errors"
	"fmt"

	"crypto/sha256"

	"github.com/imaledger/imaledger/ledger"
)

// A Receipt is a proof that verified: the log includes the leaf, and enough
// witnesses of the policy have seen the log that does.
type Receipt struct {
	Index      uint64
	Checkpoint *ledger.Checkpoint
	NotAfter   uint64 // Unix seconds: the leaf is not newer; 0 if no witness is demanded

	path []ledger.Hash // from the leaf's sibling up
}

// CheckReceipt verifies a c2sp.org/tlog-proof of a leaf. The receipt is nil
// where a finding rules it out.
func CheckReceipt(trust *ledger.Trust, subject string, leaf ledger.Hash, proof []byte) (*Receipt, []ledger.Finding) {
	p, err := ledger.ParseProof(proof)
	switch {
	case errors.Is(err, ledger.ErrCheckpoint):
		return nil, []ledger.Finding{finding(ledger.CheckpointMalformed, subject, leaf, err)}
	case err != nil:
		return nil, []ledger.Finding{finding(ledger.ProofMalformed, subject, leaf, err)}
	}
	if len(p.Extra) > 0 {
		return nil, []ledger.Finding{finding(ledger.ProofMalformed, subject, leaf, fmt.Errorf("it has %d bytes of extra data, which nothing vouches for", len(p.Extra)))}
	}
	checkpoint, err := p.Verify(trust.Policy, leaf)
	if err != nil {
		return nil, []ledger.Finding{finding(CheckpointCode(err), subject, leaf, err)}
	}
	r := &Receipt{p.Index, checkpoint, trust.Policy.NotAfter(checkpoint), p.Hashes}
	findings := unknownLines(subject, leaf, checkpoint)
	if r.NotAfter == 0 {
		findings = append(findings, finding(ledger.TimeUnbounded, subject, leaf, errors.New("the policy demands no witness")))
	}
	return r, findings
}

// checkAnchor verifies the checkpoint that a segment is anchored to and returns
// the time before which the segment's quote was not made. The checkpoint is
// returned wherever it verifies, since it is the log's word even where it is not
// the one that the segment names.
func checkAnchor(trust *ledger.Trust, subject string, leaf ledger.Hash, seg *ledger.Segment, note []byte) (*ledger.Checkpoint, uint64, []ledger.Finding) {
	c, err := trust.Policy.Verify(note)
	if err != nil {
		return nil, 0, []ledger.Finding{finding(CheckpointCode(err), subject+", anchor", leaf, err)}
	}
	findings := unknownLines(subject+", anchor", leaf, c)
	wrong := func(code ledger.Code, format string, args ...any) (*ledger.Checkpoint, uint64, []ledger.Finding) {
		return c, 0, append(findings, finding(code, subject, leaf, fmt.Errorf(format, args...)))
	}
	switch {
	case sha256.Sum256(note) != seg.Anchor.Note:
		return wrong(ledger.AnchorMismatch, "the checkpoint kept is not the one the segment is anchored to")
	case c.Origin != seg.Log:
		return wrong(ledger.EntryWrongLog, "the checkpoint is of log %s, the segment is for %s", c.Origin, seg.Log)
	case c.Size != seg.Anchor.Size || c.Root != seg.Anchor.Root:
		return wrong(ledger.AnchorMismatch, "the checkpoint has size %d and root %x, the segment states %d and %x", c.Size, c.Root, seg.Anchor.Size, seg.Anchor.Root)
	}
	return c, trust.Policy.NotBefore(c), findings
}

// unknownLines says what was passed over, as c2sp.org/signed-note demands.
func unknownLines(subject string, leaf ledger.Hash, c *ledger.Checkpoint) []ledger.Finding {
	if c.Unknown == 0 {
		return nil
	}
	return []ledger.Finding{finding(ledger.SignatureUnknown, subject, leaf, fmt.Errorf("%d signature lines on the checkpoint are by keys that the policy does not name", c.Unknown))}
}

func finding(code ledger.Code, subject string, leaf ledger.Hash, err error) ledger.Finding {
	return ledger.Finding{Code: code, Subject: subject, Text: err.Error(), Entry: fmt.Sprintf("%x", leaf)}
}

// CheckpointCode is the one place where the errors of proofs and checkpoints
// become codes.
func CheckpointCode(err error) ledger.Code {
	var quorum *ledger.QuorumError
	switch {
	case errors.Is(err, ledger.ErrInclusion):
		return ledger.ProofInclusion
	case errors.Is(err, ledger.ErrLogUnknown):
		return ledger.CheckpointUnknown
	case errors.Is(err, ledger.ErrLogSignature):
		return ledger.CheckpointSignature
	case errors.Is(err, ledger.ErrCosignature):
		return ledger.CosignatureInvalid
	case errors.As(err, &quorum):
		return ledger.QuorumNotMet
	default:
		return ledger.CheckpointMalformed
	}
}
