// Package agent is a host's side of the ledger: it turns a quote and the
// kernel's list into a segment.
package agent
