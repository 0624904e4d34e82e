package server

import (
	"fmt"
	"net/http"
	"os"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/audit"
)

// TestRecord: every record of a segment has a proof in both forms, which is held to
// the entry; and what is not there, or no longer as it was, has none.
func TestRecord(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	enrolment := h.leaf
	raw, _ := l.submit(t, h, "/bin/a", "/bin/b", "/bin/c")
	seg, err := ledger.ParseSegment(raw)
	if err != nil {
		t.Fatal(err)
	}
	for index := range seg.Count {
		for _, sealed := range []bool{false, true} {
			p, err := l.RecordProof(t.Context(), seg, index, sealed)
			if err != nil {
				t.Fatal(err)
			}
			claim, found := audit.CheckRecord(seg, p)
			if len(found) > 0 || claim.Sealed != sealed || claim.Index != seg.First+index {
				t.Errorf("record %d, sealed %v: %+v, %v", index, sealed, claim, found)
			}
		}
	}
	leaf := ledger.LeafHash(raw)
	refused := func(path string, want int) {
		t.Helper()
		if resp, b := l.do(t, "GET", path, nil); resp.StatusCode != want {
			t.Errorf("%s: %s, want %d: %s", path, resp.Status, want, b)
		}
	}
	record := fmt.Sprintf("/record/%x/", leaf)
	refused(fmt.Sprintf("%s%d", record, seg.Count), http.StatusNotFound)
	refused(record+"00", http.StatusNotFound)
	refused(record+"-1", http.StatusNotFound)
	refused(fmt.Sprintf("/record/%x/0", enrolment), http.StatusNotFound)
	refused(record+"0?sealed=1", http.StatusBadRequest)
	for range maxRecordProofs {
		l.server.recordProofs <- struct{}{}
	}
	refused(record+"0", http.StatusServiceUnavailable)
	for range maxRecordProofs {
		<-l.server.recordProofs
	}

	// Of a payload that has decayed in any of its bytes there is no proof.
	name := l.fileOf(t, raw)
	stored, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	stored[len(stored)-1] ^= 1
	if err := os.WriteFile(name, stored, 0o644); err != nil {
		t.Fatal(err)
	}
	refused(record+"0", http.StatusInternalServerError)
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	refused(record+"0", http.StatusNotFound)
}
