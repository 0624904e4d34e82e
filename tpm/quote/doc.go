// Package quote decodes and verifies TPM 2.0 quotes, strictly: a quote is what
// a TPM would have written, byte for byte, or it is refused. It also knows the
// keys around a quote: the attestation key (AK) that signs it, the endorsement
// key (EK) by which a vendor vouches for the TPM, and the credential that ties
// the two together.
//
// A verifier that holds an enrolled AK's public area makes these checks, in
// this order:
//
//  1. ParseAK: the key can sign nothing but what its TPM says.
//  2. AK.Verify: attest and signature are well-formed, in the AK's own scheme,
//     and the signature is the AK's.
//  3. Quote.CheckNonce: the quote was made for what is being proven.
//  4. Quote.CheckSigner: the AK is in the endorsement hierarchy, so that the
//     counters are the TPM's own.
//  5. Quote.Selection and Quote.PCRDigest, against values replayed from a list:
//     see package ima.
//
// The structures are those of the TPM 2.0 Library, Part 2; integers are
// big-endian. The package does no I/O and reads no clock.
package quote
