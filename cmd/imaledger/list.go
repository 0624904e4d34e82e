package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
)

// A joinedList is a measurement list in one or several files, which are joined in
// the order given. It can be read again and again.
type joinedList struct {
	names []string
	bank  ima.Bank
}

// openJoinedList finds out which digests the list stores, unless bank says so.
func openJoinedList(names []string, bank string) (*joinedList, error) {
	l := &joinedList{names: names, bank: ima.SHA1}
	if bank != "" {
		var err error
		if l.bank, err = ima.ParseBank(bank); err != nil {
			return nil, cli.Usagef("--bank: %w", err)
		}
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

// open opens the files, one after the other as they are read.
func (l *joinedList) open() (io.ReadCloser, error) {
	j := &joined{}
	for _, name := range l.names {
		f, err := os.Open(name)
		if err != nil {
			return nil, errors.Join(cli.Undecidedf("%w", err), j.Close())
		}
		j.files = append(j.files, f)
	}
	var readers []io.Reader
	for _, f := range j.files {
		readers = append(readers, f)
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

// place names the file and the byte in it of an offset in the joined list.
func (l *joinedList) place(offset int64) string {
	for _, name := range l.names {
		info, err := os.Stat(name)
		if err != nil || len(l.names) == 1 || !info.Mode().IsRegular() || offset < info.Size() {
			return fmt.Sprintf("%s: byte %d", name, offset)
		}
		offset -= info.Size()
	}
	return fmt.Sprintf("%s: its end", l.names[len(l.names)-1])
}

// finding turns an error of reading or replaying the list into a finding; ok is
// false for one that says nothing about the list.
func (l *joinedList) finding(err error) (f ledger.Finding, ok bool) {
	var syntax *ima.SyntaxError
	var digest *ima.DigestError
	var none *ima.NoCutError
	var unquoted *ima.UnquotedError
	f = ledger.Finding{Subject: l.names[0], Text: err.Error()}
	switch {
	case errors.As(err, &syntax):
		f.Code, f.Subject = ledger.ListMalformed, l.place(syntax.Offset)
	case errors.As(err, &digest):
		f.Code, f.Subject = ledger.RecordDigest, l.place(digest.Offset)
	case errors.As(err, &none):
		f.Code = ledger.ReplayMismatch
	case errors.As(err, &unquoted):
		f.Code = ledger.QuoteSelection
	default:
		return f, false
	}
	return f, true
}
