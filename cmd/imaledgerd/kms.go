package main

// The providers of sigstore that the ledger speaks to by itself, each for the URIs
// of its scheme. For any other scheme it runs a plugin.
//
// Notes are signed with Ed25519 keys. Of these four only Vault, and OpenBao, has
// them: what sigstore opens at AWS, Google and Azure are ECDSA and RSA keys, which
// are refused by their type.
import (
	_ "github.com/sigstore/sigstore/pkg/signature/kms/aws"        // awskms://
	_ "github.com/sigstore/sigstore/pkg/signature/kms/azure"      // azurekms://
	_ "github.com/sigstore/sigstore/pkg/signature/kms/gcp"        // gcpkms://
	_ "github.com/sigstore/sigstore/pkg/signature/kms/hashivault" // hashivault://, openbao://
)

// aboutKeys says where keys can be.
const aboutKeys = `Keys are in the note encoding (imaledger keygen), or PEM: PKCS #8, plain or
encrypted, or encrypted by sigstore's tools; or they stay in a KMS, named by its
URI. PEM and a KMS know no name, so such a key is given as NAME=FILE or NAME=URI,
for a log its origin. The password of encrypted keys is taken from --password-file,
or from the variable IMALEDGER_KEY_PASSWORD. URIs are sigstore's: hashivault://KEY
and openbao://KEY, where VAULT_ADDR and VAULT_TOKEN say where and who; awskms://,
gcpkms:// and azurekms://; and SCHEME:// of any plugin sigstore-kms-SCHEME. Keys
are Ed25519: what sigstore opens at AWS, Google and Azure are others, and refused.
imaledger key show NAME=URI prints a key's verifier key.
`
