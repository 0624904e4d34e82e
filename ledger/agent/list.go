package agent

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/imaledger/imaledger/ledger/internal/durable"
	"github.com/imaledger/imaledger/tpm/ima"
)

// A list is the untrimmed list of a boot: every record that the kernel listed,
// byte for byte, as if none was ever deleted. Other programs read it in place of
// the kernel's. A new one begins at each boot and after each gap.
type list struct {
	spool  *spool
	number int
	banks  []ima.Bank // of the files that exist besides SHA-1's
	file   *os.File   // SHA-1, as the kernel gives it: what segments are made of
	named  map[int]bool
	// Of the boot_aggregates in it: two, if a kexec'd kernel was booted with another
	// ima_hash.
	aggregates map[ima.Bank]bool
}

func listName(n int) string { return filepath.Join(listsDir, fmt.Sprintf("%06d", n)) }

// newList begins a list. If it is there already, the power was cut before the
// state named it: what it has is begun again.
func newList(s *spool, n int, banks []ima.Bank) (*list, error) {
	dir := s.path(listName(n))
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	for _, b := range append([]ima.Bank{ima.SHA1}, banks...) {
		if err := s.write(filepath.Join(listName(n), b.String()), nil); err != nil {
			return nil, err
		}
	}
	if err := durable.SyncDir(s.path(listsDir)); err != nil {
		return nil, err
	}
	return openListAt(s, n, state{})
}

// openList opens the newest list and takes back what is beyond the state: it was
// never counted, and the kernel has it still. The same is done with all that the
// kernel has, if any of it is damaged. damaged tells of a record that only the
// ledger has whole.
func openList(s *spool, n int) (l *list, damaged error, err error) {
	if l, err = openListAt(s, n, s.state); err != nil {
		return nil, nil, err
	}
	at := s.state
	if damaged = l.sound(0, at.Kernel); damaged != nil {
		damaged = fmt.Errorf("%w: %w", errListDamaged, damaged)
	}
	if l.sound(at.Kernel, at.Bytes) != nil {
		err = l.takeBack()
	}
	for _, b := range l.banks {
		if err == nil && l.soundBank(b) != nil {
			err = l.rewrite(b, l.spool.state)
		}
	}
	if err != nil {
		return nil, nil, errors.Join(err, l.close())
	}
	return l, damaged, nil
}

// errListDamaged is a damaged record that the kernel does not list any more.
var errListDamaged = errors.New("the exported list is damaged, and the ledger alone has what was sealed of it")

// takeBack forgets what the kernel has, so that it is read again.
func (l *list) takeBack() error {
	at := l.spool.state
	at.Bytes, at.Records, at.Staged, at.StagedRecords = at.Kernel, at.KernelRecord, 0, 0
	return errors.Join(l.spool.save(at), l.truncate(at))
}

// sound checks that the records between two bytes are what was written, as far as
// their digests tell, and notes the registers that they name.
func (l *list) sound(from, to int64) error {
	replayer, err := ima.NewReplayer([]ima.Bank{ima.SHA1}, nil, nil)
	if err != nil {
		return err
	}
	return l.each(from, to, func(r *ima.Record) error {
		l.note(r)
		return replayer.Extend(r)
	})
}

// note notes what a record needs to be quoted.
func (l *list) note(r *ima.Record) {
	l.named[int(r.PCR)] = true
	if bank, _, is := r.BootAggregate(); is {
		l.aggregates[bank] = true
	}
}

func (l *list) soundBank(b ima.Bank) error {
	f, err := os.Open(l.path(b))
	if err != nil {
		return err
	}
	defer f.Close()
	replayer, err := ima.NewReplayer([]ima.Bank{b}, nil, nil)
	if err != nil {
		return err
	}
	return eachIn(f, b, replayer.Extend)
}

// openListAt opens a list that has what a state counts.
func openListAt(s *spool, n int, at state) (*list, error) {
	l := &list{spool: s, number: n, named: make(map[int]bool), aggregates: make(map[ima.Bank]bool)}
	for _, b := range []ima.Bank{ima.SHA256, ima.SHA384, ima.SHA512, ima.SHA3_256, ima.SHA3_384, ima.SHA3_512} {
		if _, err := os.Stat(l.path(b)); err == nil {
			l.banks = append(l.banks, b)
		}
	}
	var err error
	if l.file, err = os.OpenFile(l.path(ima.SHA1), os.O_RDWR, 0); err != nil {
		return nil, err
	}
	info, err := l.file.Stat()
	if err == nil && info.Size() < at.Bytes {
		err = fmt.Errorf("%s: %d bytes, there were %d: the disk lost records that were durable; begin a new directory", l.path(ima.SHA1), info.Size(), at.Bytes)
	}
	if err == nil {
		err = l.truncate(at)
	}
	if err != nil {
		return nil, errors.Join(err, l.file.Close())
	}
	return l, nil
}

// openOldList opens a list that is not the newest: it is whole.
func openOldList(s *spool, n int) (*list, error) {
	l := &list{spool: s, number: n}
	var err error
	l.file, err = os.Open(l.path(ima.SHA1))
	return l, err
}

func (l *list) path(b ima.Bank) string { return l.spool.path(listName(l.number), b.String()) }

func (l *list) close() error { return l.file.Close() }

// sizeIn returns the size of n records in a bank's file, from that in SHA-1's:
// only the digest's size differs.
func sizeIn(b ima.Bank, bytes int64, records uint64) int64 {
	return bytes + int64(records)*int64(b.Size()-ima.SHA1.Size())
}

// truncate takes back what is beyond the state, and notes what the rest names. A
// bank's file that is too short is made again from SHA-1's.
func (l *list) truncate(at state) error {
	if err := l.file.Truncate(at.Bytes); err != nil {
		return err
	}
	for _, b := range l.banks {
		want := sizeIn(b, at.Bytes, at.Records)
		info, err := os.Stat(l.path(b))
		if err != nil {
			return err
		}
		if info.Size() >= want {
			err = os.Truncate(l.path(b), want)
		} else {
			err = l.rewrite(b, at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *list) rewrite(b ima.Bank, at state) error {
	f, err := os.OpenFile(l.path(b), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	err = l.each(0, at.Bytes, func(r *ima.Record) error { return writeIn(w, b, r) })
	return errors.Join(err, w.Flush(), f.Sync(), f.Close())
}

// writeIn writes a record as the kernel's file of a bank has it.
func writeIn(w *bufio.Writer, b ima.Bank, r *ima.Record) error {
	_, err := w.Write(r.AppendIn(nil, b, ima.KernelStyles()[b]))
	return err
}

// section reads bytes of the list.
func (l *list) section(from, to int64) *io.SectionReader {
	return io.NewSectionReader(l.file, from, to-from)
}

// each calls f for every record between two bytes.
func (l *list) each(from, to int64, f func(*ima.Record) error) error {
	if err := eachIn(l.section(from, to), ima.SHA1, f); err != nil {
		return fmt.Errorf("%s: %w", l.path(ima.SHA1), err)
	}
	return nil
}

func eachIn(list io.Reader, b ima.Bank, f func(*ima.Record) error) error {
	for r := ima.NewReader(list, ima.Format{Bank: b}); ; {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = f(rec)
		}
		if err != nil {
			return err
		}
	}
}

// append adds records to the list's files and, when they are on disk, to the
// state. Where it fails the files are as they were.
func (l *list) append(r io.Reader) error {
	next := l.spool.state
	err := l.appendFiles(&next, r)
	if err == nil && next != l.spool.state {
		l.spool.step("appended")
		err = l.spool.save(next)
	}
	if err == nil {
		return nil
	}
	// The disk may be full or gone, so taking it back may fail as well: it is done
	// again before the next append, since the state does not count it.
	return errors.Join(err, l.truncate(l.spool.state))
}

func (l *list) appendFiles(next *state, r io.Reader) error {
	if err := l.truncate(*next); err != nil {
		return err
	}
	files, writers := []*os.File{l.file}, []*bufio.Writer{bufio.NewWriterSize(io.NewOffsetWriter(l.file, next.Bytes), 64<<10)}
	for _, b := range l.banks {
		f, err := os.OpenFile(l.path(b), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		files, writers = append(files, f), append(writers, bufio.NewWriterSize(f, 64<<10))
	}
	// Its digests tell a list that is damaged in memory.
	replayer, err := ima.NewReplayer([]ima.Bank{ima.SHA1}, nil, nil)
	if err != nil {
		return err
	}
	err = eachIn(r, ima.SHA1, func(rec *ima.Record) error {
		if err := replayer.Extend(rec); err != nil {
			return err
		}
		if _, err := writers[0].Write(rec.Raw); err != nil {
			return err
		}
		for i, b := range l.banks {
			if err := writeIn(writers[i+1], b, rec); err != nil {
				return err
			}
		}
		next.Bytes += int64(len(rec.Raw))
		next.Records++
		l.note(rec)
		return nil
	})
	if err != nil {
		return fmt.Errorf("the kernel's list: %w", err)
	}
	l.spool.step("read")
	for _, w := range writers {
		if err := w.Flush(); err != nil {
			return err
		}
	}
	l.spool.step("written")
	for _, f := range files {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// match reads up to n bytes of r and returns how many, from its begin, are those
// of the list from a byte on. ended says that r had no more.
func (l *list) match(r io.Reader, from, n int64) (matched int64, ended bool, err error) {
	ours, theirs := make([]byte, 32<<10), make([]byte, 32<<10)
	for matched < n {
		step := min(n-matched, int64(len(ours)))
		got, err := io.ReadFull(r, theirs[:step])
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return matched, false, err
		}
		if m, err := l.file.ReadAt(ours[:got], from+matched); m < got {
			return matched, false, fmt.Errorf("%s: %w", l.path(ima.SHA1), err)
		}
		same := 0
		for same < got && ours[same] == theirs[same] {
			same++
		}
		matched += int64(same)
		if same < int(step) {
			return matched, same == got, nil
		}
	}
	return matched, false, nil
}
