package index

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
)

const origin = "ledger.example/test"

// A testLog is a log in memory, whose entries are made by the real encoders but for
// their quotes, which an index does not look at. Each entry takes a minute.
type testLog struct {
	t       testing.TB
	entries [][]byte
	addenda map[ledger.Hash][]byte
	tree    *compact.Range
	signer  note.Signer
	witness cosigner
	policy  *ledger.Policy
	text    string // of the policy
	wvkey   string // of the witness
	now     uint64 // of the witness
	anchor  *ledger.Checkpoint
	seq     map[string]uint64
	absent  map[ledger.Hash]State // addenda that are not given
	judged  func(uint64, ledger.Hash, ledger.Statement) bool
}

// A cosigner is a witness with a clock that the test moves (c2sp.org/tlog-cosignature).
type cosigner struct {
	key ed25519.PrivateKey
	id  uint32
	now *uint64
}

func (*cosigner) Name() string      { return "witness.example" }
func (c *cosigner) KeyHash() uint32 { return c.id }

func (c *cosigner) Sign(text []byte) ([]byte, error) {
	signed := ed25519.Sign(c.key, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", *c.now, text))
	return append(binary.BigEndian.AppendUint64(nil, *c.now), signed...), nil
}

func newTestLog(t testing.TB) *testLog {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	l := &testLog{t: t, addenda: make(map[ledger.Hash][]byte), seq: make(map[string]uint64), absent: make(map[ledger.Hash]State), now: 1_700_000_000}
	if l.signer, err = note.NewSigner(skey); err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	l.witness.key, l.witness.now = private, &l.now
	key := append([]byte{4}, public...)
	id := sha256.Sum256(append([]byte(l.witness.Name()+"\n"), key...))
	l.witness.id = binary.BigEndian.Uint32(id[:])
	l.wvkey = fmt.Sprintf("%s+%08x+%s", l.witness.Name(), l.witness.id, base64.StdEncoding.EncodeToString(key))
	l.text = fmt.Sprintf("log %s\nwitness w %s\nquorum w\n", vkey, l.wvkey)
	if l.policy, err = ledger.ParsePolicy([]byte(l.text)); err != nil {
		t.Fatal(err)
	}
	l.tree = (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	return l
}

// checkpoint signs and cosigns the tree as it is.
func (l *testLog) checkpoint() *ledger.Checkpoint {
	l.t.Helper()
	root := rfc6962.DefaultHasher.EmptyRoot()
	if l.tree.End() > 0 {
		var err error
		if root, err = l.tree.GetRootHash(nil); err != nil {
			l.t.Fatal(err)
		}
	}
	return l.signed(l.tree.End(), root)
}

func (l *testLog) signed(size uint64, root []byte) *ledger.Checkpoint {
	l.t.Helper()
	text := fmt.Sprintf("%s\n%d\n%s\n", origin, size, base64.StdEncoding.EncodeToString(root))
	raw, err := note.Sign(&note.Note{Text: text}, l.signer, &l.witness)
	if err != nil {
		l.t.Fatal(err)
	}
	c, err := l.policy.Verify(raw)
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

func (l *testLog) add(entry []byte) ledger.Hash {
	l.t.Helper()
	leaf := ledger.LeafHash(entry)
	l.entries = append(l.entries, entry)
	if err := l.tree.Append(leaf[:], nil); err != nil {
		l.t.Fatal(err)
	}
	return leaf
}

// record makes a measurement of a file.
func record(pcr uint32, template, path string, digest []byte, more ...string) []byte {
	le := binary.LittleEndian
	var data []byte
	for _, f := range append([]string{"sha256:\x00" + string(digest), path + "\x00"}, more...) {
		data = append(le.AppendUint32(data, uint32(len(f))), f...)
	}
	raw := le.AppendUint32(nil, pcr)
	raw = append(raw, make([]byte, 20)...)
	raw[4] = 1 // no violation; a search does not look at the digest of the data
	raw = append(le.AppendUint32(raw, uint32(len(template))), template...)
	return append(le.AppendUint32(raw, uint32(len(data))), data...)
}

// file is a record of a file whose digest is that of its path.
func file(path string) []byte {
	d := sha256.Sum256([]byte(path))
	return record(10, "ima-ng", path, d[:])
}

// segment adds a segment of a host.
func (l *testLog) segment(host string, join ledger.Join, records ...[]byte) *ledger.Segment {
	l.t.Helper()
	payload := bytes.Join(records, nil)
	if l.anchor == nil {
		l.anchor = l.checkpoint()
	}
	s := &ledger.Segment{
		Head: ledger.Head{
			Log: origin, Host: host, AK: ledger.Name("\x00\x0b" + strings.Repeat("k", 32)), Sequence: l.seq[host] + 1,
			Anchor: ledger.Anchor{Size: l.anchor.Size, Root: l.anchor.Root, Note: sha256.Sum256(l.anchor.Raw)},
		},
		Body: ledger.Body{
			Join: join, Count: uint64(len(records)), List: ledger.List{Bank: "sha1", Order: "le"},
			Styles: []ledger.BankStyle{{Bank: "sha256", Style: "digest"}}, Payload: ledger.Addendum{Size: uint64(len(payload)), Digest: sha256.Sum256(payload)},
			Base: []ledger.PCR{{Bank: "sha256", Index: 10, Value: make([]byte, 32)}}, End: []ledger.PCR{{Bank: "sha256", Index: 10, Value: make([]byte, 32)}},
		},
		Attest: []byte{1}, Signature: []byte{1},
	}
	l.seq[host]++
	l.addenda[s.Payload.Digest], l.addenda[s.Anchor.Note] = payload, l.anchor.Raw
	raw := s.Marshal()
	if _, err := ledger.ParseSegment(raw); err != nil {
		l.t.Fatal(err)
	}
	l.add(raw)
	return s
}

var continues = ledger.Join{Kind: ledger.JoinContinues}

// state adds a statement that nobody has signed: who judges decides.
func (l *testLog) state(s ledger.Statement) {
	l.t.Helper()
	if err := ledger.Sign(s, l.signer); err != nil {
		l.t.Fatal(err)
	}
	l.add(s.Marshal())
}

func (l *testLog) erase(list ...*ledger.Segment) {
	e := &ledger.Erasure{Log: origin, Retention: ledger.Hash{1}, Reason: "test", Time: 1}
	for _, s := range list {
		e.Erased = append(e.Erased, ledger.Erased{Leaf: ledger.LeafHash(s.Marshal()), Payload: s.Payload.Digest})
		l.absent[s.Payload.Digest] = Missing
	}
	for i := range e.Erased {
		for j := range i {
			if bytes.Compare(e.Erased[i].Leaf[:], e.Erased[j].Leaf[:]) < 0 {
				e.Erased[i], e.Erased[j] = e.Erased[j], e.Erased[i]
			}
		}
	}
	l.state(e)
}

// Checkpoint implements Source.
func (l *testLog) Checkpoint(_ context.Context, since *ledger.Checkpoint) (*ledger.Checkpoint, error) {
	if since != nil && since.Size > l.tree.End() {
		return nil, fmt.Errorf("the log is shorter: %w", ledger.ErrConsistency)
	}
	return l.checkpoint(), nil
}

// Entries implements Source.
func (l *testLog) Entries(_ context.Context, from uint64, of *ledger.Checkpoint) ([][]byte, error) {
	return l.entries[from:min(from+7, of.Size)], nil
}

// Addendum implements Source.
func (l *testLog) Addendum(_ context.Context, _ ledger.Hash, a ledger.Addendum) (io.ReadCloser, error) {
	if state, absent := l.absent[a.Digest]; absent && state != Altered {
		return nil, &AbsentError{state, "test"}
	} else if absent {
		return io.NopCloser(bytes.NewReader(append([]byte{1}, l.addenda[a.Digest]...))), nil
	}
	return io.NopCloser(bytes.NewReader(l.addenda[a.Digest])), nil
}

// index opens the index of a log.
func (l *testLog) index(dir string) *Index {
	l.t.Helper()
	judge := l.judged
	if judge == nil {
		judge = func(uint64, ledger.Hash, ledger.Statement) bool { return true }
	}
	x, err := Open(Config{Dir: dir, Policy: l.policy, Judge: judge})
	if err != nil {
		l.t.Fatal(err)
	}
	return x
}

func (l *testLog) update(x *Index) {
	l.t.Helper()
	if err := x.Update(context.Background(), l, nil); err != nil {
		l.t.Fatal(err)
	}
}

// find returns where a query's hits are.
func find(t testing.TB, x *Index, q Query) (list []Position) {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = 3 // so that pages are turned
	}
	for {
		a, err := x.Search(context.Background(), &q)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range a.Hits {
			list = append(list, h.Position)
		}
		if !a.More {
			return list
		}
		if len(a.Hits) == 0 {
			t.Fatal("an empty page that is not the last")
		}
		q.After = &a.Hits[len(a.Hits)-1].Position
	}
}

func path(p string) Query { return Query{Filter: ima.Filter{Path: p}} }
