package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/gather"
	"github.com/imaledger/imaledger/ledger/monitor"
	"github.com/imaledger/imaledger/witness"
)

const (
	alertTimeout = time.Minute // of a program, or a webhook
	// maxPosted is the size in bytes up to which a webhook gets the evidence too.
	maxPosted = 8 << 20
)

// An alert is a new finding, as a program or a webhook gets it.
type alert struct {
	Time     string         `json:"time"`
	Log      string         `json:"log"`
	Size     uint64         `json:"size"` // of the checkpoint
	Verdict  string         `json:"verdict"`
	Finding  ledger.Finding `json:"finding"`
	Evidence string         `json:"evidence,omitempty"` // file
	// Missing says why there is no evidence in a file.
	Missing string `json:"missing,omitempty"`
	// Content is the evidence, for a webhook alone.
	Content []byte `json:"content,omitempty"`
}

// send sends an alert everywhere. What cannot be reached is said on stderr: the
// alert stands on stdout whatever becomes of it.
func (a *alert) send(ctx context.Context, f *follower, stdout, stderr io.Writer) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(stdout, "%s\n", b); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, alertTimeout)
	defer cancel()
	if f.program != "" {
		cmd := exec.CommandContext(ctx, f.program)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(append(b, '\n')), stderr, stderr
		cmd.Env = append(os.Environ(), "IMALEDGER_CODE="+string(a.Finding.Code), "IMALEDGER_VERDICT="+a.Verdict, "IMALEDGER_EVIDENCE="+a.Evidence)
		if err := cmd.Run(); err != nil {
			fmt.Fprintf(stderr, "--exec %s: %v\n", f.program, err)
		}
	}
	if f.webhook != "" {
		if err := a.post(ctx, f.webhook); err != nil {
			fmt.Fprintf(stderr, "--webhook: %v\n", err)
		}
	}
	return nil
}

func (a *alert) post(ctx context.Context, url string) error {
	if a.Evidence != "" {
		if info, err := os.Stat(a.Evidence); err == nil && info.Size() <= maxPosted {
			if a.Content, err = os.ReadFile(a.Evidence); err != nil {
				return err
			}
		}
	}
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s answered %s", url, resp.Status)
	}
	return nil
}

// collect writes the evidence of a finding to a file, and returns its name: a bundle
// of the entry that it is about, or two checkpoints that the log signed.
func (f *follower) collect(ctx context.Context, r *monitor.Report, finding ledger.Finding) (file string, err error) {
	if err := os.MkdirAll(f.evidence, 0o755); err != nil {
		return "", err
	}
	if finding.Code == ledger.LogSplit && len(r.Split) == 2 {
		return f.writeSplit(ctx, r.Split[0], r.Split[1])
	}
	leaf, err := ledger.ParseHash(finding.Entry)
	if err != nil {
		return "", errors.New("the finding is about no entry")
	}
	l, err := gather.Open(ctx, f.client, f.trust)
	if err != nil {
		return "", err
	}
	e, err := l.ByLeaf(ctx, leaf)
	if err != nil {
		return "", err
	}
	evidence, err := l.Segment(ctx, e.Index, gather.Options{})
	if err != nil {
		return "", err
	}
	defer evidence.Close()
	file = filepath.Join(f.evidence, finding.Entry+".tar")
	return file, writeBundle(file, evidence.Sources)
}

// writeSplit writes two checkpoints as evidence that the log signed two histories,
// with the path that shows it where the log still gives it.
func (f *follower) writeSplit(ctx context.Context, older, newer []byte) (file string, err error) {
	var b strings.Builder
	b.WriteString(witness.EquivocationFormat + "\n")
	for _, k := range f.trust.Policy.Logs() {
		fmt.Fprintf(&b, "log %s\n", k.VKey)
	}
	for _, k := range f.trust.Policy.Witnesses() {
		fmt.Fprintf(&b, "witness %s\n", k.VKey)
	}
	from, err := ledger.ParseCheckpoint(older) // that the log has signed both is held to below
	if err != nil {
		return "", err
	}
	to, err := ledger.ParseCheckpoint(newer)
	if err != nil {
		return "", err
	}
	if from.Size < to.Size {
		if path, err := f.client.ConsistencyPath(ctx, from.Size, to.Size, to); err == nil {
			for _, h := range path {
				fmt.Fprintf(&b, "proof %s\n", base64.StdEncoding.EncodeToString(h[:]))
			}
		}
	}
	fmt.Fprintf(&b, "\n%s\n%s", older, newer)
	if _, err := witness.ParseEquivocation([]byte(b.String())); err != nil {
		return "", err
	}
	file = filepath.Join(f.evidence, fmt.Sprintf("split-%d-%d-%.12x", from.Size, to.Size, to.Root))
	return file, os.WriteFile(file, []byte(b.String()), 0o644)
}
