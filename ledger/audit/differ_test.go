//go:build web

package audit_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

// A javascript is the second implementation, web/static/verify, in a process of
// its own: web/answer.js says how it is asked.
type javascript struct {
	t   testing.TB
	in  io.WriteCloser
	out *bufio.Reader
}

func startJavaScript(t testing.TB) *javascript {
	cmd := exec.Command("node", "--no-warnings", "../../web/answer.js")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("node: %v", err)
		}
	})
	return &javascript{t: t, in: in, out: bufio.NewReader(out)}
}

// An opinion is what one implementation says of some bytes.
type opinion struct {
	Refused  bool          `json:"refused"`
	Error    string        `json:"error"`
	Why      string        `json:"why"`
	Class    string        `json:"class"`
	Codes    []ledger.Code `json:"codes"`
	Segments []string      `json:"segments"` // facts of each, sorted
	Findings []string      `json:"findings"` // for people
	Facts    string        `json:"-"`        // other fields of the answer
}

func (j *javascript) ask(kind byte, parts ...[]byte) opinion {
	j.t.Helper()
	q := []byte{kind}
	for _, p := range parts {
		q = append(binary.BigEndian.AppendUint32(q, uint32(len(p))), p...)
	}
	if _, err := j.in.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(q))), q...)); err != nil {
		j.t.Fatal(err)
	}
	var size [4]byte
	if _, err := io.ReadFull(j.out, size[:]); err != nil {
		j.t.Fatalf("node gave no answer: %v", err)
	}
	answer := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(j.out, answer); err != nil {
		j.t.Fatal(err)
	}
	var o opinion
	if err := json.Unmarshal(answer, &o); err != nil {
		j.t.Fatalf("%s: %v", answer, err)
	}
	o.Facts = string(answer)
	return o
}

// A question is asked of both. Its files are kept where the answers differ.
type question struct {
	what  string // what was altered, for people
	kind  byte   // of web/answer.js
	parts [][]byte
}

// answer is what Go says.
func (q question) answer() opinion {
	switch q.kind {
	case 'b':
		return bundleOpinion(q.parts)
	case 'a':
		return acrossOpinion(q.parts)
	case 'e':
		if _, err := ledger.ParseEntry(q.parts[0]); err != nil {
			return opinion{Refused: true, Why: err.Error()}
		}
		return opinion{Facts: fmt.Sprintf(`{"leaf":"%x"}`, ledger.LeafHash(q.parts[0]))}
	case 'p':
		p, err := ledger.ParsePolicy(q.parts[0])
		if err != nil {
			return opinion{Refused: true, Why: err.Error()}
		}
		return opinion{Facts: fmt.Sprintf(`{"quorum":%d}`, p.QuorumSize())}
	case 'r':
		r, err := ledger.ParseRules(q.parts[0])
		if err != nil {
			return opinion{Refused: true, Why: err.Error()}
		}
		facts := struct {
			Grades    []ledger.Grade `json:"grades"`
			Threshold int            `json:"threshold"`
			Keys      []string       `json:"keys"`
			SHA1      bool           `json:"sha1"`
		}{r.Grades, r.Threshold, []string{}, r.AllowSHA1}
		for _, k := range append(r.Registrars, r.Operators...) {
			facts.Keys = append(facts.Keys, k.Name())
		}
		text, _ := json.Marshal(facts)
		return opinion{Facts: string(text)}
	case 'd':
		return recordOpinion(q.parts)
	}
	panic("unknown kind")
}

// checked is what Go finds in a bundle, with a trust folder of one root.
func checked(trust [][]byte, raw []byte) (*audit.Report, error) {
	t, err := ledger.ParseTrust(trust[0], trust[1], trust[2])
	if err != nil {
		return nil, err
	}
	b, err := ledger.OpenBundle(bytes.NewReader(raw), int64(len(raw)))
	if bad, ok := err.(*ledger.BundleError); ok {
		return &audit.Report{Findings: []ledger.Finding{{Code: bad.Code}}}, nil
	}
	if err != nil {
		return nil, err
	}
	return audit.CheckBundle(t, b)
}

func acrossOpinion(parts [][]byte) opinion {
	var names []string
	var reports []*audit.Report
	for i, raw := range parts[3:] {
		r, err := checked(parts[:3], raw)
		if err != nil {
			return opinion{Refused: true, Why: err.Error()}
		}
		names, reports = append(names, fmt.Sprintf("%d.tar", i)), append(reports, r)
	}
	found := &audit.Report{Findings: audit.Across(names, reports)}
	o := opinion{Codes: append([]ledger.Code{}, codes(found)...)}
	for _, f := range found.Findings {
		o.Findings = append(o.Findings, f.String())
	}
	return o
}

func recordOpinion(parts [][]byte) opinion {
	segment, err := ledger.ParseSegment(parts[0])
	if err != nil {
		return opinion{Refused: true, Why: err.Error()}
	}
	p, err := ledger.ParseRecordProof(parts[1])
	if err != nil {
		return opinion{Refused: true, Why: err.Error()}
	}
	claim, findings := audit.CheckRecord(segment, p)
	o := opinion{Codes: []ledger.Code{}}
	for _, f := range findings {
		o.Codes = append(o.Codes, f.Code)
		o.Findings = append(o.Findings, f.String())
	}
	text, _ := json.Marshal(o.Codes)
	o.Facts = fmt.Sprintf(`{"codes":%s}`, text)
	if claim != nil {
		o.Facts = fmt.Sprintf(`{"codes":%s,"index":%d,"sealed":%v,"bound":%v}`, text, claim.Index, claim.Sealed, claim.Bound)
	}
	return o
}

func bundleOpinion(parts [][]byte) opinion {
	trust, err := ledger.ParseTrust(parts[1], parts[2], parts[3:]...)
	if err != nil {
		return opinion{Refused: true, Why: err.Error()}
	}
	b, err := ledger.OpenBundle(bytes.NewReader(parts[0]), int64(len(parts[0])))
	if bad, ok := err.(*ledger.BundleError); ok {
		return opinion{Class: "contradicted", Codes: []ledger.Code{bad.Code}, Findings: []string{bad.Error()}}
	}
	if err != nil {
		return opinion{Error: err.Error()}
	}
	r, err := audit.CheckBundle(trust, b)
	if err != nil {
		return opinion{Error: err.Error()}
	}
	o := opinion{Class: vectorClass(r), Codes: codes(r)}
	for _, s := range r.Segments {
		index := int64(-1)
		if s.Index != nil {
			index = int64(*s.Index)
		}
		o.Segments = append(o.Segments, fmt.Sprint(
			s.Host, " ", s.Sequence, " ", s.Join, " ", s.First, " ", s.Count, " ", s.Replayed, " ", s.Erased != nil,
			" ", s.ResetCount, " ", s.RestartCount, " ", s.Clock, " ", index, " ", s.NotBefore, " ", s.NotAfter, " ", s.RecordsNotBefore))
	}
	slices.Sort(o.Segments)
	for _, f := range r.Findings {
		o.Findings = append(o.Findings, f.String())
	}
	return o
}

// same says how two opinions differ, empty if they do not.
func (q question) same(g, j opinion) string {
	switch {
	case j.Error != "" || g.Error != "":
		return "an error: Go " + g.Error + "; JavaScript " + j.Error
	case g.Refused != j.Refused:
		return "one refuses: Go " + fmt.Sprint(g.Refused, " ", g.Why) + "; JavaScript " + fmt.Sprint(j.Refused, " ", j.Why)
	case g.Refused:
		return ""
	case q.kind != 'b' && q.kind != 'a' && g.Facts != j.Facts:
		return "facts: Go " + g.Facts + "; JavaScript " + j.Facts
	case (q.kind == 'b' || q.kind == 'a') && (g.Class != j.Class || !slices.Equal(g.Codes, j.Codes)):
		return fmt.Sprint("findings: Go ", g.Class, " ", g.Codes, "; JavaScript ", j.Class, " ", j.Codes)
	case q.kind == 'b' && !slices.Equal(g.Segments, j.Segments):
		return "segments: Go\n" + strings.Join(g.Segments, "\n") + "\nJavaScript\n" + strings.Join(j.Segments, "\n")
	}
	return ""
}

// TestDiffer asks Go and JavaScript of altered vectors, and stops where they do not
// agree. IMALEDGER_DIFFER is for how long, IMALEDGER_SEED a seed to go by again.
func TestDiffer(t *testing.T) {
	limit, seed := 5*time.Second, rand.Uint64()
	if s := os.Getenv("IMALEDGER_DIFFER"); s != "" {
		var err error
		if limit, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	if s := os.Getenv("IMALEDGER_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &seed); err != nil {
			t.Fatal(err)
		}
	}
	j := startJavaScript(t)
	m := newMutator(t)
	seen := make(map[string]int)
	agreed := make(map[ledger.Code]int)
	n := 0
	defer func() {
		t.Logf("IMALEDGER_SEED=%d: %d questions, by kind %v, by code %v", seed, n, seen, agreed)
	}()
	for start := time.Now(); time.Since(start) < limit; n++ {
		// Each question has a seed of its own, so that one can be asked again.
		m.rand = rand.New(rand.NewPCG(seed+uint64(n), 0))
		q := m.question()
		g, js := q.answer(), j.ask(q.kind, q.parts...)
		if how := q.same(g, js); how != "" {
			dir := filepath.Join(os.TempDir(), fmt.Sprintf("differ-%d", seed+uint64(n)))
			for i, p := range q.parts {
				os.MkdirAll(dir, 0o755)
				os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), p, 0o644)
			}
			t.Fatalf("IMALEDGER_SEED=%d (question %d), %s: %s\nGo found\n\t%s\nJavaScript found\n\t%s\nits parts are in %s",
				seed+uint64(n), n, q.what, how, strings.Join(g.Findings, "\n\t"), strings.Join(js.Findings, "\n\t"), dir)
		}
		kind := string(q.kind)
		if q.kind == 'b' {
			kind += " " + g.Class
		} else if q.kind == 'a' {
			kind += fmt.Sprint(" ", g.Codes)
		} else {
			kind += fmt.Sprint(" refused ", g.Refused)
		}
		seen[kind]++
		for _, c := range g.Codes {
			agreed[c]++
		}
	}
	if n < 100 || len(agreed) < 30 {
		t.Errorf("%d questions with %d codes are too few to say anything", n, len(agreed))
	}
}
