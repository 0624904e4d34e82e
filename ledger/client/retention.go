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

// keptPage is how many segments the ledger looks at for a page.
const keptPage = 1000

// KeptSegments calls f for each segment whose records are not erased, of one host
// or, where host is empty, of all, in the order of the log. What came into the log
// after a tree of the given size is left out.
func (c *Client) KeptSegments(ctx context.Context, host string, size uint64, f func(KeptSegment) error) error {
	for from := uint64(0); from < size; {
		begin := from
		var page KeptSegments
		if err := c.getJSON(ctx, fmt.Sprintf("/retention/segments?from=%d&limit=%d&host=%s", from, keptPage, url.QueryEscape(host)), &page); err != nil {
			return err
		}
		for _, s := range page.Segments {
			switch {
			case s.Index < from:
				return fmt.Errorf("ledger: %s #%d: the list of segments is not in the order of the log, or has one twice", s.Host, s.Sequence)
			case s.Index >= size:
				return nil
			}
			from = s.Index + 1
			if err := f(s); err != nil {
				return err
			}
		}
		switch {
		case page.Next == 0:
			return nil
		case page.Next < max(from, begin+keptPage): // it looked at so many, and would have no end
			return fmt.Errorf("ledger: a page of segments from entry %d on goes on at entry %d: want all of %d", begin, page.Next, keptPage)
		}
		from = page.Next
	}
	return nil
}
