//go:build figures

package monitor_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/asn1"
	"math/big"
	"runtime"
	"sync"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/testlog"
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/quote"
)

// A bareEntry is an entry that was taken apart: what must be hashed of it, and which
// signatures must be checked.
type bareEntry struct {
	raw       []byte
	enrolment *ledger.Enrolment // and nothing of what follows
	head      []byte
	attest    []byte
	key       *ecdsa.PublicKey
	signature []byte // in DER
	quoted    []byte // the values, put together
	note      []byte // the checkpoint, nil where a segment before has the same
	payload   []byte
	records   []bareRecord
}

// A bareRecord is where a record stands in the payload.
type bareRecord struct{ from, data, to uint32 }

// takeApart parses a log, which is no part of what bare measures.
func takeApart(t *testing.T, l *testlog.Log, aks map[string]*quote.AK) []bareEntry {
	t.Helper()
	list := make([]bareEntry, len(l.Entries))
	seen := make(map[ledger.Hash]bool)
	records := make([]bareRecord, 0, (figureRecords+1)*len(list)) // in one piece
	for i, raw := range l.Entries {
		e := &list[i]
		e.raw = raw
		parsed := must[ledger.Entry](t)(ledger.ParseEntry(raw))
		s, is := parsed.(*ledger.Segment)
		if !is {
			e.enrolment = parsed.(*ledger.Enrolment)
			continue
		}
		sig := must[*quote.Signature](t)(quote.ParseSignature(s.Signature))
		e.head, e.attest, e.key = s.Head.Marshal(), s.Attest, aks[s.Host].Public.(*ecdsa.PublicKey)
		e.signature = must[[]byte](t)(asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig.R), new(big.Int).SetBytes(sig.S)}))
		for _, p := range append(append([]ledger.PCR{}, s.End...), s.Others...) {
			e.quoted = append(e.quoted, p.Value...)
		}
		if n := s.Anchor.Note; !seen[n] {
			seen[n], e.note = true, l.Addenda[n]
		}
		e.payload = l.Addenda[s.Payload.Digest]
		first := len(records)
		for r := ima.NewReader(bytes.NewReader(e.payload), ima.Format{Bank: ima.SHA1}); ; {
			rec, err := r.Next()
			if err != nil {
				break
			}
			to := uint32(rec.Offset) + uint32(len(rec.Raw))
			records = append(records, bareRecord{uint32(rec.Offset), to - uint32(len(rec.Data)), to})
		}
		e.records = records[first:]
	}
	return list
}

// bare does what an audit cannot do without, on all processors, and reads nothing to
// do it. Signatures: of each quote, of each checkpoint once, of each enrolment. Hashes:
// each entry's leaf and a node above it, the head, the quoted values, the payload; and
// of each record its leaf and a node above it in the segment's tree, its digest and its
// extend in both banks.
func bare(t *testing.T, l *testlog.Log, list []bareEntry) {
	t.Helper()
	const step = 64
	work := make(chan []bareEntry)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			h := sha256.New()
			var leaf, root ledger.Hash
			for part := range work {
				for i := range part {
					e := &part[i]
					leafHash(h, e.raw, &leaf)
					node(&root, &leaf)
					if e.enrolment != nil {
						if by, err := ledger.SignedBy(e.enrolment, l.Trust.Registrars...); err != nil || len(by) != 1 {
							t.Error("an enrolment is not signed", err)
						}
						continue
					}
					sha256.Sum256(e.head)
					sha256.Sum256(e.quoted)
					if d := sha256.Sum256(e.attest); !ecdsa.VerifyASN1(e.key, d[:], e.signature) {
						t.Error("a quote is not signed")
					}
					if e.note != nil {
						if _, err := l.Trust.Policy.Verify(e.note); err != nil {
							t.Error(err)
						}
					}
					sha256.Sum256(e.payload)
					var one [2 * sha1.Size]byte
					var two [2 * sha256.Size]byte
					for _, r := range e.records {
						leafHash(h, e.payload[r.from:r.to], &leaf)
						node(&root, &leaf)
						data := e.payload[r.data:r.to]
						d1, d2 := sha1.Sum(data), sha256.Sum256(data)
						copy(one[sha1.Size:], d1[:])
						copy(two[sha256.Size:], d2[:])
						d1, d2 = sha1.Sum(one[:]), sha256.Sum256(two[:])
						copy(one[:], d1[:])
						copy(two[:], d2[:])
					}
				}
			}
		})
	}
	for from := 0; from < len(list); from += step {
		work <- list[from:min(from+step, len(list))]
	}
	close(work)
	workers.Wait()
}

// hasher is hash.Hash, as far as it is needed.
type hasher interface {
	Reset()
	Write([]byte) (int, error)
	Sum([]byte) []byte
}

var zero = []byte{0}

// leafHash and node are RFC 6962's, without an allocation.
func leafHash(h hasher, raw []byte, to *ledger.Hash) {
	h.Reset()
	h.Write(zero)
	h.Write(raw)
	h.Sum(to[:0])
}

func node(left, right *ledger.Hash) {
	var b [1 + 2*sha256.Size]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	*left = sha256.Sum256(b[:])
}
