package server

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"

	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
)

// quorum is the policy's quorum as Tessera asks for it. Tessera's own groups and
// parser are not used: what is published has to satisfy the policy that readers
// verify with, so the same code decides.
type quorum struct {
	policy    *ledger.Policy
	endpoints map[string]note.Verifier
}

// Satisfied reports whether the policy accepts the checkpoint.
func (q quorum) Satisfied(checkpoint []byte) bool {
	_, err := q.policy.Verify(checkpoint)
	return err == nil
}

// Endpoints returns the witnesses' keys by the URL that cosigns.
func (q quorum) Endpoints() map[string]note.Verifier { return q.endpoints }

// witnessGroup returns whom to ask to cosign, nil where the policy demands no
// witness. It refuses a policy that does not name the log's own key.
func witnessGroup(c *Config) (*tessera.WitnessGroup, error) {
	wanted, err := checkSigners(c)
	if wanted == nil || err != nil {
		return nil, err
	}
	q := quorum{c.Trust.Policy, make(map[string]note.Verifier)}
	for _, w := range c.Trust.Policy.Witnesses() {
		if w.URL == "" {
			c.Logger.Warn("a witness of the policy has no URL and is never asked", "witness", w.Name)
			continue
		}
		if err := q.addWitness(w); err != nil {
			return nil, fmt.Errorf("witness %s: %w", w.Name, err)
		}
	}
	if len(q.endpoints) == 0 {
		return nil, fmt.Errorf("no witness of the policy has a URL; add it after the key: %w", wanted)
	}
	group := tessera.NewWitnessGroup(1, q)
	return &group, nil
}

// checkSigners holds the log's signers to the policy, each by itself, and returns
// what the policy wants of witnesses, nil for nothing.
func checkSigners(c *Config) (wanted *ledger.QuorumError, err error) {
	// The empty tree is a part of every history, so signing it gives nothing
	// away; what the policy says of it tells what else is needed.
	text := fmt.Sprintf("%s\n0\n%s\n", c.Signer.Name(), base64.StdEncoding.EncodeToString(rfc6962.DefaultHasher.EmptyRoot()))
	keys := make(map[string]bool)
	for i, s := range append([]note.Signer{c.Signer}, c.MoreSigners...) {
		if s.Name() != c.Signer.Name() {
			return nil, fmt.Errorf("a log's keys have one name: %s and %s", c.Signer.Name(), s.Name())
		}
		signed, err := note.Sign(&note.Note{Text: text}, s)
		if err != nil {
			return nil, fmt.Errorf("sign as %s: %w", s.Name(), err)
		}
		key := logKey(c.Trust.Policy, s)
		switch _, err := c.Trust.Policy.Verify(signed); {
		case err != nil && !errors.As(err, &wanted):
			return nil, fmt.Errorf("the policy does not accept this log's key %s+%08x: add a line \"log\" with its verifier key: %w", s.Name(), s.KeyHash(), err)
		case keys[key]:
			return nil, fmt.Errorf("key %s+%08x is given twice", s.Name(), s.KeyHash())
		}
		keys[key] = true
		// SPEC (c2sp.org/tlog-tiles): a log that is public must carry at least
		// one Ed25519 signature.
		if _, err := note.NewVerifier(key); i == 0 && err != nil {
			return nil, fmt.Errorf("key %s+%08x is no Ed25519 key, and a log has one first: add the ML-DSA-44 key beside it", s.Name(), s.KeyHash())
		}
	}
	return wanted, nil
}

// logKey returns a signer's verifier key, as the policy has it; empty for none.
func logKey(p *ledger.Policy, s note.Signer) string {
	for _, l := range p.Logs() {
		if strings.HasPrefix(l.VKey, fmt.Sprintf("%s+%08x+", s.Name(), s.KeyHash())) {
			return l.VKey
		}
	}
	return ""
}

func (q quorum) addWitness(w ledger.PolicyKey) error {
	u, err := url.Parse(w.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("URL %q: want http:// or https:// and a host", w.URL)
	}
	endpoint := addCheckpointURL(u)
	if other, taken := q.endpoints[endpoint]; taken {
		return fmt.Errorf("has the URL of %s: one URL can cosign with one key only", other.Name())
	}
	v, err := fnote.NewVerifierForCosignatureV1(w.VKey)
	if err != nil {
		return fmt.Errorf("verifier key: %w", err)
	}
	q.endpoints[endpoint] = v
	return nil
}

func addCheckpointURL(u *url.URL) string { return u.JoinPath("add-checkpoint").String() }
