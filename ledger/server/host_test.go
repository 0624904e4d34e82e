package server

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
)

// A testTPM has an AK and an EK in software, and writes what a TPM writes. It
// stands in for one where a test needs many.
type testTPM struct {
	akKey        *ecdsa.PrivateKey
	ekKey        *rsa.PrivateKey
	ak, ek       []byte // TPMT_PUBLIC
	parsed       *quote.AK
	reset, clock uint32
	pcr10        []byte
}

func sized(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }

// newTestAK returns a TPM without an EK, which takes most of the time to make.
func newTestAK(t testing.TB) *testTPM {
	t.Helper()
	d := &testTPM{reset: 1, pcr10: make([]byte, 32)}
	var err error
	if d.akKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	point, err := d.akKey.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	// ECC, SHA-256, restricted signing; no policy, no symmetric; ECDSA with
	// SHA-256, P-256, no KDF; the point.
	d.ak = append(unhex("0023000b00050472000000100018000b00030010"), append(sized(point[1:33]), sized(point[33:])...)...)
	if d.parsed, err = quote.ParseAK(d.ak); err != nil {
		t.Fatal(err)
	}
	return d
}

func newTestTPM(t testing.TB) *testTPM {
	t.Helper()
	d := newTestAK(t)
	var err error
	if d.ekKey, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	// RSA, SHA-256, the EK template of the TCG: restricted decryption, AES-128-CFB.
	policy := unhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
	d.ek = append(unhex("0001000b000300b2"), sized(policy)...)
	d.ek = append(d.ek, unhex("000600800043001008000000"+"0000")...)
	d.ek = append(d.ek, sized(d.ekKey.N.FillBytes(make([]byte, 256)))...)
	if _, err := quote.ParseEK(d.ek); err != nil {
		t.Fatal(err)
	}
	return d
}

func unhex(s string) []byte {
	var b []byte
	if _, err := fmt.Sscanf(s, "%x", &b); err != nil {
		panic(err)
	}
	return b
}

func (d *testTPM) akName() ledger.Name { return ledger.Name(d.parsed.Name) }

// quote signs PCR 0 to 10 of the SHA-256 bank.
func (d *testTPM) quote(t testing.TB, nonce ledger.Hash) (attest, signature []byte) {
	t.Helper()
	d.clock += 1000
	pcrs := sha256.Sum256(append(make([]byte, 10*32), d.pcr10...))
	a := unhex("ff5443478018")
	a = append(a, sized(d.parsed.QualifiedName(quote.Endorsement))...)
	a = append(a, sized(nonce[:])...)
	a = binary.BigEndian.AppendUint64(a, uint64(d.clock))
	a = binary.BigEndian.AppendUint32(a, d.reset)
	a = binary.BigEndian.AppendUint32(a, 0)
	a = append(a, 1)
	a = binary.BigEndian.AppendUint64(a, 7)
	a = append(a, unhex("00000001000b03ff0700")...)
	a = append(a, sized(pcrs[:])...)
	digest := sha256.Sum256(a)
	r, s, err := ecdsa.Sign(rand.Reader, d.akKey, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	signature = append(unhex("0018000b"), sized(r.FillBytes(make([]byte, 32)))...)
	return a, append(signature, sized(s.FillBytes(make([]byte, 32)))...)
}

// activate is TPM2_ActivateCredential (TPM 2.0 Part 1, section 24).
func (d *testTPM) activate(credential, secret []byte) ([]byte, error) {
	seed, err := d.ekKey.Decrypt(nil, secret[2:], &rsa.OAEPOptions{Hash: crypto.SHA256, Label: []byte("IDENTITY\x00")})
	if err != nil {
		return nil, err
	}
	object := credential[2:]
	mac, identity := object[2:34], object[34:]
	want := hmac.New(sha256.New, kdfa(seed, "INTEGRITY", nil, 256))
	want.Write(append(bytes.Clone(identity), d.parsed.Name...))
	if !hmac.Equal(mac, want.Sum(nil)) {
		return nil, errors.New("the credential is for another AK")
	}
	block, err := aes.NewCipher(kdfa(seed, "STORAGE", d.parsed.Name, 128))
	if err != nil {
		return nil, err
	}
	plain := make([]byte, len(identity))
	//lint:ignore SA1019 TPM2_MakeCredential encrypts in CFB mode (TPM 2.0 Part 1, section 24)
	cipher.NewCFBDecrypter(block, make([]byte, 16)).XORKeyStream(plain, identity)
	return plain[2:], nil
}

// kdfa is KDFa of TPM 2.0 Part 1, section 11.4.10.2, with SHA-256.
func kdfa(key []byte, label string, context []byte, bits uint32) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte{0, 0, 0, 1})
	h.Write(append([]byte(label), 0))
	h.Write(context)
	h.Write(binary.BigEndian.AppendUint32(nil, bits))
	return h.Sum(nil)[:bits/8]
}

// A testHost has a TPM, a measurement list, and a chain.
type testHost struct {
	name     string
	tpm      *testTPM
	leaf     ledger.Hash // newest entry
	sequence uint64
	first    uint64 // index of the next record
	booted   bool
}

// imaRecord is a record of template ima-ng as the kernel lists it in the SHA-256
// file, little endian.
func imaRecord(file string, digest ledger.Hash) []byte {
	le := func(n int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(n)) }
	field := func(b []byte) []byte { return append(le(len(b)), b...) }
	data := append(field(append([]byte("sha256:\x00"), digest[:]...)), field([]byte(file+"\x00"))...)
	hash := sha256.Sum256(data)
	r := append(le(10), hash[:]...)
	r = append(r, field([]byte("ima-ng"))...)
	return append(r, field(data)...)
}

// segment measures files and makes the leaf and payload of the host's next
// segment. The host's chain goes on only when the caller says so with took.
func (h *testHost) segment(t testing.TB, origin string, anchor *ledger.Checkpoint, files ...string) (leaf, payload []byte) {
	t.Helper()
	base := bytes.Clone(h.tpm.pcr10)
	join, index := ledger.Join{Kind: ledger.JoinContinues}, h.first
	var records [][]byte
	if !h.booted {
		join, index = ledger.Join{Kind: ledger.JoinBoot}, 0
		base = make([]byte, 32)
		records = append(records, imaRecord("boot_aggregate", sha256.Sum256(make([]byte, 10*32))))
	}
	for _, f := range files {
		records = append(records, imaRecord(f, sha256.Sum256([]byte(f))))
	}
	tree := ledger.NewRecordTree()
	h.tpm.pcr10 = base
	for _, r := range records {
		payload = append(payload, r...)
		tree.Add(r)
		next := sha256.Sum256(append(bytes.Clone(h.tpm.pcr10), r[4:36]...))
		h.tpm.pcr10 = next[:]
	}
	root := tree.Root()
	s := &ledger.Segment{
		Head: ledger.Head{
			Log: origin, Host: h.name, AK: h.tpm.akName(), Sequence: h.sequence + 1, Previous: h.leaf,
			Anchor: ledger.Anchor{Size: anchor.Size, Root: anchor.Root, Note: sha256.Sum256(anchor.Raw)},
		},
		Body: ledger.Body{
			Join: join, First: index, Count: uint64(len(records)), List: ledger.List{Bank: "sha256", Order: "le"},
			Styles:  []ledger.BankStyle{{Bank: "sha256", Style: "digest"}},
			Payload: ledger.Addendum{Size: uint64(len(payload)), Digest: sha256.Sum256(payload)}, Records: root,
			Base: []ledger.PCR{{Bank: "sha256", Index: 10, Value: base}},
			End:  []ledger.PCR{{Bank: "sha256", Index: 10, Value: h.tpm.pcr10}},
		},
	}
	for i := range 10 {
		s.Others = append(s.Others, ledger.PCR{Bank: "sha256", Index: i, Value: make([]byte, 32)})
	}
	s.Attest, s.Signature = h.tpm.quote(t, s.Nonce())
	return s.Marshal(), payload
}

// took says that the log has the leaf.
func (h *testHost) took(leaf []byte) {
	s, err := ledger.ParseSegment(leaf)
	if err != nil {
		panic(err)
	}
	h.leaf, h.sequence, h.first, h.booted = ledger.LeafHash(leaf), s.Sequence, s.First+s.Count, true
}

// fork returns a copy that goes its own way.
func (h *testHost) fork() *testHost {
	other, tpm := *h, *h.tpm
	tpm.pcr10 = bytes.Clone(tpm.pcr10)
	other.tpm = &tpm
	return &other
}

// The leaves that these tests make replay as the kernel's lists do.
func TestTestRecordsReplay(t *testing.T) {
	h := &testHost{name: "h", tpm: newTestAK(t)}
	_, payload := h.segment(t, "log.example", &ledger.Checkpoint{}, "/bin/sh", "/bin/ls")
	r := ima.NewReader(bytes.NewReader(payload), ima.Format{Bank: ima.SHA256, Order: ima.LittleEndian})
	p, err := ima.NewReplayer([]ima.Bank{ima.SHA256}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		rec, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Extend(rec); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.Value(ima.Slot{Bank: ima.SHA256, PCR: 10}); !bytes.Equal(got, h.tpm.pcr10) {
		t.Fatalf("replay gives %x, want %x", got, h.tpm.pcr10)
	}
	if strings.Count(string(payload), "ima-ng") != 3 {
		t.Fatal("want three records")
	}
}
