// Package securityfs reads IMA's measurement list from the kernel, and takes
// records out of kernel memory where the kernel lets it (Linux 7.2 and later,
// CONFIG_IMA_STAGING; Documentation/security/IMA-export-delete.rst).
//
// The kernel counts who has the list's files open: any number of readers, or one
// writer. So every method opens one file, does one thing and closes it again; no
// file is open twice at a time. That also avoids a trap: the kernel takes the
// thread for the writer, and two open for writing that are closed by different
// threads leave a reader behind that is none, until the next boot.
package securityfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Dir is where the kernel shows IMA's files, once securityfs is mounted.
const Dir = "/sys/kernel/security/ima"

// A Flavour is what a kernel lets be done with its list.
type Flavour int

// The flavours.
const (
	ReadOnly Flavour = iota // the list only grows
	Counted                 // the first N records can be deleted
	Staging                 // all records can be set apart, read, and deleted
)

// String returns the flavour's name.
func (f Flavour) String() string {
	return [...]string{"read-only", "counted", "staging"}[f]
}

// What the kernel says, and what is to be done.
var (
	ErrNoIMA     = errors.New("the kernel shows no measurement list: it needs CONFIG_IMA and securityfs (mount -t securityfs securityfs /sys/kernel/security)")
	ErrStaged    = errors.New("records are staged already")
	ErrNothing   = errors.New("there are no such records")
	ErrSuspended = errors.New("the kernel has suspended measurement for a reboot or kexec: the records go on to the next kernel")
	ErrFlush     = errors.New("the kernel was booted with ima_flush_htable and deletes staged records only")
	ErrNotRoot   = errors.New("this needs root, to delete CAP_SYS_ADMIN")
)

// A Source is IMA's folder. Its methods must not be called at the same time.
type Source struct {
	dir     string
	list    string // name of the SHA-1 list
	flavour Flavour
}

// Open finds out what the kernel offers. An error wraps ErrNoIMA where it offers
// nothing.
func Open(dir string) (*Source, error) {
	s := &Source{dir: dir}
	// The file with the bank's name is there since Linux 6.10.
	for _, name := range []string{"binary_runtime_measurements_sha1", "binary_runtime_measurements"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, s.fail(name, err)
		}
		s.list = name
		if info.Mode().Perm()&0o200 != 0 {
			s.flavour = Counted
		}
		if _, err := os.Stat(s.path(s.staged())); err == nil {
			s.flavour = Staging
		}
		return s, nil
	}
	return nil, fmt.Errorf("%s: %w", dir, ErrNoIMA)
}

// Flavour returns what the kernel lets be done.
func (s *Source) Flavour() Flavour { return s.flavour }

func (s *Source) staged() string { return s.list + "_staged" }

func (s *Source) path(name string) string { return filepath.Join(s.dir, name) }

// Count returns the number of records in the list, without those that are
// staged. Reading it keeps nobody from the list.
func (s *Source) Count() (uint64, error) {
	const name = "runtime_measurements_count"
	b, err := os.ReadFile(s.path(name))
	if err != nil {
		return 0, s.fail(name, err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", s.path(name), err)
	}
	return n, nil
}

// Stage sets the whole list apart: it is then read with ReadStaged, and grows no
// more. ErrStaged says that an older one is staged, ErrNothing that the list is
// empty.
func (s *Source) Stage() error { return s.command(s.staged(), nil, "A\n") }

// DeleteStaged frees what is staged, if check accepts it. check is given the
// staged records; nobody can change them meanwhile.
func (s *Source) DeleteStaged(check func(io.Reader) error) error {
	return s.command(s.staged(), check, "D\n")
}

// DeleteFirst frees the first n records of the list, if check accepts it. check
// is given the list; nobody can change its begin meanwhile.
func (s *Source) DeleteFirst(n uint64, check func(io.Reader) error) error {
	return s.command(s.list, check, strconv.FormatUint(n, 10)+"\n")
}

// ReadStaged gives what is staged to f, nothing where nothing is.
func (s *Source) ReadStaged(f func(io.Reader) error) error {
	if s.flavour != Staging {
		return f(strings.NewReader(""))
	}
	return s.read(s.staged(), 0, f)
}

// Read gives the list from a byte on to f, without what is staged. The kernel
// walks the list from its begin for each page that is read.
func (s *Source) Read(from int64, f func(io.Reader) error) error {
	return s.read(s.list, from, f)
}

func (s *Source) read(name string, from int64, f func(io.Reader) error) error {
	file, err := os.Open(s.path(name))
	if err != nil {
		return s.fail(name, err)
	}
	if from > 0 {
		_, err = file.Seek(from, io.SeekStart)
	}
	if err == nil {
		err = f(file)
	}
	// Closing ends our exclusion of writers; it says nothing about what was read.
	return errors.Join(err, file.Close())
}

// command writes one command, on one file that is open once. The kernel ignores
// the position of a write, and refuses pwrite.
func (s *Source) command(name string, check func(io.Reader) error, text string) error {
	file, err := os.OpenFile(s.path(name), os.O_RDWR, 0)
	if err != nil {
		return s.fail(name, err)
	}
	defer file.Close()
	if check != nil {
		if err := check(file); err != nil {
			return err
		}
	}
	if _, err := file.Write([]byte(text)); err != nil {
		return s.fail(name, commandError(text, err))
	}
	return nil
}

func commandError(text string, err error) error {
	meaning := map[syscall.Errno]error{syscall.ENOENT: ErrNothing, syscall.ESTALE: ErrSuspended, syscall.EACCES: ErrSuspended, syscall.EEXIST: ErrStaged}
	if text != "A\n" && text != "D\n" {
		meaning[syscall.EINVAL] = ErrFlush
	}
	var errno syscall.Errno
	if errors.As(err, &errno) && meaning[errno] != nil {
		return meaning[errno]
	}
	return err
}

// fail names the file and, where the list is in use, by whom.
func (s *Source) fail(name string, err error) error {
	path := s.path(name)
	switch {
	case errors.Is(err, syscall.EBUSY):
		return &BusyError{Path: path, Holders: holders("/proc")}
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s: %w", path, ErrNotRoot)
	}
	var wrapped *os.PathError
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return fmt.Errorf("%s: %w", path, err)
}
