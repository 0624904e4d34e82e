package guest

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// A File of the guest's root file system.
type File struct {
	Path   string // in the guest
	Source string // on this machine
}

// ModuleDir holds the kernel's modules in the guest, named so that they are
// loaded in the order of their names.
const ModuleDir = "/modules"

// writeInitrd writes the guest's root file system: a cpio archive in the format
// "newc" (Documentation/driver-api/early-userspace/buffer-format.rst).
func (m *Machine) writeInitrd(path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	compressed, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return err
	}
	w := &cpio{w: bufio.NewWriter(compressed), made: make(map[string]bool)}
	for _, d := range []string{"bin", "dev", "proc", "sys", "tmp", "var", "run", "etc", "measured"} {
		w.dir(d)
	}
	files := m.Files
	for i, module := range m.Kernel.Modules {
		files = append(files, File{Path: fmt.Sprintf("%s/%02d-%s", ModuleDir, i, filepath.Base(module)), Source: module})
	}
	for _, file := range files {
		w.file(strings.TrimPrefix(file.Path, "/"), file.Source)
	}
	w.entry("TRAILER!!!", 0, nil)
	return errors.Join(w.err, w.w.(*bufio.Writer).Flush(), compressed.Close())
}

type cpio struct {
	w    io.Writer
	made map[string]bool
	ino  int
	err  error
}

func (c *cpio) entry(name string, mode uint32, content []byte) {
	if c.err != nil {
		return
	}
	c.ino++
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		c.ino, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	pad := func(n int) string { return strings.Repeat("\x00", (4-n%4)%4) }
	_, c.err = fmt.Fprintf(c.w, "%s%s\x00%s%s%s", header, name, pad(len(header)+len(name)+1), content, pad(len(content)))
}

const (
	modeDir  = 0o040755
	modeFile = 0o100000 // and the source's permissions
)

func (c *cpio) dir(name string) {
	if name == "." || c.made[name] {
		return
	}
	c.dir(filepath.Dir(name))
	c.made[name] = true
	c.entry(name, modeDir, nil)
}

func (c *cpio) file(name, source string) {
	content, err := os.ReadFile(source)
	if err != nil {
		c.err = errors.Join(c.err, err)
		return
	}
	info, err := os.Stat(source)
	if err != nil {
		c.err = errors.Join(c.err, err)
		return
	}
	c.dir(filepath.Dir(name))
	c.entry(name, modeFile|uint32(info.Mode().Perm()), content)
}
