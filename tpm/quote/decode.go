package quote

import (
	"encoding/binary"
	"fmt"
)

// A decoder takes a TPM structure apart and keeps its first fault. Every byte
// is read in one way only and none is passed over, so what it accepts
// re-encodes to the same bytes. go-tpm's decoder lets pass what is too short,
// too long or out of range, so no foreign bytes go to it before they went
// through this one.
type decoder struct {
	structure string
	rest      []byte
	err       error
}

// decode begins a structure of at most max bytes.
func decode(structure string, b []byte, max int) *decoder {
	d := &decoder{structure: structure, rest: b}
	if len(b) > max {
		d.fail("has %d bytes, at most %d", len(b), max)
	}
	return d
}

// fail says that no TPM wrote this.
func (d *decoder) fail(format string, args ...any) {
	d.failWith(&SyntaxError{Structure: d.structure, Fault: fmt.Sprintf(format, args...)})
}

func (d *decoder) failWith(err error) {
	if d.err == nil {
		d.err = err
	}
}

func (d *decoder) bytes(field string, n int) []byte {
	if d.err == nil && n > len(d.rest) {
		d.fail("%s has %d bytes, %d are left", field, n, len(d.rest))
	}
	if d.err != nil {
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) byte(field string) byte {
	if b := d.bytes(field, 1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint16(field string) uint16 {
	if b := d.bytes(field, 2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (d *decoder) uint32(field string) uint32 {
	if b := d.bytes(field, 4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) uint64(field string) uint64 {
	if b := d.bytes(field, 8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// sized reads a TPM2B of at most max bytes.
func (d *decoder) sized(field string, max int) []byte {
	n := int(d.uint16(field))
	if d.err == nil && n > max {
		d.fail("%s has %d bytes, at most %d", field, n, max)
	}
	return d.bytes(field, n)
}

func (d *decoder) end() error {
	if d.err == nil && len(d.rest) > 0 {
		d.fail("%d bytes after the end", len(d.rest))
	}
	return d.err
}
