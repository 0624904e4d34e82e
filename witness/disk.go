package witness

import (
	"errors"
	"os"
)

// disk is what durability rests on. Tests make each step fail.
type disk interface {
	writeSync(name, content string) error // the file is on disk, with this content
	rename(from, to string) error
	syncDir(dir string) error // the names in the directory are on disk
}

// osDisk is the operating system's.
type osDisk struct{}

func (osDisk) writeSync(name, content string) error {
	// A new file each time: a file whose sync failed once may report success the second time, without being on disk.
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (osDisk) rename(from, to string) error { return os.Rename(from, to) }

func (osDisk) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
