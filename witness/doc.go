// Package witness is a transparency log witness: it remembers the newest
// checkpoint of each log it is told of, and cosigns a newer one only if the log
// proves that nothing before it changed. Whoever demands cosignatures of several
// witnesses therefore sees the same history as everyone else.
//
// It speaks https://c2sp.org/tlog-witness and signs with Ed25519 and ML-DSA-44
// cosignatures, https://c2sp.org/tlog-cosignature. Each MUST of the specification stands as a
// SPEC comment above the code that enforces it, in the order of its text:
// request.go (the body), checkpoint.go (the note in it), add.go (the checks and
// their order), cosignature.go (what is signed), http.go (the answers), subtree.go
// (sign-subtree) and monitor.go (what monitors read).
//
// A witness is worth what it remembers. Its state directory must not be rolled
// back, copied to a second witness, or restored from a backup: that is how a
// witness comes to cosign two histories. The directory holds
//
//	key      the vkeys of the witness it belongs to, one a line
//	lock     held by the process that uses it
//	journal  what was cosigned: journal.go has the format
//	stopped  why the witness must never start again, if that is so
//	evidence what logs signed that contradicts what was cosigned (equivocation.go)
//
// and a fence lies apart from it, beside the key: a file of 512 bytes that knows
// how far the state had come (fence.go). A state that is gone, damaged, older than
// the fence, or in use elsewhere is refused. What neither can know, the witness's
// own cosignatures tell it: one that it meets and does not remember ends it
// (rollback.go).
package witness
