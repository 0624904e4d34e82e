package main

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

// reportHTML is the page's frame; @@ stands where the report does.
//
//go:embed report.html
var reportHTML string

// A page is HTML that is written. Package html/template would do it too, and make the
// program five megabytes larger: what calls methods by their names keeps all of them.
type page struct{ strings.Builder }

// f writes markup; every argument is text, and is escaped.
func (p *page) f(markup string, args ...any) {
	for i, a := range args {
		args[i] = html.EscapeString(fmt.Sprint(a))
	}
	fmt.Fprintf(p, markup+"\n", args...)
}

// row writes a row of a table.
func (p *page) row(cells ...any) {
	p.WriteString("<tr>")
	for _, c := range cells {
		fmt.Fprintf(p, "<td>%s</td>", html.EscapeString(fmt.Sprint(c)))
	}
	p.WriteString("</tr>\n")
}

// verdictSentences say what each verdict means for the reader.
var verdictSentences = map[string]string{
	"verified":     "Verified: all that is said below is proven by the evidence.",
	"contradicted": "Contradicted: the evidence does not hold. Nothing is proven where a finding names it.",
	"undecided":    "Undecided: evidence is missing. What is said below holds as far as it goes.",
}

// writeHTMLReport writes the page to a file.
func writeHTMLReport(name string, trust *ledger.Trust, checked []*checkedBundle) error {
	p := new(page)
	verdict := verdictOf(worstOf(checked))
	p.f("<h1>Evidence report</h1>")
	p.f("<p>Made on %s by imaledger %s, which checked %s of evidence offline, against the trust folder below.</p>",
		audit.Time(uint64(time.Now().Unix())), cli.Version(), audit.Count(len(checked), "bundle"))
	p.f(`<p class="verdict %s">%s</p>`, verdict, verdictSentences[verdict])
	for _, f := range across(checked) {
		p.f(`<p class="contradicted">%s</p>`, f)
	}
	for _, c := range checked {
		if err := p.bundle(c); err != nil {
			return err
		}
	}
	p.keys(trust)
	before, after, _ := strings.Cut(reportHTML, "@@\n")
	if err := os.WriteFile(name, []byte(before+p.String()+after), 0o644); err != nil {
		return cli.Usagef("--report: %w", err)
	}
	return nil
}

// bundle writes what the check of a bundle gave.
func (p *page) bundle(c *checkedBundle) error {
	v := verdict(c.Report)
	p.f("<h2>%s</h2>", c.File)
	p.f(`<p class="verdict %s">%s</p>`, v, v)
	if c.Class() != ledger.Contradicted {
		p.f("<h3>What is proven</h3>\n<ul>")
		for _, s := range c.Statements() {
			p.f("<li>%s</li>", s)
		}
		for _, s := range c.Successions {
			p.f("<li>Log %s ended with %s entries, and log %s follows it: each names the other.</li>", s.From, s.Size, s.To)
		}
		if len(c.Report.Segments)+len(c.Successions) == 0 {
			p.f("<li>No segment of any host.</li>")
		}
		p.f("</ul>")
		if c.TreeSize > 0 {
			p.f("<p>By log <code>%s</code> at size %s, which witnesses had seen by %s.</p>", c.Log, c.TreeSize, audit.Time(c.Witnessed))
		}
	}
	p.f("<h3>What was found</h3>")
	if len(c.Findings) == 0 {
		p.f("<p>Nothing: no gap, no skipped boot, no record that no register binds.</p>")
	} else {
		p.f("<table><thead><tr><th>class</th><th>where</th><th>what</th><th>code</th></tr></thead><tbody>")
		for _, f := range c.Findings {
			p.row(f.Class(), f.Subject, f.Text, f.Code)
		}
		p.f("</tbody></table>")
	}
	p.segments(c.Report.Segments)
	digest, size, err := digestOf(c.File)
	if err != nil {
		return err
	}
	p.f("<h3>How to check it again</h3>")
	p.f("<p>The file has %s bytes and the SHA-256 <code>%s</code>.</p>", size, digest)
	p.f("<p><code>imaledger verify --trust TRUST %s</code></p>", c.File)
	return nil
}

func (p *page) segments(list []*audit.Segment) {
	if len(list) == 0 {
		return
	}
	p.f("<h3>Segments</h3>")
	p.f(`<div class="scroll"><table><thead><tr><th>host</th><th>#</th><th>joins</th><th>records</th><th>boot</th><th>quoted not before</th><th>and not after</th><th>leaf</th></tr></thead><tbody>`)
	for _, s := range list {
		records, boot := "none", fmt.Sprint(s.ResetCount)
		if s.Count > 0 {
			records = fmt.Sprintf("%d to %d", s.First, s.First+s.Count-1)
		}
		if s.RestartCount > 0 {
			boot += fmt.Sprintf(".%d", s.RestartCount)
		}
		p.row(s.Host, s.Sequence, s.Join, records, boot, audit.Time(s.NotBefore), audit.Time(s.NotAfter), s.Leaf)
	}
	p.f("</tbody></table></div>")
}

// keys writes whose word the report rests on.
func (p *page) keys(trust *ledger.Trust) {
	p.f("<h2>By which keys</h2>\n<table><thead><tr><th>part</th><th>key</th></tr></thead><tbody>")
	for _, k := range trust.Policy.Logs() {
		p.row("log", k.VKey)
	}
	for _, k := range trust.Policy.Witnesses() {
		p.row("witness", k.VKey)
	}
	p.row("quorum", fmt.Sprintf("keys of witnesses, at the fewest: %d", trust.Policy.QuorumSize()))
	name := func(k note.Verifier) string { return fmt.Sprintf("%s+%08x", k.Name(), k.KeyHash()) }
	for _, k := range trust.Registrars {
		p.row("registrar", name(k))
	}
	grades := fmt.Sprintf("%d of the registrars; accepted grades: %v", trust.Threshold, trust.Grades)
	if trust.Reason != "" {
		grades += ", software because " + trust.Reason
	}
	p.row("enrolment", grades)
	for _, k := range trust.Operators {
		p.row("operator", name(k))
	}
	p.f("</tbody></table>")
	p.f("<p>Whoever gives this report away gives the trust folder by another way: what it names is what the reader believes.</p>")
}

func digestOf(name string) (digest string, size int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return "", 0, cli.Undecidedf("%w", err)
	}
	h := sha256.New()
	size, err = io.Copy(h, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", 0, cli.Undecidedf("%w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}
