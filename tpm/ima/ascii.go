package ima

import (
	"bytes"
	"fmt"
	"strconv"
)

// AppendIn appends the record as the kernel's list file of a bank has it: the same
// record with that bank's digest, zero for a violation. In the bank that it was
// read in, those are its own bytes. The bank must be Available.
func (r *Record) AppendIn(dst []byte, bank Bank, style Style) []byte {
	if bank == r.bank {
		return append(dst, r.Raw...)
	}
	dst = append(dst, r.Raw[:4]...)
	dst = r.appendStored(dst, bank, style)
	return append(dst, r.Raw[4+len(r.Digest):]...)
}

// appendStored appends the digest that the kernel's list of a bank stores. It is
// not what a violation extends a register with.
func (r *Record) appendStored(dst []byte, bank Bank, style Style) []byte {
	switch {
	case bank == r.bank:
		return append(dst, r.Digest...)
	case r.Violation():
		return append(dst, zeroDigest[:bank.Size()]...)
	}
	return r.appendSum(dst, bank, style, false, r.hashInput())
}

// AppendASCII appends the record as a line of the kernel's ascii_runtime_measurements,
// or of its sibling for a bank, byte for byte (ima_ascii_measurements_show in
// ima_fs.c, ima_show_template_data_ascii in ima_template_lib.c). The bank must be
// Available.
//
// The kernel escapes nothing. A file name with a line break makes one record look
// like two, and no reader of such a list can tell; the replay then fails.
//
// A record whose fields cannot be told apart gives a *FieldError: the kernel has no
// line for it.
func (r *Record) AppendASCII(dst []byte, bank Bank, style Style) ([]byte, error) {
	fields, err := r.rawFields()
	if err != nil {
		return dst, err
	}
	dst = fmt.Appendf(dst, "%2d ", r.PCR)
	dst = fmt.Appendf(dst, "%x ", r.appendStored(nil, bank, style))
	dst = append(dst, r.Template...)
	for i, name := range formatOf(r.Template) {
		dst = append(dst, ' ')
		if len(fields[i]) > 0 {
			dst = r.appendField(dst, name, fields[i])
		}
	}
	return append(dst, '\n'), nil
}

// rawFields returns the bytes of each field, which have the form that Fields wants.
func (r *Record) rawFields() ([][]byte, error) {
	f, err := r.Fields()
	if err != nil {
		return nil, err
	}
	if f.Format == nil {
		return nil, &FieldError{r.Index, string(r.Template), "unknown, so its fields cannot be told apart"}
	}
	if r.legacy() {
		return [][]byte{f.Digest.Digest, f.Path}, nil
	}
	d := fieldReader{rest: r.Data, order: r.order}
	list := make([][]byte, 0, len(f.Format))
	for _, name := range f.Format {
		list = append(list, d.next(name))
	}
	return list, nil
}

// appendField appends a field that is not empty.
func (r *Record) appendField(dst []byte, name string, v []byte) []byte {
	switch name {
	case "n", "n-ng", "xattrnames":
		s, _, _ := bytes.Cut(v, []byte{0})
		return append(dst, s...)
	case "d-ng", "d-ngv2", "d-modsig":
		head, digest, _ := bytes.Cut(v, []byte{0})
		return fmt.Appendf(append(dst, head...), "%x", digest)
	case "iuid", "igid":
		return strconv.AppendUint(dst, uint64(r.order.uint32(v)), 10)
	case "imode":
		return strconv.AppendUint(dst, uint64(r.order.uint16(v)), 10)
	}
	return fmt.Appendf(dst, "%x", v)
}
