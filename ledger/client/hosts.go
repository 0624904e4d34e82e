package client

// HostList is a page of a ledger's hosts. It is the ledger's word: what the log
// has of a host stands in the host's chain.
type HostList struct {
	Total uint64       `json:"total"` // hosts that the query selects, on all pages
	Hosts []ListedHost `json:"hosts"`
	Next  string       `json:"next,omitempty"` // for ?after=; empty on the last page
}

// A ListedHost is what a list tells of a host.
type ListedHost struct {
	Host     string `json:"host"`
	Grade    string `json:"grade"`    // of its newest enrolment
	Sequence uint64 `json:"sequence"` // of its newest entry
	Index    uint64 `json:"index"`    // of that in the log
	Segments uint64 `json:"segments"`
	Records  uint64 `json:"records"`
	Gaps     uint64 `json:"gaps,omitempty"` // that no operator has acknowledged
	// Acknowledged are leaf hashes, hex, of operators' words on gaps of the host: the
	// newest, in the log's order.
	Acknowledged []string `json:"acknowledged,omitempty"`
	Erased       uint64   `json:"erased,omitempty"`    // segments whose records were erased
	Conflicts    uint64   `json:"conflicts,omitempty"` // entries that its TPM signed and that were refused, since another stands in their place
}
