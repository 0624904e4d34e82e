package ledger

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// An Addendum is a byte string kept beside the log and committed by an entry:
// c2sp.org/tlog-addenda. It is served under AddendumPath.
type Addendum struct {
	Size   uint64 // bytes
	Digest Hash   // SHA-256
}

func (a Addendum) String() string { return fmt.Sprintf("%d %x", a.Size, a.Digest) }

// AddendumPath returns where a log serves an addendum, relative to its prefix.
func AddendumPath(digest Hash) string {
	h := hex.EncodeToString(digest[:])
	return "addenda/" + h[:2] + "/" + h[2:4] + "/" + h
}

func (r *textReader) addendum(key string, max uint64) Addendum {
	f := r.values(key, 2)
	a := Addendum{r.parseNumber(key, f[0]), r.parseHash(key, f[1])}
	if a.Size > max {
		r.fail("%s: %d bytes, at most %d", key, a.Size, max)
	}
	return a
}

// appendTrailer ends an entry as c2sp.org/tlog-addenda wants it: the raw
// digests, the big-endian offset of each in the entry, and their number.
func appendTrailer(entry []byte, digests ...Hash) []byte {
	return append(entry, trailer(len(entry), digests)...)
}

// trailer returns the trailer of an entry whose text has start bytes.
func trailer(start int, digests []Hash) []byte {
	b := make([]byte, 0, trailerSize(len(digests)))
	for _, d := range digests {
		b = append(b, d[:]...)
	}
	for i := range digests {
		b = binary.BigEndian.AppendUint32(b, uint32(start+i*len(Hash{})))
	}
	return append(b, byte(len(digests)))
}

func trailerSize(digests int) int { return digests*(len(Hash{})+4) + 1 }

// cutTrailer returns the entry without a trailer of n digests.
func cutTrailer(format string, entry []byte, n int) (text []byte, err error) {
	at := len(entry) - trailerSize(n)
	if at < 0 || entry[len(entry)-1] != byte(n) {
		return nil, &FormatError{Format: format, What: fmt.Sprintf("the entry does not end in the trailer of %d addenda", n)}
	}
	return entry[:at], nil
}

// checkTrailer reports a trailer that says something else than the text.
func checkTrailer(format string, entry, text []byte, digests ...Hash) error {
	if !bytes.Equal(entry[len(text):], trailer(len(text), digests)) {
		return &FormatError{Format: format, What: "the trailer does not name the digests of the text, in its order and at their places"}
	}
	return nil
}

// AddendaOf reads an entry's digest indication alone, as any reader of
// c2sp.org/tlog-addenda would, and returns the digests of its addenda.
func AddendaOf(entry []byte) ([]Hash, error) {
	if len(entry) == 0 {
		return nil, &FormatError{Format: "tlog-addenda", What: "empty entry"}
	}
	n := int(entry[len(entry)-1])
	table := len(entry) - 1 - 4*n
	if table < 0 {
		return nil, &FormatError{Format: "tlog-addenda", What: fmt.Sprintf("entry of %d bytes indicates %d digests", len(entry), n)}
	}
	list := make([]Hash, n)
	for i := range list {
		at := int64(binary.BigEndian.Uint32(entry[table+4*i:]))
		if at+int64(len(Hash{})) > int64(table) {
			return nil, &FormatError{Format: "tlog-addenda", What: fmt.Sprintf("digest %d at offset %d lies outside the entry", i, at)}
		}
		list[i] = Hash(entry[at:])
	}
	return list, nil
}
