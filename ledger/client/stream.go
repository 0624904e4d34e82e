package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// minRate is how many bytes of an addendum must come each second, on the average and
// beyond requestTimeout: a ledger that sends some now and then would else be waited
// for for ever.
const minRate = 16 << 10

var errSlow = fmt.Errorf("fewer than %d bytes a second", minRate)

// stream gets an answer of any size.
func (c *Client) stream(ctx context.Context, path string) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	req, err := c.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	resp, err := c.do(req, http.StatusOK)
	if err != nil {
		cancel()
		return nil, err
	}
	timer := time.AfterFunc(requestTimeout, cancel)
	timer.Stop()
	return &stream{body: resp.Body, cancel: cancel, timer: timer, left: requestTimeout}, nil
}

// A stream is an answer that is being read. What its reader takes is his time.
type stream struct {
	body   io.ReadCloser
	cancel context.CancelFunc
	timer  *time.Timer   // cancels; it runs while a read waits
	left   time.Duration // to wait for more
	slow   bool
}

func (s *stream) Read(b []byte) (int, error) {
	began := time.Now()
	s.timer.Reset(s.left)
	n, err := s.body.Read(b)
	s.slow = !s.timer.Stop() || s.slow
	s.left += time.Duration(n)*time.Second/minRate - time.Since(began)
	if s.slow && err != nil && !errors.Is(err, io.EOF) {
		err = errSlow
	}
	return n, err
}

func (s *stream) Close() error {
	s.cancel()
	return s.body.Close()
}
