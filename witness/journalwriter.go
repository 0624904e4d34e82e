package witness

import (
	"crypto/rand"
	"iter"
)

// A journalWriter writes a journal from its beginning.
type journalWriter struct {
	header journalHeader // size and snapshot are filled in
	room   int64         // bytes of zeroes after the records, at least
	offset int64         // where the zeroes begin
	at     position      // after the last batch
}

// write writes the records, then the room for more, which is at least as much,
// then the header. It holds one batch in memory.
func (w *journalWriter) write(f diskFile, records iter.Seq[string]) error {
	w.offset, w.at = sectorSize, w.header.position
	var batch []string
	size := 0
	flush := func() error {
		var b []byte
		b, w.at = appendBatch(nil, w.at, batch)
		_, err := f.WriteAt(b, w.offset)
		w.offset += int64(len(b))
		batch, size = batch[:0], 0
		return err
	}
	for r := range records {
		if size > 0 && size+recordHeader+len(r) > maxBatch {
			if err := flush(); err != nil {
				return err
			}
		}
		batch = append(batch, r)
		size += recordHeader + len(r)
	}
	// One batch at least, so that each start has a position of its own.
	if err := flush(); err != nil {
		return err
	}
	w.header.snapshot = w.at.sequence
	w.header.size = w.offset + max(w.room, w.offset)
	// Written, not left as a hole: appending must not need room of a full disk, nor
	// make the file system write down where its bytes are.
	zeroes := make([]byte, min(maxBatch, w.header.size-w.offset))
	for at := w.offset; at < w.header.size; at += int64(len(zeroes)) {
		if _, err := f.WriteAt(zeroes[:min(int64(len(zeroes)), w.header.size-at)], at); err != nil {
			return err
		}
	}
	_, err := f.WriteAt(w.header.marshal(), 0)
	return err
}

// randomHash begins a journal's chain, so that two copies of one state part at
// their next start.
func randomHash() (h hash) {
	rand.Read(h[:]) // never fails
	return h
}
