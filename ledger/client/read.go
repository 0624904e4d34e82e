package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/imaledger/imaledger/ledger"
)

// Checkpoint returns the log's newest checkpoint, as it was signed. It verifies
// nothing.
func (c *Client) Checkpoint(ctx context.Context) ([]byte, error) {
	_, b, err := c.small(ctx, http.MethodGet, "/checkpoint", nil, 0, http.StatusOK)
	if err == nil && len(b) > ledger.MaxCheckpoint {
		return nil, fmt.Errorf("ledger: checkpoint of %d bytes, at most %d", len(b), ledger.MaxCheckpoint)
	}
	return b, err
}

// HostHead returns the newest entry of a host's chain, as the ledger states it.
// The error of an unknown host is a *Problem with status 404.
func (c *Client) HostHead(ctx context.Context, host string) (*HostHead, error) {
	if !ledger.ValidHost(host) {
		return nil, fmt.Errorf("host name %.64q: want a-z, 0-9, dot, dash and underscore", host)
	}
	_, b, err := c.small(ctx, http.MethodGet, "/host/"+host+"/head", nil, 0, http.StatusOK)
	if err != nil {
		return nil, err
	}
	h := &HostHead{}
	if err := json.Unmarshal(b, h); err != nil || h.Host != host {
		return nil, fmt.Errorf("ledger: head of %s: the answer is about another host, or none: %.64q", host, b)
	}
	return h, nil
}

// HostChain returns a page of a host's chain, of at most limit entries from a
// sequence number on, as the ledger states it; the next one begins after its last
// entry. A limit of 0 is the ledger's own.
func (c *Client) HostChain(ctx context.Context, host string, from uint64, limit int) (*HostChain, error) {
	if !ledger.ValidHost(host) {
		return nil, fmt.Errorf("host name %.64q: want a-z, 0-9, dot, dash and underscore", host)
	}
	path := fmt.Sprintf("/host/%s/chain?from=%d", host, from)
	if limit > 0 {
		path += fmt.Sprintf("&limit=%d", limit)
	}
	_, b, err := c.small(ctx, http.MethodGet, path, nil, 0, http.StatusOK)
	if err != nil {
		return nil, err
	}
	h := &HostChain{}
	if err := json.Unmarshal(b, h); err != nil || h.Host != host {
		return nil, fmt.Errorf("ledger: chain of %s: the answer is about another host, or none: %.64q", host, b)
	}
	return h, nil
}

// Leaf returns the entry with a leaf hash. The error of an unknown one is a
// *Problem with status 404.
func (c *Client) Leaf(ctx context.Context, leaf ledger.Hash) ([]byte, error) {
	_, b, err := c.small(ctx, http.MethodGet, fmt.Sprintf("/leaf/%x", leaf), nil, 0, http.StatusOK)
	if err == nil && ledger.LeafHash(b) != leaf {
		return nil, &OtherBytesError{fmt.Sprintf("leaf %x", leaf[:6]), leaf, ledger.LeafHash(b)}
	}
	return b, err
}

// HasAddendum reports whether the ledger has an addendum, and its size in bytes;
// where it has not, how much there is of an upload that broke off.
func (c *Client) HasAddendum(ctx context.Context, digest ledger.Hash) (size int64, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := c.request(ctx, http.MethodHead, "/"+ledger.AddendumPath(digest), nil)
	if err != nil {
		return 0, false, err
	}
	resp, err := c.do(req, http.StatusOK, http.StatusNotFound)
	if err != nil {
		return 0, false, err
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return resp.ContentLength, true, nil
	}
	return uploadOffset(resp.Header), false, nil
}

// uploadOffset reads how much of an upload the ledger has, in bytes.
func uploadOffset(h http.Header) int64 {
	n, err := strconv.ParseInt(h.Get("Upload-Offset"), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// Addendum writes an addendum of at most max bytes to w. The error is nil only
// if what was written has the digest.
func (c *Client) Addendum(ctx context.Context, digest ledger.Hash, max int64, w io.Writer) error {
	return c.addendum(ctx, "", digest, max, w)
}

// AddendumOf is Addendum for one who may read what belongs to some hosts only: it
// says which entry names the addendum.
func (c *Client) AddendumOf(ctx context.Context, leaf, digest ledger.Hash, max int64, w io.Writer) error {
	return c.addendum(ctx, fmt.Sprintf("?leaf=%x", leaf), digest, max, w)
}

// OpenAddendum opens an addendum that an entry names, for whoever hashes it himself.
// The error of one that the ledger does not give is a *Problem.
func (c *Client) OpenAddendum(ctx context.Context, leaf, digest ledger.Hash) (io.ReadCloser, error) {
	return c.stream(ctx, "/"+ledger.AddendumPath(digest)+"?leaf="+hex.EncodeToString(leaf[:]))
}

func (c *Client) addendum(ctx context.Context, query string, digest ledger.Hash, max int64, w io.Writer) error {
	body, err := c.stream(ctx, "/"+ledger.AddendumPath(digest)+query)
	if err != nil {
		return err
	}
	defer body.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(body, max+1))
	switch {
	case err != nil:
		return fmt.Errorf("addendum %x: %w", digest[:6], err)
	case n > max:
		return fmt.Errorf("addendum %x: more than %d bytes", digest[:6], max)
	case ledger.Hash(h.Sum(nil)) != digest:
		return &OtherBytesError{fmt.Sprintf("addendum %x", digest[:6]), digest, ledger.Hash(h.Sum(nil))}
	}
	return nil
}
