package export

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"unicode/utf8"
)

// Numbers of the TCG's Canonical Event Log Format, version 1.1, section 5.
const (
	celRecnum      = 0
	celPCR         = 1
	celDigests     = 3
	celIMATemplate = 7 // content type
	celName        = 0 // in its content
	celData        = 1
	celContentType = 9  // in CEL-CBOR alone
	celContent     = 10 // the same
)

// celNumbers counts the records of each register from 0, as section 4.2.2 has it.
type celNumbers map[uint32]uint64

func (n celNumbers) next(pcr uint32) uint64 {
	number := n[pcr]
	n[pcr]++
	return number
}

// celTemplate returns the template's name, which is text in all encodings.
func celTemplate(r *Record) (string, error) {
	if !utf8.Valid(r.Template) {
		return "", &UnfitError{r.Number, "the Canonical Event Log", "its template's name is not UTF-8"}
	}
	return string(r.Template), nil
}

// celJSON writes CEL-JSON: one array of records.
type celJSON struct {
	w       io.Writer
	numbers celNumbers
	begun   bool
}

type celRecord struct {
	Recnum      uint64       `json:"recnum"`
	PCR         uint32       `json:"pcr"`
	Digests     []celDigest  `json:"digests"`
	ContentType string       `json:"content_type"`
	Content     celTemplated `json:"content"`
}

type celDigest struct {
	HashAlg string `json:"hashAlg"`
	Digest  string `json:"digest"`
}

type celTemplated struct {
	Name string `json:"template_name"`
	Data string `json:"template_data"`
}

func newCELJSON(w io.Writer, _ Options) Writer { return &celJSON{w: w, numbers: celNumbers{}} }

func (c *celJSON) Write(r *Record) error {
	name, err := celTemplate(r)
	if err != nil {
		return err
	}
	rec := celRecord{Recnum: c.numbers.next(r.PCR), PCR: r.PCR, ContentType: "ima_template", Content: celTemplated{name, hex.EncodeToString(r.Data)}}
	for _, b := range r.Banks {
		rec.Digests = append(rec.Digests, celDigest{b.String(), hex.EncodeToString(r.extended(b))})
	}
	text, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	before := "[\n"
	if c.begun {
		before = ",\n"
	}
	c.begun = true
	_, err = c.w.Write(append([]byte(before), text...))
	return err
}

func (c *celJSON) Close() error {
	end := "\n]\n"
	if !c.begun {
		end = "[]\n"
	}
	_, err := io.WriteString(c.w, end)
	return err
}

// celTLV writes CEL-TLV: type, one byte; length, four bytes, big-endian; value. A
// record's number has eight bytes and its register's one: all readers take those,
// and some take no other.
type celTLV struct {
	w       io.Writer
	numbers celNumbers
	buf     []byte
}

func newCELTLV(w io.Writer, _ Options) Writer { return &celTLV{w: w, numbers: celNumbers{}} }

func (c *celTLV) Write(r *Record) error {
	name, err := celTemplate(r)
	if err != nil {
		return err
	}
	var digests []byte
	for _, b := range r.Banks {
		digests = appendTLV(digests, byte(b), r.extended(b)) // every bank's number fits
	}
	content := appendTLV(appendTLV(nil, celName, []byte(name)), celData, r.Data)
	c.buf = appendTLV(c.buf[:0], celRecnum, binary.BigEndian.AppendUint64(nil, c.numbers.next(r.PCR)))
	c.buf = appendTLV(c.buf, celPCR, []byte{byte(r.PCR)}) // 63 is the largest that a list has
	c.buf = appendTLV(c.buf, celDigests, digests)
	c.buf = appendTLV(c.buf, celIMATemplate, content)
	_, err = c.w.Write(c.buf)
	return err
}

func (c *celTLV) Close() error { return nil }

func appendTLV(dst []byte, typ byte, value []byte) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, typ), uint32(len(value)))
	return append(dst, value...)
}

// celCBOR writes CEL-CBOR in deterministic CBOR (RFC 8949, section 4.2.1): one array
// of records.
type celCBOR struct {
	w       io.Writer
	numbers celNumbers
	left    uint64
	begun   bool
	buf     []byte
}

func newCELCBOR(w io.Writer, o Options) Writer {
	return &celCBOR{w: w, numbers: celNumbers{}, left: o.Records}
}

// Major types of CBOR.
const (
	cborUint  = 0
	cborBytes = 2
	cborText  = 3
	cborArray = 4
	cborMap   = 5
)

func (c *celCBOR) Write(r *Record) error {
	name, err := celTemplate(r)
	if err != nil {
		return err
	}
	if c.left == 0 {
		return &UnfitError{r.Number, "cel-cbor", "there are more records than were said to be"}
	}
	b := c.begin()
	c.left--
	b = cborHead(b, cborMap, 5)
	b = cborPair(b, celRecnum, c.numbers.next(r.PCR))
	b = cborPair(b, celPCR, uint64(r.PCR))
	b = cborHead(cborHead(b, cborUint, celDigests), cborArray, uint64(len(r.Banks)))
	for _, bank := range r.Banks {
		b = cborPair(cborHead(b, cborMap, 2), 0, uint64(bank))
		b = cborString(cborHead(b, cborUint, 1), cborBytes, r.extended(bank))
	}
	b = cborPair(b, celContentType, celIMATemplate)
	b = cborHead(cborHead(b, cborUint, celContent), cborMap, 2)
	b = cborString(cborHead(b, cborUint, celName), cborText, []byte(name))
	c.buf = cborString(cborHead(b, cborUint, celData), cborBytes, r.Data)
	_, err = c.w.Write(c.buf)
	return err
}

// begin returns the buffer, with the array's head in it before the first record.
func (c *celCBOR) begin() []byte {
	if c.begun {
		return c.buf[:0]
	}
	c.begun = true
	return cborHead(c.buf[:0], cborArray, c.left)
}

func (c *celCBOR) Close() error {
	if c.left > 0 && c.begun {
		return &UnfitError{0, "cel-cbor", "there are fewer records than were said to be"}
	}
	if c.begun {
		return nil
	}
	_, err := c.w.Write(c.begin())
	return err
}

// cborHead appends a major type and its argument in the fewest bytes.
func cborHead(dst []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(dst, major|byte(n))
	case n <= 0xff:
		return append(dst, major|24, byte(n))
	case n <= 0xffff:
		return binary.BigEndian.AppendUint16(append(dst, major|25), uint16(n))
	case n <= 0xffffffff:
		return binary.BigEndian.AppendUint32(append(dst, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, major|27), n)
}

func cborPair(dst []byte, key, value uint64) []byte {
	return cborHead(cborHead(dst, cborUint, key), cborUint, value)
}

func cborString(dst []byte, major byte, s []byte) []byte {
	return append(cborHead(dst, major, uint64(len(s))), s...)
}
