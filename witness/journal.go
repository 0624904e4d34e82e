package witness

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// The journal is the file of what was cosigned. It has a header of one sector,
// then batches of checkpoints, then zeroes up to the size that the header states,
// so that appending changes no length and a file cut short is known as such.
//
// A batch begins on a sector: 4 bytes of magic, its sequence number, 8 bytes
// big-endian, the length of its payload, 4 bytes big-endian, a chain hash, 32
// bytes, and the first 8 bytes of the SHA-256 of all these. The payload is
// checkpoints, each after its length in 4 bytes big-endian; of one log's the last
// one counts. The chain hash is SHA-256 over the chain hash of the batch before,
// the sequence number and the payload.
const (
	sectorSize    = 512 // bytes that a disk writes whole or not at all
	batchMagic    = "\xf5\xf6\xf7\xf8"
	batchHeader   = 4 + 8 + 4 + 32 + 8
	recordHeader  = 4
	journalFormat = "imaledger-witness/journal/v1"
	// maxBatch bounds a batch's payload in bytes. The largest record, the most keys'
	// largest signatures, fits.
	maxBatch = 1 << 20
)

// A journalHeader is the first sector.
type journalHeader struct {
	id       string // of the state: 32 hex digits, made once
	size     int64  // of the file in bytes
	snapshot uint64 // batches up to this one were durable before the file had its name
	position        // of the batch before the first; its chain hash is a random number of this file's
}

// A position is how far a state has come.
type position struct {
	sequence uint64 // of the last batch; 0 for none
	chain    hash
}

func (p position) next(payload []byte) position {
	h := sha256.New()
	h.Write(p.chain[:])
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], p.sequence+1)
	h.Write(n[:])
	h.Write(payload)
	return position{p.sequence + 1, hash(h.Sum(nil))}
}

// marshal gives the header's sector.
func (h journalHeader) marshal() []byte {
	text := fmt.Sprintf("%s\nstate %s\nsize %d\nsnapshot %d\nafter %d %x\n", journalFormat, h.id, h.size, h.snapshot, h.sequence, h.chain)
	return sealSector(text)
}

// sealSector gives a sector of a text and its digest.
func sealSector(text string) []byte {
	b := make([]byte, sectorSize)
	copy(b, fmt.Sprintf("%ssha256 %x\n", text, sha256.Sum256([]byte(text))))
	return b
}

// openSector gives the text of a sector that sealSector made.
func openSector(b []byte) (string, error) {
	text, digest, found := strings.Cut(string(bytes.TrimRight(b[:min(len(b), sectorSize)], "\x00")), "sha256 ")
	if !found || len(b) < sectorSize || digest != fmt.Sprintf("%x\n", sha256.Sum256([]byte(text))) {
		return "", errors.New("its first sector is damaged")
	}
	return text, nil
}

func parseJournalHeader(b []byte) (h journalHeader, err error) {
	text, err := openSector(b)
	if err != nil {
		return h, err
	}
	var chain string
	format := journalFormat + "\nstate %s\nsize %d\nsnapshot %d\nafter %d %s\n"
	if _, err := fmt.Sscanf(text, format, &h.id, &h.size, &h.snapshot, &h.sequence, &chain); err != nil {
		return h, fmt.Errorf("its first sector has another format than %s", journalFormat)
	}
	raw, err := hex.DecodeString(chain)
	if err != nil || len(raw) != hashSize {
		return h, errors.New("its first sector has no chain hash")
	}
	if h.chain = hash(raw); h.size < sectorSize || h.size%sectorSize != 0 {
		return h, errors.New("its first sector states a size that is not of whole sectors")
	}
	return h, nil
}

// appendBatch appends a batch with the records to b, padded to whole sectors, and
// gives the position after it.
func appendBatch(b []byte, after position, records []string) ([]byte, position) {
	begin := len(b)
	b = append(b, make([]byte, batchHeader)...)
	for _, r := range records {
		b = binary.BigEndian.AppendUint32(b, uint32(len(r)))
		b = append(b, r...)
	}
	payload := b[begin+batchHeader:]
	p := after.next(payload)
	head := append(b[begin:begin], batchMagic...)
	head = binary.BigEndian.AppendUint64(head, p.sequence)
	head = binary.BigEndian.AppendUint32(head, uint32(len(payload)))
	head = append(head, p.chain[:]...)
	sum := sha256.Sum256(head)
	_ = append(head, sum[:8]...) // into b, which has the room
	return append(b, make([]byte, -len(b)&(sectorSize-1))...), p
}

// errDamaged is a journal that says less than was once written to it.
var errDamaged = errors.New("damaged")

// parseJournal reads a journal and calls visit with each batch's records, and with
// the position after it.
//
// A batch at the end that was not written whole was never answered for, and is
// left out. What a crash leaves of one has whole sectors of zeroes in it, and
// nothing follows, because the next batch is written when this one is durable.
// Everything else that does not fit is damage, and an error: to leave it out
// would be to forget.
func parseJournal(b []byte, visit func(at position, records []string) error) (h journalHeader, end position, err error) {
	if h, err = parseJournalHeader(b); err != nil {
		return h, end, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if int64(len(b)) != h.size {
		return h, end, fmt.Errorf("%w: it has %d bytes, and was made with %d", errDamaged, len(b), h.size)
	}
	end = h.position
	offset := sectorSize
	for offset < len(b) {
		length, next, err := parseBatchHeader(b[offset:], end.sequence+1)
		if err != nil {
			return h, end, fmt.Errorf("%w at byte %d: %w", errDamaged, offset, err)
		}
		if length < 0 {
			// The header's sector was never written.
			if err := unwritten(b[offset:]); err != nil || end.sequence < h.snapshot {
				return h, end, fmt.Errorf("%w at byte %d: batch %d is missing, and there is more: %v", errDamaged, offset, end.sequence+1, err)
			}
			break
		}
		extent := batchHeader + length
		extent += -extent & (sectorSize - 1)
		if extent > len(b)-offset {
			return h, end, fmt.Errorf("%w at byte %d: a batch longer than the file", errDamaged, offset)
		}
		payload := b[offset+batchHeader : offset+batchHeader+length]
		p := end.next(payload)
		if p.chain != next {
			if end.sequence < h.snapshot || !torn(b[offset:offset+extent]) || !zero(b[offset+extent:]) {
				return h, end, fmt.Errorf("%w at byte %d: batch %d does not have its checksum", errDamaged, offset, p.sequence)
			}
			break
		}
		end = p
		records, err := parseRecords(payload)
		if err == nil {
			err = visit(p, records)
		}
		if err != nil {
			return h, end, fmt.Errorf("batch %d: %w", p.sequence, err)
		}
		offset += extent
	}
	if end.sequence < h.snapshot {
		return h, end, fmt.Errorf("%w: it ends at batch %d, and was made with %d", errDamaged, end.sequence, h.snapshot)
	}
	return h, end, nil
}

// parseBatchHeader gives the length of a batch's payload, -1 for a sector of
// zeroes, and its chain hash.
func parseBatchHeader(b []byte, sequence uint64) (length int, chain hash, err error) {
	head := b[:batchHeader]
	if zero(b[:sectorSize]) {
		return -1, chain, nil
	}
	sum := sha256.Sum256(head[:batchHeader-8])
	if string(head[:4]) != batchMagic || !bytes.Equal(head[batchHeader-8:], sum[:8]) {
		return 0, chain, errors.New("no header of a batch")
	}
	if n := binary.BigEndian.Uint64(head[4:]); n != sequence {
		return 0, chain, fmt.Errorf("batch %d, want %d", n, sequence)
	}
	return int(binary.BigEndian.Uint32(head[12:])), hash(head[16:48]), nil
}

// torn reports whether a whole sector is zero, as no written one is: the payload
// is text, and its lengths are shorter than a sector.
func torn(b []byte) bool {
	for ; len(b) > 0; b = b[sectorSize:] {
		if zero(b[:sectorSize]) {
			return true
		}
	}
	return false
}

// unwritten checks that what follows a batch's missing header can be of that
// batch: not longer than one, and with no header of a later one in it.
func unwritten(b []byte) error {
	for offset := 0; offset < len(b); offset += sectorSize {
		s := b[offset : offset+sectorSize]
		if string(s[:len(batchMagic)]) == batchMagic {
			return errors.New("a batch follows")
		}
		if offset > batchHeader+maxBatch+sectorSize && !zero(s) {
			return errors.New("more follows than a batch has")
		}
	}
	return nil
}

func zero(b []byte) bool {
	for len(b) > sectorSize {
		if !zero(b[:sectorSize]) {
			return false
		}
		b = b[sectorSize:]
	}
	var zeroes [sectorSize]byte
	return bytes.Equal(b, zeroes[:len(b)])
}

// parseRecords gives the records of a batch.
func parseRecords(payload []byte) (records []string, err error) {
	for len(payload) > 0 {
		if len(payload) < recordHeader {
			return nil, errDamaged
		}
		n := binary.BigEndian.Uint32(payload)
		payload = payload[recordHeader:]
		if uint64(n) > uint64(len(payload)) {
			return nil, errDamaged
		}
		records = append(records, string(payload[:n]))
		payload = payload[n:]
	}
	return records, nil
}
