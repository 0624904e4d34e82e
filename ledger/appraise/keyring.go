package appraise

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/imaledger/imaledger/tpm/ima"
)

// Rules of file signatures.
const (
	RuleSignature = "signature" // a key of the keyring signed the file's digest
	RuleUnsigned  = "unsigned"  // the record has no signature
	RuleBadSigned = "signature-invalid"
	RuleNoKey     = "signature-unknown-key"
)

// A Keyring passes files that one of its keys signed: security.ima signatures of
// version 2, over the file's digest, and of version 3, over what kind of digest it is
// too (struct ima_file_id, security/integrity/ima/ima.h).
type Keyring struct {
	keys map[uint32][]*key // by key ID; two keys can share one
}

type key struct {
	public crypto.PublicKey // *rsa.PublicKey or *ecdsa.PublicKey
	name   string
}

// Add reads X.509 certificates and public keys: PEM, any number of them, or one in
// DER. Validity times are not looked at: a signature outlives its certificate, and the
// kernel does not look either.
func (k *Keyring) Add(name string, b []byte) error {
	if block, _ := pem.Decode(b); block == nil {
		return k.addDER(name, b)
	}
	for n := 0; ; n++ {
		block, rest := pem.Decode(b)
		if block == nil {
			if len(bytes.TrimSpace(b)) > 0 && n == 0 {
				return errors.New("no PEM in it")
			}
			return nil
		}
		if err := k.addDER(name, block.Bytes); err != nil {
			return fmt.Errorf("PEM block %d: %w", n+1, err)
		}
		b = rest
	}
}

func (k *Keyring) addDER(name string, der []byte) error {
	public, ids, subject, err := parseKey(der)
	if err != nil {
		return err
	}
	if public == nil {
		return errors.New("neither a certificate nor a public key")
	}
	if subject != "" {
		name = subject
	}
	for _, id := range ids {
		k.add(id, public, name)
	}
	return nil
}

func (k *Keyring) add(id uint32, public crypto.PublicKey, name string) {
	if k.keys == nil {
		k.keys = make(map[uint32][]*key)
	}
	k.keys[id] = append(k.keys[id], &key{public, name})
}

// parseKey reads a certificate or public key in DER; public is nil where it is
// neither. ids are those that a signature can name it by: the last four bytes of the
// certificate's subject key identifier, which the kernel's keyring has, and of the
// SHA-1 of the key, which evmctl writes (calc_keyid_v2). An error is a key that
// signs no files.
func parseKey(der []byte) (public crypto.PublicKey, ids []uint32, subject string, err error) {
	info := der
	if c, err := x509.ParseCertificate(der); err == nil {
		info, subject = c.RawSubjectPublicKeyInfo, c.Subject.String()
		if n := len(c.SubjectKeyId); n >= 4 {
			ids = append(ids, binary.BigEndian.Uint32(c.SubjectKeyId[n-4:]))
		}
	}
	public, err = x509.ParsePKIXPublicKey(info)
	if err != nil {
		if subject != "" {
			return nil, nil, "", fmt.Errorf("certificate of %s: %w", subject, err)
		}
		return nil, nil, "", nil
	}
	switch public.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey:
	default:
		return nil, nil, "", fmt.Errorf("a key of type %T: files are signed with RSA or ECDSA", public)
	}
	var spki struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(info, &spki); err != nil {
		return nil, nil, "", err
	}
	sum := sha1.Sum(spki.Key.Bytes)
	if id := binary.BigEndian.Uint32(sum[16:]); len(ids) == 0 || ids[0] != id {
		ids = append(ids, id)
	}
	return public, ids, subject, nil
}

// hashes are those that files are signed by, by the kernel's names.
var hashes = map[string]crypto.Hash{
	"sha1": crypto.SHA1, "sha224": crypto.SHA224, "sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512,
	"sha3-256": crypto.SHA3_256, "sha3-384": crypto.SHA3_384, "sha3-512": crypto.SHA3_512,
}

// xattr types (enum evm_ima_xattr_type, security/integrity/integrity.h).
const (
	digsig       = 3
	verityDigsig = 6
)

// signed returns what a file's signature is over, and the hash that made it.
func signed(s *ima.Signature, d ima.FileDigest) (hash crypto.Hash, message []byte, err error) {
	hash, known := hashes[s.Algorithm()]
	switch isVerity := d.Type == "verity"; {
	case !known:
		return 0, nil, fmt.Errorf("it is by %s, which is not known here", s.Algorithm())
	case s.Algorithm() != d.Algorithm || len(d.Digest) != hash.Size():
		return 0, nil, fmt.Errorf("it is over a digest by %s, the file's is by %s", s.Algorithm(), ima.Printable([]byte(d.Algorithm)))
	case s.Version == 2 && s.Type == digsig && !isVerity:
		return hash, d.Digest, nil
	case s.Version == 3 && (s.Type == verityDigsig && isVerity || s.Type == digsig && !isVerity):
		h := hash.New()
		h.Write([]byte{s.Type, s.Hash})
		h.Write(d.Digest)
		return hash, h.Sum(nil), nil
	}
	return 0, nil, fmt.Errorf("a signature of type %d and version %d is not over a digest such as this", s.Type, s.Version)
}

// Judge implements Policy.
func (k *Keyring) Judge(_ *ima.Record, f *ima.Fields) Judgement {
	if len(f.Sig) == 0 {
		return Judgement{Verdict: Failed, Rule: RuleUnsigned, Detail: "the record has no file signature"}
	}
	s, err := ima.ParseSignature(f.Sig)
	if err != nil {
		return Judgement{Verdict: Failed, Rule: RuleBadSigned, Detail: err.Error()}
	}
	hash, message, err := signed(s, f.Digest)
	if err != nil {
		return Judgement{Verdict: Failed, Rule: RuleBadSigned, Detail: err.Error()}
	}
	candidates := k.keys[s.KeyID]
	if len(candidates) == 0 {
		return Judgement{Verdict: Failed, Rule: RuleNoKey, Detail: fmt.Sprintf("no key has the ID %08x", s.KeyID)}
	}
	for _, c := range candidates {
		if c.verifies(hash, message, s.Sig) {
			return Judgement{Verdict: Passed, Rule: RuleSignature, Detail: fmt.Sprintf("by key %08x, %s", s.KeyID, c.name), Weak: weak(s.Algorithm())}
		}
	}
	return Judgement{Verdict: Failed, Rule: RuleBadSigned, Detail: fmt.Sprintf("key %08x, %s, did not sign this digest", s.KeyID, candidates[0].name)}
}

func (c *key) verifies(hash crypto.Hash, message, sig []byte) bool {
	switch public := c.public.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(public, hash, message, sig) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(public, message, sig)
	}
	return false
}
