package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

// maxEntry bounds an entry in bytes: those of other logs may be larger than ours.
const maxEntry = 16 << 20

// A provenEntry is what a proof of any log shows, for people and for programs.
type provenEntry struct {
	Verdict      string             `json:"verdict"`
	Origin       string             `json:"origin"`
	Index        uint64             `json:"index"`
	Size         uint64             `json:"size"`
	LogKey       string             `json:"logKey"`
	Cosignatures []entryCosignature `json:"cosignatures"`
	NotAfter     string             `json:"notAfter,omitempty"`
	Extra        int                `json:"extraBytes,omitempty"`
	Unknown      int                `json:"unknownSignatures,omitempty"`
}

type entryCosignature struct {
	Witness string `json:"witness"`
	Name    string `json:"name"`
	Time    string `json:"time,omitempty"`
}

// verifyProof verifies a c2sp.org/tlog-proof of any log, offline.
func verifyProof(w io.Writer, policyFile, entryFile, proofFile string, asJSON bool) error {
	policy, err := readPolicy(policyFile)
	if err != nil {
		return err
	}
	if len(policy.Logs()) == 0 {
		return cli.Usagef("%s names no log, and a proof is of one", policyFile)
	}
	entry, err := readLimited(entryFile, maxEntry)
	if err != nil {
		return err
	}
	b, err := readLimited(proofFile, ledger.MaxProof)
	if err != nil {
		return err
	}
	proof, err := ledger.ParseProof(b)
	if err != nil {
		code := ledger.ProofMalformed
		if errors.Is(err, ledger.ErrCheckpoint) {
			code = ledger.CheckpointMalformed
		}
		return cli.Contradictedf("%s: %w [%s]", proofFile, err, code)
	}
	c, err := proof.Verify(policy, ledger.LeafHash(entry))
	if err != nil {
		code := audit.CheckpointCode(err)
		return &cli.Error{Code: int(code.Class()), Err: fmt.Errorf("%s: %w [%s]", proofFile, err, code)}
	}
	shown := provenEntry{Verdict: "verified", Origin: c.Origin, Index: proof.Index, Size: c.Size, LogKey: c.LogKey,
		Cosignatures: []entryCosignature{}, Extra: len(proof.Extra), Unknown: c.Unknown}
	for _, s := range c.Cosignatures {
		shown.Cosignatures = append(shown.Cosignatures, entryCosignature{s.Label, s.Name, unixTime(s.Time)})
	}
	shown.NotAfter = unixTime(policy.NotAfter(c))
	if asJSON {
		return printJSON(w, shown)
	}
	return shown.print(w)
}

func (e provenEntry) print(w io.Writer) error {
	p := &printer{w: w}
	p.f("VERIFIED\n\n  log      %s\n  index    %d\n  size     %d\n", e.Origin, e.Index, e.Size)
	for _, s := range e.Cosignatures {
		at := s.Time
		if at == "" {
			at = "a time that it does not state"
		}
		p.f("  witness  %s (%s) at %s\n", s.Witness, s.Name, at)
	}
	if e.NotAfter != "" {
		p.f("\n  The entry was in the log by %s, by the witnesses' clocks.\n", e.NotAfter)
	}
	if e.Extra > 0 {
		p.f("  The proof has %d bytes beside that nothing vouches for.\n", e.Extra)
	}
	return p.err
}

// unixTime writes Unix seconds for people, and nothing for 0.
func unixTime(seconds uint64) string {
	if seconds == 0 {
		return ""
	}
	return time.Unix(int64(seconds), 0).UTC().Format(time.RFC3339)
}
