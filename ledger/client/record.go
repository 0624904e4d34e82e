package client

import (
	"context"
	"fmt"
	"net/http"

	"github.com/imaledger/imaledger/ledger"
)

// RecordProof returns the proof of one record of a segment, in the short or the
// sealed form. It is the ledger's word: package audit holds it to the segment. The
// error of a ledger that gives none is a *Problem.
func (c *Client) RecordProof(ctx context.Context, seg *ledger.Segment, index uint64, sealed bool) (*ledger.RecordProof, error) {
	leaf := ledger.LeafHash(seg.Marshal())
	path := fmt.Sprintf("/record/%x/%d", leaf, index)
	limit := int64(ledger.MaxRecord/3*4 + maxBody) // the record in base64, and lines
	if sealed {
		path += "?sealed=true"
		var banks []ledger.Bank
		for _, s := range seg.Styles {
			banks = append(banks, s.Bank)
		}
		limit += int64(min(seg.Count, ledger.MaxSealedRecords)) * int64(ledger.SealedSize(banks))
	}
	_, b, err := c.sized(ctx, http.MethodGet, path, nil, 0, limit, http.StatusOK)
	if err != nil {
		return nil, err
	}
	p, err := ledger.ParseRecordProof(b)
	if err != nil {
		return nil, fmt.Errorf("ledger: %s: %w", path, err)
	}
	if p.Leaf != leaf || p.Index != index || (p.Banks != nil) != sealed {
		return nil, fmt.Errorf("ledger: %s: the answer is the proof of another record, or has another form", path)
	}
	return p, nil
}
