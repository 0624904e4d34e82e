package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

// Retention is what the operators have stated of how long records are kept. It is
// the ledger's word: the statements themselves stand in the log.
type Retention struct {
	Leaf      string        `json:"leaf,omitempty"` // leaf hash of the policy in force, hex; empty for none
	Policy    uint64        `json:"policy,omitempty"`
	Days      uint64        `json:"days,omitempty"` // 0 for forever
	Appraisal bool          `json:"appraisal,omitempty"`
	Statement string        `json:"statement,omitempty"`
	Time      uint64        `json:"time"` // by the witnesses, Unix seconds
	Holds     []HoldInForce `json:"holds"`
}

// A HoldInForce is a hold that no release has ended.
type HoldInForce struct {
	Leaf   string `json:"leaf"`
	Host   string `json:"host,omitempty"` // empty for all
	From   uint64 `json:"from"`
	To     uint64 `json:"to"`
	Reason string `json:"reason"`
	Time   uint64 `json:"time"`
}

// KeptSegments is a page of segments whose records are not erased.
type KeptSegments struct {
	Segments []KeptSegment `json:"segments"`
	Next     uint64        `json:"next,omitempty"` // index that the next page begins at; 0 on the last
}

// A KeptSegment is a segment whose records are not erased.
type KeptSegment struct {
	Host     string `json:"host"`
	Sequence uint64 `json:"sequence"`
	Index    uint64 `json:"index"` // in the log
	Leaf     string `json:"leaf"`
	Payload  string `json:"payload"`            // SHA-256, hex
	Size     uint64 `json:"size"`               // bytes
	NotAfter uint64 `json:"notAfter,omitempty"` // when the log had it, Unix seconds; 0 while that is not known
	Keeps    string `json:"keeps,omitempty"`    // why it must be kept; empty if it may be erased
}

func (c *Client) getJSON(ctx context.Context, path string, v any) error {
	_, answer, err := c.small(ctx, http.MethodGet, path, nil, 0, http.StatusOK)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer, v); err != nil {
		return fmt.Errorf("ledger: %s: %w", path, err)
	}
	return nil
}

// Retention returns the policy and the holds in force.
func (c *Client) Retention(ctx context.Context) (*Retention, error) {
	var r Retention
	return &r, c.getJSON(ctx, "/retention", &r)
}

// KeptSegments calls f for each segment whose records are not erased, of one host
// or, where host is empty, of all.
func (c *Client) KeptSegments(ctx context.Context, host string, f func(KeptSegment) error) error {
	for from := uint64(0); ; {
		var page KeptSegments
		if err := c.getJSON(ctx, fmt.Sprintf("/retention/segments?from=%d&limit=1000&host=%s", from, url.QueryEscape(host)), &page); err != nil {
			return err
		}
		for _, s := range page.Segments {
			if err := f(s); err != nil {
				return err
			}
		}
		if page.Next <= from {
			return nil
		}
		from = page.Next
	}
}
