// Package tpm talks to a TPM 2.0: it reads the endorsement key and its
// certificate, derives the attestation key, quotes, and activates credentials.
// Device is a real one, or swtpm; Software stands in where there is none.
//
// The attestation key is a primary key of the endorsement hierarchy. A primary
// is derived from the hierarchy's seed and its template, so it is the same each
// time and nothing need be stored that could be lost; and in this hierarchy the
// TPM reports its counters as they are.
package tpm
