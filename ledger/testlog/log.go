// Package testlog makes logs for tests: hosts with keys in software, segments made
// by the agent's own code, checkpoints that any of its witnesses sign. A log can be
// larger than a test's ledger would admit in time, and can lie as its owner might:
// two histories, entries that no ledger admits, other bytes than those it signed.
// It proves the code that reads logs, and nothing about the formats: for those see
// ledger/testdata and the recordings.
package testlog

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/imaledger/imaledger/ledger"
)

// Witnesses is how many a log has; two of them are its quorum.
const Witnesses = 3

// A Log is a log in memory, and the keys of all its parties.
type Log struct {
	Origin    string
	Trust     *ledger.Trust
	Policy    string // the file of the trust folder
	Rules     string // likewise
	Now       time.Time
	Registrar note.Signer
	Operator  note.Signer
	Cosigners int // how many witnesses sign, from the first on

	Entries [][]byte
	Leaves  []ledger.Hash
	Addenda map[ledger.Hash][]byte

	key       ed25519.PrivateKey
	witnesses []ed25519.PrivateKey
	random    *rand.ChaCha8
	hashes    []tlog.Hash
	piece     []byte // of the memory that entries and addenda are in
	signed    map[int][]byte
}

// New makes an empty log. Its keys, and all that is made with them, follow from the
// seed, but for what a crypto/ecdsa signature adds.
func New(origin string, seed uint64) (*Log, error) {
	var s [32]byte
	binary.BigEndian.PutUint64(s[:], seed)
	l := &Log{Origin: origin, Now: time.Unix(1_800_000_000, 0), Cosigners: Witnesses, Addenda: make(map[ledger.Hash][]byte), random: rand.NewChaCha8(s), signed: make(map[int][]byte)}
	l.key = l.newKey()
	logKey, _ := vkey(1, origin, l.key)
	l.Policy = "log " + logKey + "\n"
	for i := range Witnesses {
		k := l.newKey()
		l.witnesses = append(l.witnesses, k)
		v, _ := vkey(4, witnessName(i), k)
		l.Policy += fmt.Sprintf("witness w%d %s\n", i+1, v)
	}
	l.Policy += "group two 2 w1 w2 w3\nquorum two\n"
	var registrar, operator string
	var err error
	if l.Registrar, registrar, err = l.signer("registrar.example"); err != nil {
		return nil, err
	}
	if l.Operator, operator, err = l.signer("operator.example"); err != nil {
		return nil, err
	}
	l.Rules = ledger.TrustRulesFormat + "\nregistrar " + registrar + "\nregistrars 1\noperator " + operator + "\ngrade software because it is a test\n"
	l.Trust, err = ledger.ParseTrust([]byte(l.Policy), []byte(l.Rules))
	return l, err
}

func (l *Log) newKey() ed25519.PrivateKey {
	var seed [ed25519.SeedSize]byte
	l.random.Read(seed[:]) // which gives no error
	return ed25519.NewKeyFromSeed(seed[:])
}

func (l *Log) signer(name string) (note.Signer, string, error) {
	skey, vkey, err := note.GenerateKey(l.random, name)
	if err != nil {
		return nil, "", err
	}
	s, err := note.NewSigner(skey)
	return s, vkey, err
}

func witnessName(i int) string { return fmt.Sprintf("witness%d.example", i+1) }

func vkey(kind byte, name string, key ed25519.PrivateKey) (string, uint32) {
	raw := append([]byte{kind}, key.Public().(ed25519.PublicKey)...)
	sum := sha256.Sum256(append([]byte(name+"\n"), raw...))
	id := binary.BigEndian.Uint32(sum[:])
	return fmt.Sprintf("%s+%08x+%s", name, id, base64.StdEncoding.EncodeToString(raw)), id
}

// Fork returns a log with the same keys, whose history is this one's up to a size.
func (l *Log) Fork(size int) (*Log, error) {
	f := *l
	f.Entries, f.Leaves, f.hashes, f.piece, f.signed = nil, nil, nil, nil, make(map[int][]byte)
	f.Addenda = make(map[ledger.Hash][]byte)
	for d, b := range l.Addenda {
		f.Addenda[d] = b
	}
	for _, e := range l.Entries[:size] {
		if _, err := f.Add(e); err != nil {
			return nil, err
		}
	}
	return &f, nil
}

// Add puts an entry into the log.
func (l *Log) Add(entry []byte) (ledger.Hash, error) {
	h, err := tlog.StoredHashes(int64(len(l.Entries)), entry, l)
	if err != nil {
		return ledger.Hash{}, err
	}
	l.hashes = append(l.hashes, h...)
	l.Entries = append(l.Entries, l.copied(entry))
	leaf := ledger.LeafHash(entry)
	l.Leaves = append(l.Leaves, leaf)
	l.Now = l.Now.Add(time.Second)
	return leaf, nil
}

// State puts an operator's statement into the log.
func (l *Log) State(s ledger.Statement) (ledger.Hash, error) {
	if err := ledger.Sign(s, l.Operator); err != nil {
		return ledger.Hash{}, err
	}
	return l.Add(s.Marshal())
}

// Keep puts an addendum beside the log.
func (l *Log) Keep(content []byte) ledger.Hash {
	digest := sha256.Sum256(content)
	if l.Addenda[digest] == nil {
		l.Addenda[digest] = l.copied(content)
	}
	return digest
}

// pieceSize is in bytes. A garbage collector goes through few large pieces sooner than
// through many small ones, and what it takes is not the audit's that is measured.
const pieceSize = 1 << 20

// copied copies bytes into the log's memory.
func (l *Log) copied(b []byte) []byte {
	if len(b) > cap(l.piece)-len(l.piece) {
		l.piece = make([]byte, 0, max(pieceSize, len(b)))
	}
	at := len(l.piece)
	l.piece = append(l.piece, b...)
	return l.piece[at:len(l.piece):len(l.piece)]
}

// ReadHashes implements tlog.HashReader.
func (l *Log) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	list := make([]tlog.Hash, len(indexes))
	for i, n := range indexes {
		if n >= int64(len(l.hashes)) {
			return nil, fmt.Errorf("the log has no hash %d", n)
		}
		list[i] = l.hashes[n]
	}
	return list, nil
}

// Checkpoint signs and cosigns the tree of a size, once.
func (l *Log) Checkpoint(size int) ([]byte, error) {
	if c := l.signed[size]; c != nil {
		return c, nil
	}
	root, err := tlog.TreeHash(int64(size), l)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", l.Origin, size, base64.StdEncoding.EncodeToString(root[:]))
	_, id := vkey(1, l.Origin, l.key)
	b := text + "\n" + line(l.Origin, id, ed25519.Sign(l.key, []byte(text)))
	for i := range l.Cosigners {
		at := uint64(l.Now.Unix())
		_, id := vkey(4, witnessName(i), l.witnesses[i])
		sig := ed25519.Sign(l.witnesses[i], fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, text))
		b += line(witnessName(i), id, append(binary.BigEndian.AppendUint64(nil, at), sig...))
	}
	l.signed[size] = []byte(b)
	return l.signed[size], nil
}

func line(name string, id uint32, sig []byte) string {
	raw := slices.Concat(binary.BigEndian.AppendUint32(nil, id), sig)
	return fmt.Sprintf("— %s %s\n", name, base64.StdEncoding.EncodeToString(raw))
}
