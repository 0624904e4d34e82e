package agent

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/imaledger/imaledger/tpm/ima"
)

// exportTries is how often an export begins anew, because the agent deleted from
// the kernel or took a new list meanwhile.
const exportTries = 20

// Export writes the untrimmed list of the newest boot in a bank's format, with
// what the kernel listed since the agent read it last. It needs no lock: it can
// run beside the agent. It returns ErrNoList where there is none yet.
func Export(dir string, kernel Kernel, bank ima.Bank, w io.Writer) error {
	for range exportTries {
		s := &spool{dir: dir, step: func(string) {}}
		if err := s.loadState(); err != nil {
			return err
		}
		if s.state.List == 0 {
			return fmt.Errorf("%s: %w", dir, ErrNoList)
		}
		l, err := openOldList(s, s.state.List)
		if err != nil {
			return err
		}
		rest, err := l.since(kernel)
		if err == nil && rest != nil {
			err = l.export(bank, rest, w)
		}
		if err = errors.Join(err, l.close()); err != nil || rest != nil {
			return err
		}
	}
	return errors.New("the list changed all the time; try again")
}

// ErrNoList is a directory in which no list was begun.
var ErrNoList = errors.New("no list yet: the agent has made no round here")

// since returns what the kernel lists beyond the list; nil where the two do not
// fit, since one of them has changed.
func (l *list) since(kernel Kernel) ([]byte, error) {
	at := l.spool.state
	rest := []byte{}
	err := kernel.ReadStaged(func(staged io.Reader) error {
		return kernel.Read(0, func(current io.Reader) error {
			all := bufio.NewReader(io.MultiReader(staged, current))
			known := at.Bytes - at.Kernel
			n, _, err := l.match(all, at.Kernel, known)
			if err == nil && n < known {
				rest = nil
				return nil
			}
			if err == nil {
				rest, err = io.ReadAll(all)
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	now := &spool{dir: l.spool.dir}
	if err := now.loadState(); err != nil {
		return nil, err
	}
	if rest == nil || now.state.Kernel != at.Kernel || now.state.List != at.List {
		return nil, nil
	}
	return rest, nil
}

func (l *list) export(bank ima.Bank, rest []byte, w io.Writer) error {
	all := io.MultiReader(l.section(0, l.spool.state.Bytes), bytes.NewReader(rest))
	if bank == ima.SHA1 {
		_, err := io.Copy(w, all)
		return err
	}
	out := bufio.NewWriter(w)
	for r := ima.NewReader(all, ima.Format{Bank: ima.SHA1}); ; {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out.Flush()
		}
		if err == nil {
			err = writeIn(out, bank, rec)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", l.path(ima.SHA1), err)
		}
	}
}
