package durable

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

// TestWriteFile: a file is replaced whole, and where that fails the one that was there
// stays, with nothing beside it.
func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	broken := errors.New("broken")
	for _, row := range []struct {
		content io.Reader
		err     error
		want    string
	}{
		{strings.NewReader("the first, which is longer"), nil, "the first, which is longer"},
		{strings.NewReader("second"), nil, "second"},
		{io.MultiReader(strings.NewReader("thi"), iotest.ErrReader(broken)), broken, "second"},
	} {
		if err := WriteFile(name, row.content, 0o600); !errors.Is(err, row.err) {
			t.Errorf("%v, want %v", err, row.err)
		}
		b, err := os.ReadFile(name)
		if err != nil || string(b) != row.want {
			t.Errorf("%q, %v; want %q", b, err, row.want)
		}
		files, err := os.ReadDir(dir)
		if err != nil || len(files) != 1 {
			t.Errorf("%v, %v", files, err)
		}
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}
