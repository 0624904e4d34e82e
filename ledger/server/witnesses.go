package server

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"

	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
)

// maxWitnessAnswer bounds a witness's answer in bytes: a few signature lines,
// of 3.3 kB each if they are post-quantum.
const maxWitnessAnswer = 64 << 10

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
	// The empty tree is a part of every history, so signing it gives nothing
	// away; what the policy says of it tells what else is needed.
	text := fmt.Sprintf("%s\n0\n%s\n", c.Signer.Name(), base64.StdEncoding.EncodeToString(rfc6962.DefaultHasher.EmptyRoot()))
	signed, err := note.Sign(&note.Note{Text: text}, c.Signer)
	if err != nil {
		return nil, fmt.Errorf("sign as %s: %w", c.Signer.Name(), err)
	}
	_, err = c.Trust.Policy.Verify(signed)
	var wanted *ledger.QuorumError
	switch {
	case err == nil:
		return nil, nil
	case !errors.As(err, &wanted):
		return nil, fmt.Errorf("the policy does not accept this log's key: add a line \"log\" with its verifier key: %w", err)
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

func (q quorum) addWitness(w ledger.PolicyKey) error {
	u, err := url.Parse(w.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("URL %q: want http:// or https:// and a host", w.URL)
	}
	endpoint := u.JoinPath("add-checkpoint").String()
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

// witnessClient is the HTTP client for witnesses, whom the log need not trust:
// no redirects, no endless answers.
func witnessClient(logger *slog.Logger) *http.Client {
	return &http.Client{
		Transport:     &witnessTransport{logger: logger, down: make(map[string]bool)},
		Timeout:       witnessTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// witnessTransport bounds answers, and logs when a witness falls silent or comes
// back. Tessera asks at each checkpoint, so a line for each failure would be five
// a second.
type witnessTransport struct {
	logger *slog.Logger
	mu     sync.Mutex
	down   map[string]bool // by host
}

func (t *witnessTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(req)
	switch {
	case errors.Is(err, context.Canceled):
		// The others were quicker and made the quorum.
	case err != nil:
		t.note(req.URL.Host, err.Error())
	case resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusConflict:
		t.note(req.URL.Host, "")
	default:
		t.note(req.URL.Host, resp.Status)
	}
	if resp != nil {
		resp.Body = limitedBody{io.LimitReader(resp.Body, maxWitnessAnswer), resp.Body}
	}
	return resp, err
}

func (t *witnessTransport) note(host, problem string) {
	t.mu.Lock()
	was := t.down[host]
	t.down[host] = problem != ""
	t.mu.Unlock()
	switch {
	case problem != "" && !was:
		t.logger.Warn("witness does not cosign", "witness", host, "problem", problem)
	case problem == "" && was:
		t.logger.Info("witness cosigns again", "witness", host)
	}
}

type limitedBody struct {
	io.Reader
	io.Closer
}
