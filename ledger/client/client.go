// Package client speaks to a ledger over HTTP: it submits what a host has and
// reads what anyone may. It believes nothing: proofs and checkpoints come back as
// bytes, for package audit to verify.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"
)

// MaxWait is the longest that a ledger is asked to wait for its witnesses.
const MaxWait = 60 * time.Second

const (
	maxBody        = 2 << 20 // bytes of an answer: a proof has at most 1 MiB
	maxProblem     = 64 << 10
	maxRedirects   = 3
	requestTimeout = 30 * time.Second // besides what is asked to wait
)

// A Client speaks to one ledger. Its methods may be called at the same time. An
// answer that says no is a *Problem.
type Client struct {
	Base string // URL of the ledger, with or without a slash at its end
	// HTTP is the client to use, nil for one with timeouts of its own. Redirects
	// to another host are never followed: the ledger that was asked for answers,
	// or none.
	HTTP *http.Client
	// Token is shown with each request, if it is set: an auditor's, who may read
	// what is not public.
	Token string

	upload uploadToken
}

var defaultHTTP = &http.Client{Transport: &http.Transport{
	Proxy:                 http.ProxyFromEnvironment,
	DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
	ForceAttemptHTTP2:     true,
	MaxIdleConnsPerHost:   16,
	IdleConnTimeout:       90 * time.Second,
	TLSHandshakeTimeout:   10 * time.Second,
	ResponseHeaderTimeout: MaxWait + requestTimeout,
}}

// ErrWaiting is an answer that can only come later: what was asked is written down,
// for somebody to carry to the ledger.
var ErrWaiting = errors.New("written to the folder: carry it to a machine that reaches the ledger, run imaledger submit there, and bring it back")

var errRedirect = errors.New("redirect to another host refused")

// sameHost refuses redirects that leave the ledger, or its TLS.
func sameHost(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case req.URL.Host != first.Host || req.URL.Scheme != first.Scheme:
		return fmt.Errorf("%w: %s", errRedirect, req.URL.Host)
	case len(via) > maxRedirects:
		return errors.New("too many redirects")
	}
	return nil
}

func (c *Client) http() *http.Client {
	base := c.HTTP
	if base == nil {
		base = defaultHTTP
	}
	h := *base
	h.CheckRedirect = sameHost
	return &h
}

// request makes a request for a path below Base.
func (c *Client) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.Base, "/")+path, body)
	if err != nil || req.URL.Host == "" || req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return nil, fmt.Errorf("ledger URL %q: want http:// or https:// and a host", c.Base)
	}
	token := c.Token
	if upload := c.upload.get(); upload != "" && (token == "" || method != http.MethodGet) && uploads(method, path) {
		token = upload
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req, nil
}

// do sends a request and returns the answer if its status is one of want, else
// an error.
func (c *Client) do(req *http.Request, want ...int) (*http.Response, error) {
	resp, err := c.http().Do(req)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	c.upload.note(resp.Header)
	for _, status := range want {
		if resp.StatusCode == status {
			return resp, nil
		}
	}
	defer resp.Body.Close()
	return nil, readProblem(resp)
}

// readProblem reads why a ledger, or something before it, said no.
func readProblem(resp *http.Response) error {
	p := &Problem{}
	b, err := readAll(resp.Body, maxProblem)
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || media != ProblemType || json.Unmarshal(b, p) != nil {
		p = &Problem{Title: http.StatusText(resp.StatusCode)}
	}
	// What decides is the status of the answer, not what its body says.
	p.Status = resp.StatusCode
	return p
}

// small sends a request whose answer is read whole.
func (c *Client) small(ctx context.Context, method, path string, body []byte, wait time.Duration, want ...int) (status int, answer []byte, err error) {
	return c.sized(ctx, method, path, body, wait, maxBody, want...)
}

// sized is small for answers of at most limit bytes.
func (c *Client) sized(ctx context.Context, method, path string, body []byte, wait time.Duration, limit int64, want ...int) (status int, answer []byte, err error) {
	wait = min(max(wait, 0), MaxWait)
	ctx, cancel := context.WithTimeout(ctx, requestTimeout+wait)
	defer cancel()
	req, err := c.request(ctx, method, path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/octet-stream")
		if len(body) > 0 && body[0] == '{' {
			req.Header.Set("Content-Type", "application/json")
		}
	}
	req.Header.Set("Prefer", fmt.Sprintf("wait=%d", int(wait/time.Second)))
	resp, err := c.do(req, want...)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	if answer, err = readAnswer(resp, limit); err != nil {
		return 0, nil, fmt.Errorf("ledger: %s %s: %w", method, path, err)
	}
	return resp.StatusCode, answer, nil
}

// readAnswer reads an answer of at most max bytes, in one piece where it states its
// size.
func readAnswer(resp *http.Response, max int64) ([]byte, error) {
	if n := resp.ContentLength; n > 0 && n <= max {
		b := make([]byte, n)
		_, err := io.ReadFull(resp.Body, b)
		return b, err
	}
	return readAll(resp.Body, max)
}

// readAll reads at most max bytes; more is an error.
func readAll(r io.Reader, max int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, max+1))
	if err == nil && int64(len(b)) > max {
		return nil, fmt.Errorf("more than %d bytes", max)
	}
	return b, err
}
