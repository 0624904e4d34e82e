// Package export writes measurement records in the formats that other programs
// read: the kernel's own lists, the TCG's Canonical Event Log, lines of JSON, a
// table, what Keylime's verifier takes, and a statement for in-toto.
//
// It writes what it is given: that the records are what a host measured is for
// package audit to find out before. Each format says of a record, where it has a
// place for it, how far a register binds it.
package export

import (
	"fmt"
	"io"
	"strings"

	"github.com/imaledger/imaledger/tpm/ima"
)

// A Record is a measurement and where it stands.
type Record struct {
	*ima.Record
	Host    string // empty where it is not known
	Boot    uint32 // the TPM's reset count
	Restart uint32 // its restart count
	Number  uint64 // among the records since the TPM was reset, from 0
	Segment string // leaf hash of its segment, hex; empty where there is none
	// Quoted says that a quote over the record's register, made after it, was
	// verified.
	Quoted bool
	// Banks are those that were quoted, and Styles how each is extended.
	Banks  []ima.Bank
	Styles ima.Styles
}

// Proof says in a word how far the record's content is proven: quote, or why not:
// violation, unattested (no quote can cover its register), none.
func (r *Record) Proof() string {
	switch {
	case !ima.Attestable(r.PCR):
		return "unattested"
	case !r.Quoted:
		return "none"
	case r.Violation():
		return "violation"
	}
	return "quote"
}

// extended returns what the record extends its register with in a bank.
func (r *Record) extended(b ima.Bank) []byte { return r.Sum(b, r.Styles[b]) }

// A Writer writes records, in their order.
type Writer interface {
	Write(r *Record) error
	// Close writes what ends the document. It does not close what is below.
	Close() error
}

// Options say how records are written.
type Options struct {
	Bank    ima.Bank // whose list the kernel's formats are to be; it must be Available
	Records uint64   // how many there will be
}

// A Format is a way to write records.
type Format struct {
	Name string
	// Whole says that the format is a list of one boot from its first record on:
	// its readers replay it from zero.
	Whole  bool
	Binary bool // not text
	open   func(io.Writer, Options) Writer
}

// Formats are those that New knows.
var Formats = []Format{
	{"binary", true, true, newBinary},
	{"ascii", true, false, newASCII},
	{"cel-json", true, false, newCELJSON},
	{"cel-tlv", true, true, newCELTLV},
	{"cel-cbor", true, true, newCELCBOR},
	{"jsonl", false, false, newLines},
	{"csv", false, false, newTable},
}

// Find returns the format of a name.
func Find(name string) (Format, error) {
	var names []string
	for _, f := range Formats {
		if f.Name == name {
			return f, nil
		}
		names = append(names, f.Name)
	}
	return Format{}, fmt.Errorf("unknown format %.32q: want %s", name, strings.Join(names, ", "))
}

// New returns a writer of the format.
func (f Format) New(w io.Writer, o Options) Writer { return f.open(w, o) }

// An UnfitError is a record that a format has no form for. What was written before
// it is cut short.
type UnfitError struct {
	Record uint64 // among those since the TPM was reset
	Format string
	What   string
}

func (e *UnfitError) Error() string {
	return fmt.Sprintf("record %d has no form in %s: %s", e.Record, e.Format, e.What)
}
