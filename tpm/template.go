package tpm

import "github.com/google/go-tpm/tpm2"

// akAttributes make a key an attestation key: it signs only what the TPM itself
// made, and cannot leave it.
var akAttributes = tpm2.TPMAObject{
	FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true,
	Restricted: true, SignEncrypt: true,
}

// An AKKind is the type of an attestation key.
type AKKind int

// The kinds, the preferred one first.
const (
	AKECCP256 AKKind = iota // ECDSA with SHA-256 on NIST P-256
	AKECCP384               // ECDSA with SHA-384 on NIST P-384
	AKRSASSA                // RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits
	AKRSAPSS                // RSASSA-PSS with SHA-256, 2048 bits
)

func (k AKKind) template() tpm2.TPMTPublic {
	switch k {
	case AKECCP384:
		return eccAK(tpm2.TPMECCNistP384, tpm2.TPMAlgSHA384)
	case AKRSASSA:
		return rsaAK(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256})
	case AKRSAPSS:
		return rsaAK(tpm2.TPMAlgRSAPSS, &tpm2.TPMSSigSchemeRSAPSS{HashAlg: tpm2.TPMAlgSHA256})
	}
	return eccAK(tpm2.TPMECCNistP256, tpm2.TPMAlgSHA256)
}

func eccAK(curve tpm2.TPMECCCurve, hash tpm2.TPMAlgID) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: akAttributes,
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: hash}),
			},
			CurveID: curve,
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{}),
	}
}

func rsaAK[S tpm2.AsymSchemeContents](scheme tpm2.TPMAlgID, details S) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: akAttributes,
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			Scheme:  tpm2.TPMTRSAScheme{Scheme: scheme, Details: tpm2.NewTPMUAsymScheme(scheme, details)},
			KeyBits: 2048,
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{}),
	}
}
