package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/imaledger/imaledger/ledger"
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

// maxList bounds a list of an answer in bytes: of holds there may be some for each of
// tens of thousands of hosts, each with a reason.
const maxList = 64 << 20

func (c *Client) getJSON(ctx context.Context, path string, v any) error {
	_, answer, err := c.sized(ctx, http.MethodGet, path, nil, 0, maxList, http.StatusOK)
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

// keptPage is how many segments a page has at most.
const keptPage = 1000

// KeptSegments calls f for each segment whose records are not erased, of one host
// or, where host is empty, of all, in the order of the log. What came into the log
// after the tree of a checkpoint is left out.
//
// The list is the ledger's word, and a log may claim any size. So that there is no
// end of pages only where there is none of entries, each page names a segment, and
// its last one's leaf hash is that of the tree, which no other page ended with.
func (c *Client) KeptSegments(ctx context.Context, host string, at *ledger.Checkpoint, f func(KeptSegment) error) error {
	tree, ends := c.Tree(at), make(map[ledger.Hash]bool)
	for from := uint64(0); from < at.Size; {
		var page KeptSegments
		if err := c.getJSON(ctx, fmt.Sprintf("/retention/segments?from=%d&limit=%d&host=%s", from, keptPage, url.QueryEscape(host)), &page); err != nil {
			return err
		}
		begin := from
		for _, s := range page.Segments {
			switch {
			case s.Index < from:
				return fmt.Errorf("ledger: %s #%d: the list of segments is not in the order of the log, or has one twice", s.Host, s.Sequence)
			case s.Index >= at.Size:
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
		case len(page.Segments) == 0:
			return fmt.Errorf("ledger: a page of segments from entry %d on has none, and goes on at entry %d", begin, page.Next)
		case page.Next < from:
			return fmt.Errorf("ledger: a page of segments from entry %d on, which ends with entry %d, goes on at entry %d", begin, from-1, page.Next)
		}
		last := page.Segments[len(page.Segments)-1]
		leaf, err := tree.Leaf(ctx, last.Index)
		if err != nil {
			return fmt.Errorf("segment %s #%d: %w", last.Host, last.Sequence, err)
		}
		if fmt.Sprintf("%x", leaf) != last.Leaf || ends[leaf] {
			return fmt.Errorf("ledger: %s #%d: entry %d of the log is not that segment, or is another one's twin", last.Host, last.Sequence, last.Index)
		}
		ends[leaf], from = true, page.Next
	}
	return nil
}
