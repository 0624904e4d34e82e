package quote

import (
	"crypto"
	_ "crypto/sha256" // the hashes of names and signatures
	_ "crypto/sha512"
	"fmt"
)

// TPM_ALG_ID of what keys and signatures are made of (TPM 2.0 Part 2, section
// 6.3).
const (
	algRSA    = 0x0001
	algAES    = 0x0006
	algSHA256 = 0x000b
	algSHA384 = 0x000c
	algSHA512 = 0x000d
	algNull   = 0x0010
	algRSASSA = 0x0014
	algRSAPSS = 0x0016
	algECDSA  = 0x0018
	algECC    = 0x0023
	algCFB    = 0x0043
)

// hashOf returns the hash of a TPM_ALG_ID, 0 for one that is not used here.
// SHA-1 is not: a key's name or signature by it binds nothing.
func hashOf(alg uint16) crypto.Hash {
	switch alg {
	case algSHA256:
		return crypto.SHA256
	case algSHA384:
		return crypto.SHA384
	case algSHA512:
		return crypto.SHA512
	}
	return 0
}

// algorithm names a TPM_ALG_ID for people.
func algorithm(alg uint16) string {
	switch alg {
	case algSHA256, algSHA384, algSHA512:
		return hashOf(alg).String()
	case algRSASSA:
		return "RSASSA"
	case algRSAPSS:
		return "RSAPSS"
	case algECDSA:
		return "ECDSA"
	case algNull:
		return "none"
	}
	return fmt.Sprintf("algorithm %04x", alg)
}
