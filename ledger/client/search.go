package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
)

// A SearchQuery selects records of the log. What is not set selects all.
type SearchQuery struct {
	ima.Filter
	Host string
	// Since and Until, Unix seconds, select segments whose quote may have been made
	// between them; one whose time nothing bounds may.
	Since, Until uint64
	After        *SearchPosition // of the page before
	Size         uint64          // of the tree that the page before was for: this one is for no smaller one
	Limit        int             // records of a page; 0 for the ledger's own
}

// A SearchPosition is a record's place: the index of its segment in the log, and its
// own in the segment.
type SearchPosition struct{ Entry, Record uint64 }

// Values returns the query as a ledger reads it.
func (q *SearchQuery) Values() url.Values {
	v := make(url.Values)
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("digest", q.Digest.Text())
	set("path", q.Path)
	set("pattern", q.Glob)
	if q.KeyID != nil {
		v.Set("key-id", fmt.Sprintf("%08x", *q.KeyID))
	}
	if q.PCR != nil {
		v.Set("pcr", fmt.Sprint(*q.PCR))
	}
	set("template", q.Template)
	set("host", q.Host)
	for name, n := range map[string]uint64{"since": q.Since, "until": q.Until, "size": q.Size, "limit": uint64(q.Limit)} {
		if n > 0 {
			v.Set(name, fmt.Sprint(n))
		}
	}
	if q.After != nil {
		v.Set("after", fmt.Sprintf("%d.%d", q.After.Entry, q.After.Record))
	}
	return v
}

// ParseSearchQuery reads a query. A name that it does not know is an error: what is
// not understood must not select more than was asked for.
func ParseSearchQuery(v url.Values) (*SearchQuery, error) {
	q := &SearchQuery{}
	for name, values := range v {
		if len(values) != 1 || values[0] == "" {
			return nil, fmt.Errorf("%.32s: want one value", name)
		}
		if err := q.set(name, values[0]); err != nil {
			return nil, fmt.Errorf("%.32s: %w", name, err)
		}
	}
	if q.Until > 0 && q.Since > q.Until {
		return nil, fmt.Errorf("since: it is after until")
	}
	return q, nil
}

// MaxSearchText bounds a path or a pattern, in bytes: the kernel's paths have less.
const MaxSearchText = 4096

func (q *SearchQuery) set(name, value string) (err error) {
	number := func(bits int) (n uint64) {
		if n, err = strconv.ParseUint(value, 10, bits); err != nil {
			err = fmt.Errorf("%.32q is no number, or too large", value)
		}
		return n
	}
	if len(value) > MaxSearchText || strings.ContainsRune(value, 0) {
		return fmt.Errorf("more than %d bytes, or a zero byte", MaxSearchText)
	}
	switch name {
	case "digest":
		q.Digest, err = ima.ParseFileDigest(value)
	case "path":
		q.Path = value
	case "pattern":
		q.Glob = value
	case "key-id":
		q.KeyID, err = ParseKeyID(value)
	case "pcr":
		pcr := uint32(number(32))
		q.PCR = &pcr
	case "template":
		q.Template = value
	case "host":
		if q.Host = value; !ledger.ValidHost(value) {
			err = fmt.Errorf("%.64q is no host name", value)
		}
	case "since":
		q.Since = number(63)
	case "until":
		q.Until = number(63)
	case "size":
		q.Size = number(63)
	case "limit":
		if q.Limit = int(number(31)); err == nil && q.Limit == 0 {
			err = fmt.Errorf("%.32q is no number of records", value)
		}
	case "after":
		entry, record, _ := strings.Cut(value, ".")
		p := SearchPosition{}
		value = entry
		p.Entry = number(63)
		if value = record; err == nil {
			p.Record = number(63)
		}
		q.After = &p
	default:
		err = fmt.Errorf("unknown; want digest, path, pattern, key-id, pcr, template, host, since, until, size, limit or after")
	}
	return err
}

// maxKeyName is how many hex digits a key's name has at most: X.509 bounds serial
// numbers to 20 bytes (RFC 5280, section 4.1.2.2), subject identifiers are hashes.
const maxKeyName = 64

// ParseKeyID reads a key's ID in hex, with or without 0x: the last four bytes of its
// subject identifier, or of its certificate's serial number. Of either the whole may
// be given, also with colons between the bytes, and its last four count.
func ParseKeyID(s string) (*uint32, error) {
	digits := strings.TrimPrefix(strings.ReplaceAll(s, ":", ""), "0x")
	n, err := strconv.ParseUint(digits[max(0, len(digits)-8):], 16, 32)
	if err != nil || len(digits) > maxKeyName || strings.Trim(digits, "0123456789abcdefABCDEF") != "" {
		return nil, fmt.Errorf("%.32q is no key ID: want up to %d hex digits", s, maxKeyName)
	}
	id := uint32(n)
	return &id, nil
}

// SearchAnswer is a page of records, by their place in the log. It is the ledger's
// word: that a record is there is proven by the log, that none is left out is not.
type SearchAnswer struct {
	Log  string `json:"log"`  // origin
	Size uint64 `json:"size"` // of the tree that the answer is for
	Root string `json:"root"` // of it, hex
	// Hosts are patterns of the hosts that the caller may see: of others there is
	// nothing in the answer.
	Hosts  []string      `json:"hosts"`
	Hits   []SearchHit   `json:"hits"`
	Limits *SearchLimits `json:"limits,omitempty"` // on the first page
	Next   string        `json:"next,omitempty"`   // path of the next page; empty on the last
}

// A SearchHit is a record.
type SearchHit struct {
	Host      string   `json:"host"`
	Sequence  uint64   `json:"sequence"` // of its segment in the host's chain
	Index     uint64   `json:"index"`    // of its segment in the log
	Record    uint64   `json:"record"`   // of it in the segment
	InBoot    uint64   `json:"inBoot"`   // of it in the boot
	PCR       uint32   `json:"pcr"`
	Template  string   `json:"template"`
	Path      string   `json:"path,omitempty"`
	Digests   []string `json:"digests,omitempty"` // sha256:HEX
	KeyIDs    []string `json:"keyIds,omitempty"`  // hex
	Violation bool     `json:"violation,omitempty"`
	NotBefore uint64   `json:"notBefore,omitempty"` // of the segment's quote, Unix seconds
	NotAfter  uint64   `json:"notAfter,omitempty"`
}

// NewSearchHit returns a hit with what a record says; the rest is as in at.
func NewSearchHit(f *ima.Facts, at SearchHit) SearchHit {
	at.PCR, at.Template, at.Violation = f.PCR, ima.Printable([]byte(f.Template)), f.Violation
	if f.Path != "" {
		at.Path = ima.Printable([]byte(f.Path))
	}
	for _, d := range f.Digests {
		at.Digests = append(at.Digests, d.String())
	}
	for _, id := range f.KeyIDs {
		at.KeyIDs = append(at.KeyIDs, fmt.Sprintf("%08x", id))
	}
	return at
}

// SearchLimits say where absence is less than certain: in segments whose records
// the index does not have, in gaps, and in records that do not say what they are of.
type SearchLimits struct {
	States map[string]uint64 `json:"states"` // segments by state: erased, missing, refused, altered, malformed
	Gaps   uint64            `json:"gaps"`   // segments before which records are missing
	Opaque uint64            `json:"opaque"` // records of unknown templates, or with no file name or digest
	Runs   []SearchLimit     `json:"runs"`
	More   bool              `json:"more,omitempty"` // whether there are more runs
}

// A SearchLimit is a run of a host's segments.
type SearchLimit struct {
	Host     string `json:"host"`
	From     uint64 `json:"from"` // sequence
	To       uint64 `json:"to"`
	Segments uint64 `json:"segments"`
	State    string `json:"state"` // read, where only gaps and opaque records limit it
	Gaps     uint64 `json:"gaps,omitempty"`
	Opaque   uint64 `json:"opaque,omitempty"`
}

// searchWait is how long a ledger is asked to wait for its index to have what its log
// has, which is mostly less than a second.
const searchWait = 10 * time.Second

// maxSearchAnswer bounds an answer in bytes: 1,000 hits with long paths.
const maxSearchAnswer = 16 << 20

// Search asks for a page of records. The error of a ledger that answers no searches
// is a *Problem with status 404.
func (c *Client) Search(ctx context.Context, q *SearchQuery) (*SearchAnswer, error) {
	_, b, err := c.sized(ctx, http.MethodGet, "/search?"+q.Values().Encode(), nil, searchWait, maxSearchAnswer, http.StatusOK)
	if err != nil {
		return nil, err
	}
	a := &SearchAnswer{}
	if err := json.Unmarshal(b, a); err != nil {
		return nil, fmt.Errorf("ledger: /search: %w", err)
	}
	return a, nil
}
