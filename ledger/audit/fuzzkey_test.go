//go:build web

package audit_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// A fuzzKey signs quotes as an AK that the mutator owns.
type fuzzKey struct {
	public []byte // TPMT_PUBLIC
	name   []byte
	hash   crypto.Hash
	alg    uint16
	scheme uint16
	key    crypto.Signer
}

func fuzzKeys(t testing.TB) []*fuzzKey {
	random := rand.NewChaCha8([32]byte(seed("fuzz keys")))
	var keys []*fuzzKey
	for _, c := range []struct {
		curve elliptic.Curve
		id    uint16
		hash  crypto.Hash
		alg   uint16
	}{{elliptic.P256(), 3, crypto.SHA256, 0x0b}, {elliptic.P384(), 4, crypto.SHA384, 0x0c}, {elliptic.P256(), 3, crypto.SHA512, 0x0d}} {
		k, err := ecdsa.GenerateKey(c.curve, random)
		if err != nil {
			t.Fatal(err)
		}
		size := (c.curve.Params().BitSize + 7) / 8
		public := []byte{0, 0x23, 0, 0x0b, 0, 5, 4, 0x72, 0, 0, 0, 0x10, 0, 0x18, 0, byte(c.alg), 0, byte(c.id), 0, 0x10}
		point, err := k.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range [][]byte{point[1 : 1+size], point[1+size:]} {
			public = append(append(public, 0, byte(size)), v...)
		}
		keys = append(keys, &fuzzKey{public: public, hash: c.hash, alg: c.alg, scheme: 0x18, key: k})
	}
	for _, scheme := range []uint16{0x14, 0x16} {
		k, err := rsa.GenerateKey(random, 2048)
		if err != nil {
			t.Fatal(err)
		}
		public := []byte{0, 1, 0, 0x0b, 0, 5, 4, 0x72, 0, 0, 0, 0x10, 0, byte(scheme), 0, 0x0b, 8, 0, 0, 0, 0, 0, 1, 0}
		keys = append(keys, &fuzzKey{public: append(public, k.N.FillBytes(make([]byte, 256))...), hash: crypto.SHA256, alg: 0x0b, scheme: scheme, key: k})
	}
	for _, k := range keys {
		sum := sha256.Sum256(k.public)
		k.name = append([]byte{0, 0x0b}, sum[:]...)
	}
	return keys
}

// sign makes a TPMT_SIGNATURE.
func (k *fuzzKey) sign(m *mutator, attest []byte) []byte {
	h := k.hash.New()
	h.Write(attest)
	random := rand.NewChaCha8([32]byte(seed(fmt.Sprint(m.rand.Uint64()))))
	out := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, k.scheme), k.alg)
	sized := func(b []byte) { out = append(binary.BigEndian.AppendUint16(out, uint16(len(b))), b...) }
	switch key := k.key.(type) {
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(random, key, h.Sum(nil))
		if err != nil {
			m.t.Fatal(err)
		}
		size := (key.Curve.Params().BitSize + 7) / 8
		sized(r.FillBytes(make([]byte, size)))
		sized(s.FillBytes(make([]byte, size)))
	case *rsa.PrivateKey:
		var sig []byte
		var err error
		if k.scheme == 0x14 {
			sig, err = rsa.SignPKCS1v15(nil, key, k.hash, h.Sum(nil))
		} else {
			sig, err = rsa.SignPSS(random, key, k.hash, h.Sum(nil), &rsa.PSSOptions{SaltLength: m.rand.IntN(223)})
		}
		if err != nil {
			m.t.Fatal(err)
		}
		sized(sig)
	}
	return out
}
