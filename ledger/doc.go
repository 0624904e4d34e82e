// Package ledger defines the formats of a ledger of IMA measurement segments:
// the segment leaf, the signed statements that stand beside it in the log, the
// trailer that names their addenda, the evidence bundle, the trust folder, and
// the findings. FORMAT.md, beside this file, is normative.
//
// Every format is strict and canonical: what parses re-encodes to the same
// bytes, so one fact has one leaf hash. The package takes bytes and gives
// values or errors; it opens no file, reads no clock and logs nothing. What the
// values mean together is judged by package audit.
package ledger
