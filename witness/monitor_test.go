package witness

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
)

func get(w *Witness, path string) *httptest.ResponseRecorder {
	response := httptest.NewRecorder()
	w.ServeHTTP(response, httptest.NewRequest("GET", path, nil))
	return response
}

func TestMonitoring(t *testing.T) {
	log, fresh := newTestLog(t, testOrigin), newTestLog(t, "log.example/fresh")
	stranger := newTestLog(t, testOrigin)
	c := twoKeys(t, log, fresh)
	w := start(t, c)
	path := "/" + originHash(testOrigin) + "/checkpoint"
	for _, missing := range []string{path, "/" + originHash(fresh.origin) + "/checkpoint", "/" + originHash("unknown") + "/checkpoint"} {
		if response := get(w, missing); response.Code != 404 {
			t.Errorf("%s: %d before anything was cosigned", missing, response.Code)
		}
	}
	old := uint64(0)
	answered := make(map[string]bool)
	for _, size := range []uint64{7, 12, 12} {
		request := "old " + fmtUint(old) + "\n" + proofLines(t, log.tree, old, size) + "\n" + sign(t, log.text(log.tree, size, "extension\n"), log.signer, stranger.signer)
		cosignatures := want(t, w, 200, request)
		old = size
		answered[cosignatures] = true
		response := get(w, path)
		body := response.Body.String()
		if response.Code != 200 || !strings.HasSuffix(body, cosignatures) || !strings.HasPrefix(response.Header().Get("Content-Type"), "text/plain") {
			t.Fatalf("size %d: %d %s", size, response.Code, body)
		}
		if strings.Count(body, "— "+testOrigin+" ") != 1 {
			t.Errorf("not the one signature that was verified:\n%s", body)
		}
		logKey, err := note.NewVerifier(log.vkey)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := torchwood.NewCosignatureVerifier(c.Keys[0].VKey())
		if err != nil {
			t.Fatal(err)
		}
		n, err := note.Open([]byte(body), note.VerifierList(logKey, ours))
		if err != nil || len(n.Sigs) != 2 {
			t.Errorf("%v", err)
		}
	}
	// A refused request does not change what monitors see.
	before := get(w, path).Body.String()
	want(t, w, 422, log.bodyOf(t, log.fork, 12, 20))
	if get(w, path).Body.String() != before {
		t.Error("a refused checkpoint is served")
	}
	if get(w, "/"+strings.ToUpper(originHash(testOrigin))+"/checkpoint").Code != 404 {
		t.Error("a hash in upper case is served")
	}
	w.Close()
	c.Now = func() time.Time { return testTime.Add(time.Hour) }
	text, signatures, _ := strings.Cut(get(start(t, c), path).Body.String(), "\n\n")
	_, cosignatures, _ := strings.Cut(signatures, "\n")
	if text+"\n" != log.text(log.tree, 12, "extension\n") || !answered[cosignatures] {
		t.Errorf("after a restart %q with signatures that were not given out:\n%s", text, cosignatures)
	}
}
