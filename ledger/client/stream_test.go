package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imaledger/imaledger/ledger"
)

// A dripping answer is made of one byte after the other, each after a wait.
type dripping struct {
	ctx  context.Context
	wait time.Duration
	left int
}

func (d *dripping) Read(b []byte) (int, error) {
	if d.left == 0 {
		return 0, io.EOF
	}
	select {
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	case <-time.After(d.wait):
	}
	d.left--
	b[0] = 'x'
	return 1, nil
}

func (d *dripping) Close() error { return nil }

type answering func(*http.Request) io.ReadCloser

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: make(http.Header), Body: a(r), Request: r}, nil
}

// TestSlow: an addendum that stops coming, or comes by the drop, is waited for no
// longer than its size is worth; who reads it may take his time.
func TestSlow(t *testing.T) {
	for name, wait := range map[string]time.Duration{"stops": 1000 * time.Hour, "drips": time.Second} {
		synctest.Test(t, func(t *testing.T) {
			c := &Client{Base: "http://ledger.example", HTTP: &http.Client{Transport: answering(func(r *http.Request) io.ReadCloser { return &dripping{r.Context(), wait, 1 << 20} })}}
			began := time.Now()
			if err := c.Addendum(t.Context(), ledger.Hash{}, 1<<20, io.Discard); !errors.Is(err, errSlow) {
				t.Errorf("%s: %v", name, err)
			}
			r, err := c.OpenAddendum(t.Context(), ledger.Hash{}, ledger.Hash{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, r); !errors.Is(err, errSlow) {
				t.Errorf("%s, opened: %v", name, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > 3*requestTimeout {
				t.Errorf("%s: it took %v", name, took)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		content := bytes.Repeat([]byte("x"), 100)
		c := &Client{Base: "http://ledger.example", HTTP: &http.Client{Transport: answering(func(*http.Request) io.ReadCloser { return io.NopCloser(bytes.NewReader(content)) })}}
		r, err := c.OpenAddendum(t.Context(), ledger.Hash{}, ledger.Hash{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for range content {
			time.Sleep(time.Hour)
			if _, err := io.ReadFull(r, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
	})
}
