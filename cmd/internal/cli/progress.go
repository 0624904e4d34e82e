package cli

import (
	"fmt"
	"io"
	"os"
	"time"
)

// How often a long command says how far it has come: in place on a terminal, in
// lines of a log.
const (
	progressInterval    = 200 * time.Millisecond
	progressLogInterval = 10 * time.Second
)

// A Progress says on stderr how far a long command has come, and when it will be
// done if it goes on like that.
type Progress struct {
	w        io.Writer
	terminal bool
	now      func() time.Time

	what         string
	first        uint64 // done when what began
	began, shown time.Time
	open         bool // a line on the terminal is not ended
}

// NewProgress returns a Progress that writes to w. Where that is a terminal, one
// line changes.
func NewProgress(w io.Writer) *Progress {
	p := &Progress{w: w, now: time.Now}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// Show says that done of total are done of what.
func (p *Progress) Show(what string, done, total uint64) {
	now := p.now()
	if what != p.what {
		p.End()
		p.what, p.first, p.began, p.shown = what, done, now, now
	}
	interval := progressLogInterval
	if p.terminal {
		interval = progressInterval
	}
	if now.Sub(p.shown) < interval {
		return
	}
	p.shown = now
	text := fmt.Sprintf("%s: %d of %d", what, done, total)
	if total > 0 {
		text += fmt.Sprintf(" (%d %%)", done*100/total)
	}
	if made := done - p.first; made > 0 && done < total {
		left := time.Duration(float64(now.Sub(p.began)) / float64(made) * float64(total-done))
		text += fmt.Sprintf(", %s left", left.Round(time.Second))
	}
	if p.terminal {
		fmt.Fprintf(p.w, "\r\x1b[K%s", text)
		p.open = true
	} else {
		fmt.Fprintln(p.w, text)
	}
}

// End ends a line that changes.
func (p *Progress) End() {
	if p.open {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.open = false
	}
}
