package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
)

// A joinedList is a measurement list in one or several files, which are joined in
// the order given. It can be read again and again.
type joinedList struct {
	names  []string
	bank   ima.Bank
	copies []*os.File // of those that can be read only once, else nil
	sizes  []int64    // bytes read of each: a file of securityfs has size 0
}

// kernelList is where a kernel lists.
const kernelList = "/sys/kernel/security/ima/binary_runtime_measurements"

// openJoinedList finds out which digests the list stores, unless bank says so.
func openJoinedList(names []string, bank string) (*joinedList, error) {
	l := &joinedList{names: names, bank: ima.SHA1, copies: make([]*os.File, len(names)), sizes: make([]int64, len(names))}
	if bank != "" {
		var err error
		if l.bank, err = ima.ParseBank(bank); err != nil {
			return nil, cli.Usagef("--bank: %w", err)
		}
	}
	for i := range names {
		if err := l.prepare(i); err != nil {
			return nil, err
		}
	}
	if bank != "" {
		return l, nil
	}
	for _, b := range []ima.Bank{ima.SHA1, ima.SHA256, ima.SHA384, ima.SHA512, ima.SHA3_256} {
		fits, err := l.fits(b)
		if err != nil {
			return nil, err
		}
		if fits {
			l.bank = b
			break
		}
	}
	return l, nil
}

// prepare copies what can be read only once, and refuses what is no list before
// it is taken for a damaged one.
func (l *joinedList) prepare(i int) error {
	f, err := os.Open(l.names[i])
	if err != nil {
		return cli.WithHint(cli.Undecidedf("measurement list: %w", err), "a running kernel's is %s, for root to read", kernelList)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return cli.Undecidedf("measurement list: %w", err)
	}
	if info.IsDir() {
		return cli.WithHint(cli.Usagef("%s is a directory, want a measurement list", l.names[i]), "the list in it is the file binary_runtime_measurements")
	}
	if !info.Mode().IsRegular() {
		if l.copies[i], err = copyOnce(f); err != nil {
			return cli.Undecidedf("measurement list %s: %w", l.names[i], err)
		}
		f = l.copies[i]
	}
	var magic [2]byte
	if n, _ := f.ReadAt(magic[:], 0); n == 2 && magic == [2]byte{0x1f, 0x8b} {
		return cli.WithHint(cli.Usagef("%s is compressed with gzip, want the list itself", l.names[i]), "gzip -dc %s, piped to the same command with /dev/stdin for the list", l.names[i])
	}
	return nil
}

// copyOnce copies a pipe's content to a file without a name.
func copyOnce(r io.Reader) (*os.File, error) {
	f, err := os.CreateTemp("", "imaledger-list-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := io.Copy(f, r); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// fits reports whether the first record reads as one with digests of a bank. A
// record whose digest is that of its data leaves no doubt; a violation's is zero.
func (l *joinedList) fits(b ima.Bank) (bool, error) {
	r, err := l.open()
	if err != nil {
		return false, err
	}
	defer r.Close()
	rec, err := ima.NewReader(r, ima.Format{Bank: b}).Next()
	if err != nil {
		return false, nil
	}
	p, err := ima.NewReplayer([]ima.Bank{b}, nil, nil)
	return err == nil && p.Extend(rec) == nil, nil
}

// open opens all files; they are read one after the other.
func (l *joinedList) open() (io.ReadCloser, error) {
	j := &joined{}
	var readers []io.Reader
	for i, name := range l.names {
		l.sizes[i] = 0
		if l.copies[i] != nil { // stays open for the next reading
			readers = append(readers, &counted{io.NewSectionReader(l.copies[i], 0, math.MaxInt64), &l.sizes[i]})
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			return nil, errors.Join(cli.Undecidedf("measurement list: %w", err), j.Close())
		}
		j.files = append(j.files, f)
		readers = append(readers, &counted{f, &l.sizes[i]})
	}
	j.Reader = io.MultiReader(readers...)
	return j, nil
}

type joined struct {
	io.Reader
	files []*os.File
}

func (j *joined) Close() error {
	var errs []error
	for _, f := range j.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// counted counts the bytes that are read.
type counted struct {
	r io.Reader
	n *int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	*c.n += int64(n)
	return n, err
}

// place names the file and the byte in it of an offset in the joined list, up to
// which it was read.
func (l *joinedList) place(offset int64) string {
	last := len(l.names) - 1
	for i, name := range l.names[:last] {
		if offset < l.sizes[i] {
			return fmt.Sprintf("%s: byte %d", name, offset)
		}
		offset -= l.sizes[i]
	}
	return fmt.Sprintf("%s: byte %d", l.names[last], offset)
}

// finding turns an error of reading or replaying the list into a finding; ok is
// false for one that says nothing about the list.
func (l *joinedList) finding(err error) (f ledger.Finding, ok bool) {
	var syntax *ima.SyntaxError
	var digest *ima.DigestError
	var none *ima.NoCutError
	var unquoted *ima.UnquotedError
	f = ledger.Finding{Subject: strings.Join(l.names, ", "), Text: err.Error()}
	switch {
	case errors.As(err, &syntax):
		f.Code, f.Subject = ledger.ListMalformed, l.place(syntax.Offset)
	case errors.As(err, &digest):
		f.Code, f.Subject = ledger.RecordDigest, l.place(digest.Offset)
	case errors.As(err, &none):
		f.Code = ledger.ReplayMismatch
		if len(none.Unquoted) == 0 && len(none.Unknown) > 0 { // the text ends in: give them
			f.Text += " with --pcrs"
		}
	case errors.As(err, &unquoted):
		f.Code = ledger.QuoteSelection
	default:
		return f, false
	}
	return f, true
}
