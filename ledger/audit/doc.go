// Package audit makes every check that needs no network, no clock and no file:
// an entry against its addenda and the host's chain before it, a receipt against
// a trust folder, a bundle as a whole, one record alone. The ledger admits
// nothing that this package contradicts, and an auditor runs the same code.
//
// A check's result is a list of findings and a statement of what holds, never a
// bare boolean. The steps are numbered in ledger/FORMAT.md and have the same
// order here.
package audit
