package server

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
)

// TestStatementReplayed: everyone reads statements and may submit entries, and a
// line by a key that nobody knows makes another entry of a statement. It states
// nothing a second time: a hold that was released stays released.
func TestStatementReplayed(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	submit := func(s ledger.Statement) (leaf ledger.Hash) {
		t.Helper()
		if err := ledger.Sign(s, l.operator); err != nil {
			t.Fatal(err)
		}
		if _, err := l.SubmitLeaf(t.Context(), s.Marshal(), client.MaxWait); err != nil {
			t.Fatal(err)
		}
		return ledger.LeafHash(s.Marshal())
	}
	hold := &ledger.Hold{Log: testOrigin, From: 1, To: 2, Reason: "court order", Time: 1}
	leaf := submit(hold)
	submit(&ledger.Release{Log: testOrigin, Hold: leaf, Reason: "lifted", Time: 2})

	stranger, _ := signer(t, "stranger.example")
	before := hold.Marshal()
	if err := ledger.Sign(hold, stranger); err != nil {
		t.Fatal(err)
	}
	if again := hold.Marshal(); bytes.Equal(again, before) {
		t.Fatal("the same entry")
	}
	_, err := l.SubmitLeaf(t.Context(), hold.Marshal(), 0)
	problem(t, err, http.StatusUnprocessableEntity, ledger.StatementInvalid)
	r, err := l.Retention(t.Context())
	if err != nil || len(r.Holds) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
}
