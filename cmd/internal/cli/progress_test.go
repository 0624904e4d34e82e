package cli

import (
	"strings"
	"testing"
	"time"
)

// TestProgress: lines come seldom, and the time that is left is what the pace so
// far gives.
func TestProgress(t *testing.T) {
	var out strings.Builder
	p := NewProgress(&out)
	now := time.Unix(0, 0)
	p.now = func() time.Time { return now }
	for done := uint64(100); done <= 200; done++ {
		p.Show("entries", done, 200)
		now = now.Add(time.Second)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 10 || lines[0] != "entries: 110 of 200 (55 %), 1m30s left" || lines[9] != "entries: 200 of 200 (100 %)" {
		t.Errorf("%q", lines)
	}
	out.Reset()
	p.terminal = true
	p.Show("tiles", 0, 0)
	now = now.Add(time.Second)
	p.Show("tiles", 1, 0)
	p.End()
	p.End()
	if got := out.String(); got != "\r\x1b[Ktiles: 1 of 0\r\x1b[K" {
		t.Errorf("%q", got)
	}
}
