package client

import (
	"context"
	"net/http"
)

// A Successor is the log that follows one that ended.
type Successor struct {
	Log string `json:"log"` // origin
	Key string `json:"key"` // verifier key
	URL string `json:"url"`
}

// A Freeze is the end of a log, by the entry that is its last.
type Freeze struct {
	Leaf      string    `json:"leaf"`  // leaf hash of that entry, hex
	Index     uint64    `json:"index"` // of that entry
	Entry     []byte    `json:"entry"` // its bytes, which an operator signed
	Log       string    `json:"log"`
	Successor Successor `json:"successor"`
	Reason    string    `json:"reason"`
	Time      uint64    `json:"time"` // Unix seconds, the signer's word
}

// Freeze returns the end of the log, nil while it takes entries.
func (c *Client) Freeze(ctx context.Context) (*Freeze, error) {
	var f Freeze
	err := c.getJSON(ctx, "/freeze", &f)
	if isProblem(err, http.StatusNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &f, nil
}
