package witness

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// encode gives the only body that parses to the request.
func (r *request) encode() string {
	var b strings.Builder
	fmt.Fprintf(&b, "old %d\n", r.old)
	for _, h := range r.proof {
		b.WriteString(base64.StdEncoding.EncodeToString(h) + "\n")
	}
	b.WriteString("\n" + r.checkpoint.text + "\n")
	for _, s := range r.checkpoint.signatures {
		b.WriteString(s.line)
	}
	return b.String()
}

// What parses re-encodes to the same bytes, within the limits.
func FuzzRequest(f *testing.F) {
	log := newTestLog(f, testOrigin)
	f.Add([]byte(log.body(f, 0, 7)))
	f.Add([]byte(log.body(f, 7, 12)))
	f.Add([]byte("old 0\n\nexample.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\nextension\n\n— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"))
	f.Add([]byte("old 0\n\n\n\n\n"))
	w := start(f, testConfig(f, log))
	f.Fuzz(func(t *testing.T, body []byte) {
		w.addCheckpoint(body) // whatever it says, it must not panic
		r, err := parseRequest(body)
		if err != nil {
			return
		}
		if len(r.proof) > maxProof || len(r.checkpoint.signatures) > maxSignatures {
			t.Fatalf("%d proof lines, %d signatures", len(r.proof), len(r.checkpoint.signatures))
		}
		if got := r.encode(); got != string(body) {
			t.Fatalf("parsed\n%q\nre-encoded\n%q", body, got)
		}
	})
}
