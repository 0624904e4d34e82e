package witness

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	f_note "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// corrupt changes a note's last signature and keeps its key ID.
func corrupt(t testing.TB, signed string) string {
	t.Helper()
	head, encoded := signed[:strings.LastIndex(signed, " ")+1], signed[strings.LastIndex(signed, " ")+1:]
	blob, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		t.Fatal(err)
	}
	blob[len(blob)-1] ^= 1
	return head + base64.StdEncoding.EncodeToString(blob) + "\n"
}

// freeBits sets a bit of a note's last base64 digit that is of no byte.
func freeBits(signed string) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	at := strings.LastIndex(signed, "=\n") - 1
	return signed[:at] + string(digits[strings.IndexByte(digits, signed[at])|1]) + signed[at+1:]
}

// lastLine gives the last signature line of a note.
func lastLine(signed string) string {
	return signed[strings.LastIndex(signed, "— "):]
}

// One row for each MUST, against a witness that cosigned size 7 of one log and
// nothing of another.
func TestAddCheckpoint(t *testing.T) {
	log, fresh, unknown := newTestLog(t, testOrigin), newTestLog(t, "log.example/fresh"), newTestLog(t, "log.example/unknown")
	stranger := newTestLog(t, testOrigin) // same name, another key
	good := log.body(t, 7, 12)
	text := log.text(log.tree, 12)
	proof := proofLines(t, log.tree, 7, 12)
	signed := sign(t, text, log.signer)
	hashLine := strings.SplitAfter(proof, "\n")[0]
	emptySize := func(l *testLog, root string) string {
		return "old 0\n\n" + sign(t, l.origin+"\n0\n"+root+"\n", l.signer)
	}
	emptyRoot64 := base64.StdEncoding.EncodeToString(log.tree.HashAt(0))
	replace := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in the request", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	resigned := func(text string) string { return "old 7\n" + proof + "\n" + sign(t, text, log.signer) }

	for _, test := range []struct {
		name   string
		status int
		body   string
	}{
		{"an honest update", 200, good},
		{"an honest first checkpoint", 200, fresh.body(t, 0, 9)},
		{"first checkpoint of size 0", 200, emptySize(fresh, emptyRoot64)},
		{"extension lines", 200, resigned(log.text(log.tree, 12, "extension\n"))},
		{"same size, same root", 200, log.body(t, 7, 7)},

		{"empty body", 400, ""},
		{"no empty line", 400, "old 7\n" + proof},
		{"no old line", 400, strings.TrimPrefix(good, "old 7\n")},
		{"two spaces after old", 400, replace("old 7", "old  7")},
		{"Old", 400, replace("old 7", "Old 7")},
		{"old without a size", 400, replace("old 7", "old ")},
		{"old 007", 400, replace("old 7", "old 007")},
		{"old +7", 400, replace("old 7", "old +7")},
		{"old -7", 400, replace("old 7", "old -7")},
		{"old 7 with a space after", 400, replace("old 7", "old 7 ")},
		{"old 0x7", 400, replace("old 7", "old 0x7")},
		{"old 2^64", 400, replace("old 7", "old 18446744073709551616")},
		{"carriage returns", 400, strings.ReplaceAll(good, "\n", "\r\n")},
		{"a NUL", 400, replace("old 7", "old 7\x00")},
		{"not UTF-8", 400, replace(testOrigin, "log\xff")},
		{"64 proof lines", 400, "old 7\n" + strings.Repeat(hashLine, 64) + "\n" + signed},
		{"63 proof lines are only wrong", 422, "old 7\n" + strings.Repeat(hashLine, 63) + "\n" + signed},
		{"a proof line of 31 bytes", 400, "old 7\n" + base64.StdEncoding.EncodeToString(make([]byte, 31)) + "\n\n" + signed},
		{"a proof line of 33 bytes", 400, "old 7\n" + base64.StdEncoding.EncodeToString(make([]byte, 33)) + "\n\n" + signed},
		{"a proof line with bits after the hash", 400, "old 7\n" + strings.Repeat("A", 42) + "B=\n\n" + signed},
		{"a proof line of base64url", 400, "old 7\n" + strings.Repeat("-", 43) + "=\n\n" + signed},
		{"no newline at the end", 400, strings.TrimSuffix(good, "\n")},
		{"an empty line in the checkpoint", 400, resigned(text + "\nextension\n")},
		{"size with a leading zero", 400, resigned(strings.Replace(text, "\n12\n", "\n012\n", 1))},
		{"size with a plus", 400, resigned(strings.Replace(text, "\n12\n", "\n+12\n", 1))},
		{"size without a number", 400, resigned(strings.Replace(text, "\n12\n", "\ntwelve\n", 1))},
		{"root of 31 bytes", 400, resigned(log.origin + "\n12\n" + base64.StdEncoding.EncodeToString(make([]byte, 31)) + "\n")},
		{"no root", 400, resigned(log.origin + "\n12\n")},
		{"a signature line with a hyphen", 400, strings.Replace(good, "— ", "- ", 1)},
		{"a signature line without a signature", 400, good + "— witness.example/w9\n"},
		{"a signature line with only a key ID", 400, good + "— witness.example/w9 AAAAAA==\n"},
		{"a signature name with a plus", 400, good + "— a+b AAAAAAAA\n"},
		{"101 signatures", 400, good + strings.Repeat("— witness.example/w9 AAAAAAAA\n", 100)},
		{"100 signatures", 200, good + strings.Repeat("— witness.example/w9 AAAAAAAA\n", 99)},

		{"unknown origin", 404, unknown.body(t, 0, 5)},
		{"no signature", 403, "old 7\n" + proof + "\n" + text + "\n"},
		{"only a key of the same name", 403, "old 7\n" + proof + "\n" + sign(t, text, stranger.signer)},
		{"a known key's signature altered", 403, corrupt(t, good)},
		{"a known key's signature with bits after it", 403, freeBits(good)},
		{"a stranger's signature with bits after it", 200, good + "— witness.example/w9 AAAAAAB=\n"},
		{"a known key's signature of another text", 403, "old 7\n" + proof + "\n" + text + "\n" + lastLine(sign(t, log.text(log.tree, 13), log.signer))},
		{"a second line of a known key, altered", 403, good + lastLine(corrupt(t, signed))},
		{"a first line of a known key, altered", 403, "old 7\n" + proof + "\n" + corrupt(t, signed) + lastLine(signed)},
		{"the same line of a known key twice", 200, good + lastLine(signed)},
		{"an unknown key's signature besides", 200, good + lastLine(sign(t, text, stranger.signer))},
		{"an unknown key's bad signature besides", 200, good + lastLine(corrupt(t, sign(t, text, stranger.signer)))},

		{"old size above the checkpoint's", 400, "old 13\n\n" + signed},
		{"old size above, also of the latest", 400, "old 7\n\n" + sign(t, log.text(log.tree, 6), log.signer)},
		{"old size 0 when 7 is cosigned", 409, log.body(t, 0, 12)},
		{"old size of a later tree", 409, log.body(t, 8, 12)},
		{"old size of an earlier tree", 409, log.body(t, 3, 12)},
		{"never cosigned, old size above 0", 409, fresh.body(t, 5, 9)},

		{"size 0 with another root", 422, emptySize(fresh, base64.StdEncoding.EncodeToString(log.tree.HashAt(1)))},
		{"size 0 with a root of zeroes", 422, emptySize(fresh, base64.StdEncoding.EncodeToString(make([]byte, 32)))},
		{"old size 0 with a proof", 422, strings.Replace(fresh.body(t, 0, 9), "old 0\n", "old 0\n"+hashLine, 1)},
		{"no proof", 422, "old 7\n\n" + signed},
		{"a proof of another size", 422, "old 7\n" + proofLines(t, log.tree, 7, 13) + "\n" + signed},
		{"a proof with a line too many", 422, "old 7\n" + proof + hashLine + "\n" + signed},
		{"a forked tree with its own proof", 422, log.bodyOf(t, log.fork, 7, 12)},
		{"a forked tree with our proof", 422, "old 7\n" + proof + "\n" + sign(t, log.text(log.fork, 12), log.signer)},
		{"split view at the same size", 422, log.bodyOf(t, log.fork, 7, 7)},
		{"same size with a proof", 422, strings.Replace(log.body(t, 7, 7), "old 7\n", "old 7\n"+hashLine, 1)},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := start(t, testConfig(t, log, fresh))
			want(t, w, 200, log.body(t, 0, 7))
			answer := want(t, w, test.status, test.body)
			if test.status == 200 {
				return
			}
			// A refused request has changed nothing.
			want(t, w, 200, log.body(t, 7, 7))
			want(t, w, 200, fresh.body(t, 0, 4))
			if answer == "" {
				t.Error("refused without a reason")
			}
		})
	}
}

func TestConflictGivesTheSize(t *testing.T) {
	log := newTestLog(t, testOrigin)
	w := start(t, testConfig(t, log))
	for _, test := range []struct {
		body, size string
	}{
		{log.body(t, 5, 9), "0\n"}, // never cosigned
		{log.body(t, 3, 12), "7\n"},
		{log.body(t, 0, 12), "7\n"},
	} {
		response := post(w, test.body)
		if response.Code != 409 || response.Body.String() != test.size || response.Header().Get("Content-Type") != "text/x.tlog.size" {
			t.Errorf("got %d %q, Content-Type %q, want 409 %q", response.Code, response.Body, response.Header().Get("Content-Type"), test.size)
		}
		if test.size == "0\n" {
			want(t, w, 200, log.body(t, 0, 7))
		}
	}
}

func TestMethodsAndPaths(t *testing.T) {
	log := newTestLog(t, testOrigin)
	w := start(t, testConfig(t, log))
	for _, test := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/add-checkpoint", 405},
		{"PUT", "/add-checkpoint", 405},
		{"POST", "/", 404},
		{"POST", "/add-checkpoint/", 404},
	} {
		response := httptest.NewRecorder()
		w.ServeHTTP(response, httptest.NewRequest(test.method, test.path, strings.NewReader(log.body(t, 0, 3))))
		if response.Code != test.status {
			t.Errorf("%s %s: got %d, want %d", test.method, test.path, response.Code, test.status)
		}
	}
}

// A log's own ML-DSA-44 signature and 15 witnesses' fit into a request, beside
// the longest proof: signed-note demands 16, of up to 5 kB.
func TestSixteenLargeSignatures(t *testing.T) {
	skey, vkey, err := f_note.GenerateMLDSAKey(testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := f_note.NewMLDSASigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	log := newTestLog(t, testOrigin)
	log.vkey, log.signer = vkey, signer
	w := start(t, testConfig(t, log))
	body := log.body(t, 0, 7)
	for i := range 15 {
		body += fmt.Sprintf("— witness.example/w%d %s\n", i, base64.StdEncoding.EncodeToString(make([]byte, 4+5000)))
	}
	want(t, w, 200, body)
	want(t, w, 403, corrupt(t, log.body(t, 7, 9)))
	want(t, w, 413, body+strings.Repeat("A", maxBody))
	want(t, w, 200, log.body(t, 7, 9))
}

// A log that changes its key signs with both for a while; either is enough, and
// both must verify where both are there.
func TestTwoKeysOfOneLog(t *testing.T) {
	log, next := newTestLog(t, testOrigin), newTestLog(t, testOrigin)
	w := start(t, testConfig(t, log, next))
	want(t, w, 200, log.body(t, 0, 3))
	text := log.text(log.tree, 9)
	head := "old 3\n" + proofLines(t, log.tree, 3, 9) + "\n"
	want(t, w, 403, head+sign(t, text, log.signer)+lastLine(corrupt(t, sign(t, text, next.signer))))
	want(t, w, 200, head+sign(t, text, log.signer, next.signer))
	want(t, w, 200, next.body(t, 9, 9))
}

// A log cannot lock itself out with more signatures than a checkpoint may have.
func TestAsManySignaturesAsCanBe(t *testing.T) {
	log := newTestLog(t, testOrigin)
	w := start(t, testConfig(t, log))
	body := log.body(t, 0, 7)
	want(t, w, 200, body+strings.Repeat(lastLine(body), maxSignatures-1))
	want(t, w, 200, log.body(t, 7, 12))
}

func TestTooManyKeysOfOneLog(t *testing.T) {
	var logs []*testLog
	for range maxKeys {
		logs = append(logs, newTestLog(t, testOrigin))
	}
	start(t, testConfig(t, logs...))
	if _, err := New(testConfig(t, append(logs, newTestLog(t, testOrigin))...)); err == nil {
		t.Errorf("%d keys accepted", maxKeys+1)
	}
}

func TestParseLog(t *testing.T) {
	_, ed25519, err := note.GenerateKey(rand.Reader, testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	_, mldsa, err := f_note.GenerateMLDSAKey(testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	for name, vkey := range map[string]string{
		"a witness's key":             testKey(t, "w").VKey(),
		"nothing":                     "",
		"only a name":                 testOrigin,
		"Ed25519 with another ID":     strings.Replace(ed25519, "+", "+0", 1),
		"ML-DSA-44 with another name": strings.Replace(mldsa, testOrigin, "other", 1),
		"Ed25519 with another name":   strings.Replace(ed25519, testOrigin, "other", 1),
		"type 0x02":                   "log+01020304+AgAA",
	} {
		if l, err := ParseLog(vkey); err == nil {
			t.Errorf("%s: parsed as %v", name, l)
		}
	}
	for _, vkey := range []string{ed25519, mldsa} {
		if l, err := ParseLog(vkey); err != nil || l.Origin != testOrigin {
			t.Errorf("%s: %v", clip(vkey), err)
		}
	}
}
