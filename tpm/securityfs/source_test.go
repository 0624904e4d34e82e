package securityfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// folder makes what a kernel shows: names and their modes.
func folder(t *testing.T, files map[string]os.FileMode) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ima")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, mode := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("list of "+name), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func content(t *testing.T, read func(func(io.Reader) error) error) string {
	t.Helper()
	var b []byte
	err := read(func(r io.Reader) (err error) { b, err = io.ReadAll(r); return err })
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestFlavours: which kernel it is follows from the files and their modes (Linux
// 6.1, 6.10, and 7.2 without and with CONFIG_IMA_STAGING).
func TestFlavours(t *testing.T) {
	for _, test := range []struct {
		files map[string]os.FileMode
		want  Flavour
		list  string
	}{
		{map[string]os.FileMode{"binary_runtime_measurements": 0o440}, ReadOnly, "binary_runtime_measurements"},
		{map[string]os.FileMode{"binary_runtime_measurements": 0o440, "binary_runtime_measurements_sha1": 0o440}, ReadOnly, "binary_runtime_measurements_sha1"},
		{map[string]os.FileMode{"binary_runtime_measurements_sha1": 0o660}, Counted, "binary_runtime_measurements_sha1"},
		{map[string]os.FileMode{"binary_runtime_measurements_sha1": 0o660, "binary_runtime_measurements_sha1_staged": 0o660}, Staging, "binary_runtime_measurements_sha1"},
	} {
		s, err := Open(folder(t, test.files))
		if err != nil || s.Flavour() != test.want {
			t.Errorf("%v: %v, %v", test.files, s, err)
			continue
		}
		if got := content(t, func(f func(io.Reader) error) error { return s.Read(5, f) }); got != "of "+test.list {
			t.Errorf("%v: from byte 5: %q", test.files, got)
		}
		want := ""
		if test.want == Staging {
			want = "list of " + test.list + "_staged"
		}
		if got := content(t, s.ReadStaged); got != want {
			t.Errorf("%v: staged: %q", test.files, got)
		}
	}
	if _, err := Open(folder(t, nil)); !errors.Is(err, ErrNoIMA) {
		t.Errorf("no lists: %v", err)
	}
}

// TestCount: the number of records, and what is no number.
func TestCount(t *testing.T) {
	dir := folder(t, map[string]os.FileMode{"binary_runtime_measurements": 0o440})
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Count(); err == nil || !strings.Contains(err.Error(), "runtime_measurements_count") {
		t.Errorf("no file: %v", err)
	}
	for text, want := range map[string]uint64{"0\n": 0, "20003\n": 20003} {
		if err := os.WriteFile(filepath.Join(dir, "runtime_measurements_count"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Count(); err != nil || n != want {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "runtime_measurements_count"), []byte("many\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Count(); err == nil {
		t.Error("\"many\" is taken for a number")
	}
}

// TestCommands: what is written where, on one file that was checked through the
// same descriptor; a check that fails writes nothing.
func TestCommands(t *testing.T) {
	const list, staged = "binary_runtime_measurements_sha1", "binary_runtime_measurements_sha1_staged"
	dir := folder(t, map[string]os.FileMode{list: 0o660, staged: 0o660})
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	no := errors.New("no")
	if err := s.DeleteStaged(func(io.Reader) error { return no }); !errors.Is(err, no) || read(staged) != "list of "+staged {
		t.Errorf("a check that fails: %v, %q", err, read(staged))
	}
	var seen bytes.Buffer
	all := func(r io.Reader) error { _, err := io.Copy(&seen, r); return err }
	for _, test := range []struct {
		do         func() error
		name, want string // a plain file appends behind what was read
	}{
		{s.Stage, staged, "A\n"},
		{func() error { return s.DeleteStaged(all) }, staged, "D\n"},
		{func() error { return s.DeleteFirst(17, all) }, list, "17\n"},
	} {
		before := read(test.name)
		if err := test.do(); err != nil {
			t.Fatal(err)
		}
		if after := read(test.name); after == before || !strings.Contains(after, test.want) {
			t.Errorf("%q: %q after %q", test.want, after, before)
		}
	}
	if seen.Len() == 0 {
		t.Error("the checks were given nothing")
	}
}

// TestErrors: the kernel's answers (ima_fs.c) have names.
func TestErrors(t *testing.T) {
	for _, test := range []struct {
		text  string
		errno syscall.Errno
		want  error
	}{
		{"A\n", syscall.EEXIST, ErrStaged}, {"A\n", syscall.ENOENT, ErrNothing}, {"A\n", syscall.EACCES, ErrSuspended},
		{"D\n", syscall.ENOENT, ErrNothing}, {"D\n", syscall.ESTALE, ErrSuspended},
		{"7\n", syscall.ENOENT, ErrNothing}, {"7\n", syscall.ESTALE, ErrSuspended}, {"7\n", syscall.EINVAL, ErrFlush},
		{"A\n", syscall.EINVAL, syscall.EINVAL}, {"D\n", syscall.EIO, syscall.EIO},
	} {
		if err := commandError(test.text, &os.PathError{Op: "write", Path: "x", Err: test.errno}); !errors.Is(err, test.want) {
			t.Errorf("%q, %v: %v, want %v", test.text, test.errno, err, test.want)
		}
	}
	s := &Source{dir: "/x"}
	var busy *BusyError
	if err := s.fail("list", &os.PathError{Op: "open", Path: "/x/list", Err: syscall.EBUSY}); !errors.As(err, &busy) || !strings.Contains(err.Error(), "it will be tried again") {
		t.Errorf("%v", err)
	}
	for _, errno := range []syscall.Errno{syscall.EPERM, syscall.EACCES} {
		if err := s.fail("list", &os.PathError{Op: "open", Path: "/x/list", Err: errno}); !errors.Is(err, ErrNotRoot) || !strings.Contains(err.Error(), "/x/list") {
			t.Errorf("%v", err)
		}
	}
}

// TestHolders: who has a list open is found by its open files.
func TestHolders(t *testing.T) {
	dir := folder(t, map[string]os.FileMode{"ascii_runtime_measurements": 0o600})
	c := exec.Command("sh", "-c", "exec 3<\"$1\"; read line", "sh", filepath.Join(dir, "ascii_runtime_measurements"))
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { stdin.Close(); c.Wait() }()
	for until := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		for _, h := range holders("/proc") {
			if h.PID == c.Process.Pid && strings.HasSuffix(h.File, "/ima/ascii_runtime_measurements") && h.Name == "sh" {
				e := &BusyError{Path: "list", Holders: []Holder{h}}
				if want := fmt.Sprintf("sh (process %d)", h.PID); !strings.Contains(e.Error(), want) {
					t.Errorf("%v, want %q", e, want)
				}
				return
			}
		}
		if time.Now().After(until) {
			t.Fatal("the process that holds the list was not found")
		}
	}
}
