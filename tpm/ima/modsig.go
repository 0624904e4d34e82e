package ima

import (
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
)

// maxSigners bounds the signers of an appended signature. The kernel's tools append
// one's.
const maxSigners = 8

var oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}

// signedData is what is read of a PKCS#7 message (RFC 5652, sections 3 and 5.1). It
// must be DER, which all tools write, though the kernel's decoder takes more.
type signedData struct {
	Version      int
	Algorithms   asn1.RawValue
	Content      asn1.RawValue
	Certificates asn1.RawValue `asn1:"optional,tag:0"`
	CRLs         asn1.RawValue `asn1:"optional,tag:1"`
	Signers      asn1.RawValue
}

// ParseModsig reads the field modsig, the PKCS#7 message that is appended to a file,
// and returns the IDs of the keys that are said to have signed: the last four bytes
// of the subject identifier where the message names that, as a Signature's KeyID, or
// else of the certificate's serial number, which modinfo shows as sig_key. The
// kernel finds the key by either (crypto/asymmetric_keys/pkcs7_parser.c).
func ParseModsig(b []byte) (keyIDs []uint32, err error) {
	var message struct {
		Type    asn1.ObjectIdentifier
		Content signedData `asn1:"explicit,tag:0"`
	}
	rest, err := asn1.Unmarshal(b, &message)
	switch {
	case err != nil:
		return nil, fmt.Errorf("appended signature: %w", err)
	case len(rest) > 0:
		return nil, fmt.Errorf("appended signature: %d bytes after it", len(rest))
	case !message.Type.Equal(oidSignedData):
		return nil, fmt.Errorf("appended signature: content of type %v, want %v", message.Type, oidSignedData)
	case message.Content.Signers.Class != asn1.ClassUniversal || message.Content.Signers.Tag != asn1.TagSet:
		return nil, errors.New("appended signature: no set of signers")
	}
	for rest = message.Content.Signers.Bytes; len(rest) > 0; {
		if len(keyIDs) == maxSigners {
			return nil, fmt.Errorf("appended signature: more than %d signers", maxSigners)
		}
		var signer asn1.RawValue
		if rest, err = asn1.Unmarshal(rest, &signer); err != nil {
			return nil, fmt.Errorf("appended signature: signer: %w", err)
		}
		id, err := signerKeyID(signer)
		if err != nil {
			return nil, fmt.Errorf("appended signature: signer: %w", err)
		}
		keyIDs = append(keyIDs, id)
	}
	if len(keyIDs) == 0 {
		return nil, errors.New("appended signature: no signer")
	}
	return keyIDs, nil
}

// signerKeyID reads the SignerIdentifier of a SignerInfo (RFC 5652, section 5.3).
func signerKeyID(signer asn1.RawValue) (uint32, error) {
	var version int
	var name asn1.RawValue
	rest, err := asn1.Unmarshal(signer.Bytes, &version)
	if err == nil {
		_, err = asn1.Unmarshal(rest, &name)
	}
	switch {
	case err != nil:
		return 0, err
	case name.Class == asn1.ClassContextSpecific && name.Tag == 0 && !name.IsCompound:
		return lastFour(name.Bytes), nil
	case name.Class != asn1.ClassUniversal || name.Tag != asn1.TagSequence:
		return 0, errors.New("it names neither a serial number nor a subject identifier")
	}
	var issuer, serial asn1.RawValue
	if rest, err = asn1.Unmarshal(name.Bytes, &issuer); err == nil {
		_, err = asn1.Unmarshal(rest, &serial)
	}
	if err == nil && (serial.Class != asn1.ClassUniversal || serial.Tag != asn1.TagInteger) {
		err = errors.New("its serial number is no integer")
	}
	return lastFour(serial.Bytes), err
}

// lastFour returns the last four bytes; those that are not there are zero.
func lastFour(b []byte) uint32 {
	var last [4]byte
	copy(last[max(0, 4-len(b)):], b[max(0, len(b)-4):])
	return binary.BigEndian.Uint32(last[:])
}
