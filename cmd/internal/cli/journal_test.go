package cli

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestJournal: what goes to the journal has the journal's levels, and no time of its
// own; what goes elsewhere has neither.
func TestJournal(t *testing.T) {
	for _, journal := range []bool{true, false} {
		f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		stat := info.Sys().(*syscall.Stat_t)
		inode := stat.Ino
		if !journal {
			inode++
		}
		t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", stat.Dev, inode))
		log := Logger(f, slog.LevelDebug, false).With("host", "h").WithGroup("g")
		log.Debug("one", "n", 1)
		log.Info("two")
		log.Warn("three")
		log.Error("four", "n", 4)
		b, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		const want = `<7>level=DEBUG msg=one host=h g.n=1
<6>level=INFO msg=two host=h
<4>level=WARN msg=three host=h
<3>level=ERROR msg=four host=h g.n=4
`
		if got := string(b); journal != (got == want) || !journal && got[:5] != "time=" {
			t.Errorf("journal %v:\n%s", journal, got)
		}
	}
}
