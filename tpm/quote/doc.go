// Package quote decodes and verifies TPM 2.0 quotes, strictly: a quote is what
// a TPM would have written, byte for byte, or it is refused. It also knows the
// keys around a quote: the attestation key that signs it, the endorsement key
// that vouches for the TPM, and the credential that ties the two together.
//
// The structures are those of the TPM 2.0 Library, Part 2; integers are
// big-endian. The package does no I/O and reads no clock.
package quote
