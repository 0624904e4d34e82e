package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/imaledger/imaledger/ledger"
)

// resumeFrom is the size in bytes from which on an upload is resumed where it broke
// off, which is the size from which on a ledger keeps what came of one; maxAttempts
// bounds how often that is tried while the ledger has less than resumeStep bytes more:
// one that takes a byte at a time has an end, and a later call goes on.
const (
	resumeFrom  = 256 << 10
	resumeStep  = 64 << 10
	maxAttempts = 3
)

// PutAddendum uploads an addendum of the given size in bytes. When it returns nil
// the ledger has it on disk. Uploading it again does no harm. A large one whose
// connection breaks is gone on with, where r is an io.Seeker: in this call, and by
// a later one.
func (c *Client) PutAddendum(ctx context.Context, digest ledger.Hash, size int64, r io.Reader) error {
	seeker, ok := r.(io.ReadSeeker)
	if !ok || size < resumeFrom {
		return c.putPart(ctx, digest, 0, size, r)
	}
	have := int64(0)
	for attempt := 0; ; attempt++ {
		offset, found, err := c.HasAddendum(ctx, digest)
		if found {
			return nil
		}
		if err == nil {
			if offset >= have+resumeStep {
				attempt, have = 0, offset // it gets on
			}
			if offset >= size {
				offset = 0 // it has all, and it was not right
			}
			if _, err = seeker.Seek(offset, io.SeekStart); err != nil {
				return fmt.Errorf("upload addendum %x: %w", digest[:6], err)
			}
			err = c.putPart(ctx, digest, offset, size, seeker)
		}
		switch {
		case err == nil:
			return nil
		case attempt >= maxAttempts || ctx.Err() != nil || !resumable(err, offset):
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Duration(attempt) * time.Second):
		}
	}
}

// resumable reports whether an upload that failed at an offset is to be tried once
// more: the connection broke, or what the ledger had before was not right.
func resumable(err error, offset int64) bool {
	var p *Problem
	if !errors.As(err, &p) {
		return true
	}
	switch p.Status {
	case http.StatusRequestedRangeNotSatisfiable, http.StatusRequestTimeout, http.StatusBadGateway, http.StatusGatewayTimeout:
		return true
	case http.StatusBadRequest:
		return offset > 0
	}
	return false
}

// putPart uploads an addendum from an offset on.
func (c *Client) putPart(ctx context.Context, digest ledger.Hash, offset, size int64, r io.Reader) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout+MaxWait+time.Duration((size-offset)/minRate)*time.Second)
	defer cancel()
	req, err := c.request(ctx, http.MethodPut, "/"+ledger.AddendumPath(digest), io.LimitReader(r, size-offset))
	if err != nil {
		return err
	}
	req.ContentLength = size - offset
	if size == offset {
		req.Body = http.NoBody
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	if offset > 0 {
		req.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset, size-1, size))
	}
	resp, err := c.do(req, http.StatusOK, http.StatusCreated)
	if err != nil {
		return fmt.Errorf("upload addendum %x: %w", digest[:6], err)
	}
	return resp.Body.Close()
}

// SubmitLeaf submits an entry whose addenda were uploaded, and waits up to the
// given time for the witnesses, in whole seconds and at most MaxWait. When the
// error is nil the entry is in the log for good, at Accepted.Index. Its Proof is
// empty where the witnesses took longer: ask for it with Proof. The same entry,
// submitted again, has the same index.
func (c *Client) SubmitLeaf(ctx context.Context, entry []byte, wait time.Duration) (*Accepted, error) {
	status, body, err := c.small(ctx, http.MethodPost, "/leaf", entry, wait, http.StatusOK, http.StatusAccepted)
	if err != nil {
		return nil, err
	}
	return accepted(status, ledger.LeafHash(entry), body)
}

// Proof asks for the proof of an entry, and waits like SubmitLeaf. The error of
// an unknown leaf is a *Problem with status 404.
func (c *Client) Proof(ctx context.Context, leaf ledger.Hash, wait time.Duration) (*Accepted, error) {
	status, body, err := c.small(ctx, http.MethodGet, fmt.Sprintf("/proof/%x", leaf), nil, wait, http.StatusOK, http.StatusAccepted)
	if err != nil {
		return nil, err
	}
	return accepted(status, leaf, body)
}

// accepted reads an answer about one entry: a proof, or where it stands.
func accepted(status int, leaf ledger.Hash, body []byte) (*Accepted, error) {
	hex := fmt.Sprintf("%x", leaf)
	if status == http.StatusOK {
		p, err := ledger.ParseProof(body)
		if err != nil {
			return nil, fmt.Errorf("ledger: leaf %.12s…: %w", hex, err)
		}
		return &Accepted{Leaf: hex, Index: p.Index, Proof: string(body)}, nil
	}
	a := &Accepted{}
	if err := json.Unmarshal(body, a); err != nil || a.Leaf != hex {
		return nil, fmt.Errorf("ledger: leaf %.12s…: the answer is about another leaf, or none: %.64q", hex, body)
	}
	return a, nil
}

// Enrol begins an enrolment. The challenge is for the TPM; answer it with
// Activate. Where the ledger enrols without a TPM (grade software) the challenge
// is nil and the enrolment is made.
func (c *Client) Enrol(ctx context.Context, r EnrolRequest, wait time.Duration) (*Challenge, *Accepted, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, nil, err
	}
	status, answer, err := c.small(ctx, http.MethodPost, "/enrol", body, wait, http.StatusOK, http.StatusCreated, http.StatusAccepted)
	if err != nil {
		return nil, nil, err
	}
	if status != http.StatusOK {
		a, err := enrolled(answer)
		return nil, a, err
	}
	ch := &Challenge{}
	if err := json.Unmarshal(answer, ch); err != nil || ch.Session == "" {
		return nil, nil, fmt.Errorf("ledger: enrol %s: no challenge in the answer", r.Host)
	}
	return ch, nil, nil
}

// Activate ends an enrolment: Accepted.Entry is the enrolment, an entry of the
// host's chain.
func (c *Client) Activate(ctx context.Context, a Activation, wait time.Duration) (*Accepted, error) {
	body, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	_, answer, err := c.small(ctx, http.MethodPost, "/enrol/activate", body, wait, http.StatusCreated, http.StatusAccepted)
	if err != nil {
		return nil, err
	}
	return enrolled(answer)
}

func enrolled(answer []byte) (*Accepted, error) {
	a := &Accepted{}
	if err := json.Unmarshal(answer, a); err != nil || fmt.Sprintf("%x", ledger.LeafHash(a.Entry)) != a.Leaf {
		return nil, fmt.Errorf("ledger: enrolment: the answer's leaf hash is not that of its entry")
	}
	return a, nil
}
