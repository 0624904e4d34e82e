package ima

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"
)

// generated is a list of n records that is made as it is read, in one buffer.
type generated struct {
	n, i   uint64
	record []byte // the last one made
	left   []byte // of it
}

func newGenerated(n uint64) *generated {
	return &generated{n: n, record: made("ima-ng", sized(append([]byte("sha256:\x00"), make([]byte, 32)...)), sized([]byte("/usr/lib/x86_64-linux-gnu/generated.so\x00")))}
}

func (g *generated) Read(p []byte) (int, error) {
	if len(g.left) == 0 {
		if g.i == g.n {
			return 0, io.EOF
		}
		g.i++
		const dataAt = 4 + 20 + 4 + len("ima-ng") + 4
		binary.BigEndian.PutUint64(g.record[dataAt+4+len("sha256:\x00"):], g.i) // another file each
		digest := sha1.Sum(g.record[dataAt:])
		copy(g.record[4:], digest[:])
		g.left = g.record
	}
	n := copy(p, g.left)
	g.left = g.left[n:]
	return n, nil
}

func replayAll(t testing.TB, r io.Reader) uint64 {
	reader := NewReader(r, Format{Bank: SHA1})
	p, err := NewReplayer([]Bank{SHA1, SHA256}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := uint64(0); ; n++ {
		rec, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Extend(rec); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReplayMemory: a replay and a cut of 10^6 records take no more memory, in
// all, than of 10^4.
func TestReplayMemory(t *testing.T) {
	taken := func(f func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	replay := func(n uint64) func() {
		return func() {
			if got := replayAll(t, newGenerated(n)); got != n {
				t.Errorf("%d records of %d", got, n)
			}
		}
	}
	q := Quoted{Selection: Selection{{SHA1, []int{10}}, {SHA256, []int{0, 10}}}, Hash: SHA256, Digest: make([]byte, 32)}
	cut := func(n uint64) func() {
		return func() {
			var none *NoCutError // it tries every prefix
			if _, err := FindCut(NewReader(newGenerated(n), Format{Bank: SHA1}), q, nil, nil); !errors.As(err, &none) || none.Records != n {
				t.Errorf("%d records: %v", n, err)
			}
		}
	}
	for name, f := range map[string]func(uint64) func(){"replay": replay, "cut": cut} {
		few, many := taken(f(1e4)), taken(f(1e6))
		t.Logf("%s: %d bytes for 10^4 records, %d for 10^6", name, few, many)
		// A slack for what the runtime itself takes meanwhile; a record is 130 bytes.
		if many > few+16<<10 || few > 1<<20 {
			t.Errorf("%s takes %d bytes for 10^4 records and %d for 10^6, want the same few", name, few, many)
		}
	}
}

// bareHashing does what no replay can leave out: one digest of each record's
// data and one extend, for each bank.
func bareHashing(all []Record) {
	var one [40]byte
	var two [64]byte
	for i := range all {
		digest1 := sha1.Sum(all[i].Data)
		copy(one[20:], digest1[:])
		digest1 = sha1.Sum(one[:])
		copy(one[:], digest1[:])
		digest2 := sha256.Sum256(all[i].Data)
		copy(two[32:], digest2[:])
		digest2 = sha256.Sum256(two[:])
		copy(two[:], digest2[:])
	}
}

func BenchmarkReplay(b *testing.B) {
	list := readFile(b, recordings+"big-7.3/cut1/binary_runtime_measurements")
	all := readAll(b, list, Format{Bank: SHA1})
	b.Run("BareHashing", func(b *testing.B) {
		b.SetBytes(int64(len(list)))
		for b.Loop() {
			bareHashing(all)
		}
	})
	b.Run("Replay", func(b *testing.B) {
		b.SetBytes(int64(len(list)))
		b.ReportAllocs()
		for b.Loop() {
			replayAll(b, bytes.NewReader(list))
		}
	})
	q := readQuoted(b, recordings+"big-7.3/cut1")
	cut := func(b *testing.B) {
		b.SetBytes(int64(len(list)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := FindCut(NewReader(bytes.NewReader(list), Format{Bank: SHA1}), q, nil, nil); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("Cut", cut)
	q.Expected = Values{{SHA1, 10}: q.Known[Slot{SHA1, 10}], {SHA256, 10}: q.Known[Slot{SHA256, 10}]}
	b.Run("CutExpected", cut)
}

// BenchmarkReplayMemory shows that memory does not grow with the records.
func BenchmarkReplayMemory(b *testing.B) {
	for _, n := range []uint64{1e4, 1e6} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if got := replayAll(b, newGenerated(n)); got != n {
					b.Fatalf("%d records of %d", got, n)
				}
			}
		})
	}
}
