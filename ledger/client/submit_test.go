package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/imaledger/imaledger/ledger"
)

// A breaking is a ledger whose connections break after some bytes of an upload.
type breaking struct {
	after    int64
	have     []byte
	requests int
}

// RoundTrip implements http.RoundTripper.
func (b *breaking) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.requests++; b.requests > 100_000 {
		return nil, context.Canceled
	}
	resp := &http.Response{StatusCode: http.StatusNotFound, Header: make(http.Header), Body: io.NopCloser(strings.NewReader("")), Request: r}
	if r.Method == http.MethodHead {
		resp.Header.Set("Upload-Offset", fmt.Sprint(len(b.have)))
		return resp, nil
	}
	part, err := io.ReadAll(io.LimitReader(r.Body, b.after))
	if err != nil {
		return nil, err
	}
	b.have = append(b.have, part...)
	if n, err := io.Copy(io.Discard, r.Body); n > 0 || err != nil {
		return nil, fmt.Errorf("the connection broke with %d bytes to come: %w", n, io.ErrUnexpectedEOF)
	}
	resp.StatusCode = http.StatusCreated
	return resp, nil
}

// TestPutAddendumByTheByte: an upload whose connection breaks again and again comes to
// its end, unless the ledger takes next to nothing at a time: then it is given up.
func TestPutAddendumByTheByte(t *testing.T) {
	content := bytes.Repeat([]byte("record"), 400_000)
	digest := ledger.Hash(sha256.Sum256(content))
	for _, row := range []struct {
		after    int64
		requests int // at most
		whole    bool
	}{{1 << 20, 6, true}, {resumeStep, 100, true}, {1, 10, false}} {
		synctest.Test(t, func(t *testing.T) {
			b := &breaking{after: row.after}
			c := &Client{Base: "http://ledger.example", HTTP: &http.Client{Transport: b}}
			err := c.PutAddendum(t.Context(), digest, int64(len(content)), bytes.NewReader(content))
			if (err == nil) != row.whole || row.whole && !bytes.Equal(b.have, content) || b.requests > row.requests {
				t.Errorf("%d bytes at a time: %d bytes in %d requests: %v", row.after, len(b.have), b.requests, err)
			}
		})
	}
}
