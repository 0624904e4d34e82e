package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
)

// SegmentFormat is the first line of a segment leaf.
const SegmentFormat = "imaledger/segment/v1"

// A Head is what the agent writes before it asks for the quote; the quote's
// nonce is the head's SHA-256. So the TPM signs the host's chain, the log it is
// meant for, and a checkpoint that was witnessed before.
type Head struct {
	Log      string // the log's origin
	Host     string
	AK       Name   // of the key that signs the quote
	Sequence uint64 // in the host's chain, enrolments included
	Previous Hash   // leaf hash of the host's entry with the sequence before
	Anchor   Anchor
}

// An Anchor is the newest checkpoint that the agent verified: the quote is not
// older than the cosignatures on it.
type Anchor struct {
	Size uint64 // of the tree
	Root Hash   // of the tree
	Note Hash   // SHA-256 of the signed checkpoint, cosignatures included; an addendum
}

// headRoom is about what a head has in bytes besides its names.
const headRoom = 512

// Marshal returns the head's bytes.
func (h *Head) Marshal() []byte {
	b := make([]byte, 0, headRoom+len(h.Log)+len(h.Host))
	b = append(append(b, SegmentFormat+"\nlog "...), h.Log...)
	b = append(append(b, "\nhost "...), h.Host...)
	b = append(append(b, "\nak "...), h.AK.String()...)
	b = strconv.AppendUint(append(b, "\nsequence "...), h.Sequence, 10)
	b = hex.AppendEncode(append(b, "\nprevious "...), h.Previous[:])
	b = strconv.AppendUint(append(b, "\nanchor "...), h.Anchor.Size, 10)
	b = hex.AppendEncode(append(b, ' '), h.Anchor.Root[:])
	b = hex.AppendEncode(append(b, ' '), h.Anchor.Note[:])
	return append(b, '\n')
}

// Nonce returns what the TPM gets as qualifyingData.
func (h *Head) Nonce() Hash { return sha256.Sum256(h.Marshal()) }

func (r *textReader) head() Head {
	h := Head{Log: r.logOrigin(), Host: r.host(), AK: r.name("ak"), Sequence: r.number("sequence")}
	if h.Sequence == 0 {
		r.fail("sequence: 0 is the host's first enrolment")
	}
	h.Previous = r.hash("previous")
	f := r.values("anchor", 3)
	h.Anchor = Anchor{r.parseNumber("anchor", f[0]), r.parseHash("anchor", f[1]), r.parseHash("anchor", f[2])}
	return h
}
