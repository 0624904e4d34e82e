package export

import (
	"io"

	"github.com/imaledger/imaledger/tpm/ima"
)

// binaryList writes the kernel's binary_runtime_measurements, or its sibling for a bank.
// In the bank that the records were read in, the bytes are the kernel's own.
type binaryList struct {
	w    io.Writer
	bank ima.Bank
	buf  []byte
}

func newBinary(w io.Writer, o Options) Writer { return &binaryList{w: w, bank: o.Bank} }

func (b *binaryList) Write(r *Record) error {
	b.buf = r.AppendIn(b.buf[:0], b.bank, r.style(b.bank))
	_, err := b.w.Write(b.buf)
	return err
}

func (b *binaryList) Close() error { return nil }

// style returns how a list's bank is digested, which need not be quoted.
func (r *Record) style(b ima.Bank) ima.Style {
	if s, known := r.Styles[b]; known {
		return s
	}
	return ima.KernelStyles()[b]
}

// ascii writes the kernel's ascii_runtime_measurements, or its sibling for a bank.
type ascii struct {
	w    io.Writer
	bank ima.Bank
	buf  []byte
}

func newASCII(w io.Writer, o Options) Writer { return &ascii{w: w, bank: o.Bank} }

func (a *ascii) Write(r *Record) error {
	var err error
	if a.buf, err = r.AppendASCII(a.buf[:0], a.bank, r.style(a.bank)); err != nil {
		return &UnfitError{r.Number, "the kernel's ascii list", err.Error()}
	}
	_, err = a.w.Write(a.buf)
	return err
}

func (a *ascii) Close() error { return nil }
