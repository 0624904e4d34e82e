package witness

import (
	"errors"
	"os"
)

// disk is what durability rests on. Tests make each step fail.
type disk interface {
	create(name string) (diskFile, error) // a new file, in place of one that is there
	rename(from, to string) error
	syncDir(dir string) error // the names in the directory are on disk
}

// diskFile is a file that is written to, and is on disk after a sync.
type diskFile interface {
	WriteAt(b []byte, offset int64) (int, error)
	Sync() error
	Close() error
}

// osDisk is the operating system's.
type osDisk struct{}

func (osDisk) create(name string) (diskFile, error) {
	// A new file each time: a file whose sync failed once may report success the second time, without being on disk.
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osDisk) rename(from, to string) error { return os.Rename(from, to) }

func (osDisk) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// osFile is a file whose Sync need not write what does not help reading it back.
type osFile struct{ *os.File }

// writeWhole writes a file whole: after it the file has the content or is as it
// was. The order is what makes it so:
//
//  1. write a new file beside it and sync it: its content is on disk before it has the name;
//  2. rename it: readers see the old content or the new, never a part;
//  3. sync the directory: the name is on disk.
//
// renamed says whether step 2 was reached, after which an error leaves either.
func writeWhole(d disk, name string, fill func(diskFile) error) (f diskFile, renamed bool, err error) {
	f, err = d.create(name + tempExt)
	if err != nil {
		return nil, false, err
	}
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		renamed = true
		err = d.rename(name+tempExt, name)
	}
	if err == nil {
		err = d.syncDir(dirOf(name))
	}
	if err != nil {
		return nil, renamed, errors.Join(err, f.Close())
	}
	return f, true, nil
}

// writeText fills a file with a text.
func writeText(text string) func(diskFile) error {
	return func(f diskFile) error {
		_, err := f.WriteAt([]byte(text), 0)
		return err
	}
}
