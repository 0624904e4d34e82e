package witness

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/mldsa"
)

// A clause is a sentence of a specification with a MUST, SHOULD or MAY in it.
type clause struct {
	sentence string // as it stands in the text
	// choice is what was chosen where the sentence leaves one, and else whose duty it
	// is, if it is not a witness's.
	choice string
	test   func(t *testing.T, s *stand) // nil where the choice says that there is nothing to do
}

// A stand is a witness that has cosigned 14 leaves of a log and none of another,
// with a key of each type.
type stand struct {
	config     Config
	w          *Witness
	log, fresh *testLog
	cosigned   string // the answer to the log's request
	subtrees   *subtreeProver
}

func newStand(t *testing.T) *stand {
	s := &stand{log: newTestLog(t, testOrigin), fresh: newTestLog(t, "log.example/fresh"), subtrees: newSubtreeProver(14)}
	s.config = twoKeys(t, s.log, s.fresh)
	s.w = start(t, s.config)
	s.cosigned = want(t, s.w, 200, s.log.body(t, 0, 14))
	return s
}

// add posts to add-checkpoint. Whatever is refused leaves the witness as it was.
func (s *stand) add(t *testing.T, status int, body string) string {
	t.Helper()
	answer := want(t, s.w, status, body)
	if status != 200 {
		want(t, s.w, 200, s.log.body(t, 14, 14))
	}
	return answer
}

func (s *stand) subtree(t *testing.T, status int, body string) string {
	t.Helper()
	response := postTo(s.w, "/sign-subtree", body)
	if response.Code != status || status != 200 && strings.Contains(response.Body.String(), "—") {
		t.Fatalf("got %d %q, want %d", response.Code, response.Body, status)
	}
	return response.Body.String()
}

// growth is an honest request, and checkpoint an honest checkpoint for subtrees.
func (s *stand) growth(t *testing.T) string { return s.log.body(t, 14, 20) }
func (s *stand) checkpoint() string         { return s.log.text(s.log.tree, 14) + "\n" + s.cosigned }
func (s *stand) ofSubtree() string          { return subtreeBody(s.subtrees, 8, 13, 14, s.checkpoint()) }

// edit replaces what must be in a text.
func edit(t *testing.T, text, old, new string) string {
	t.Helper()
	if !strings.Contains(text, old) {
		t.Fatalf("%q is not in the request", old)
	}
	return strings.Replace(text, old, new, 1)
}

// signatureOf takes a line of an answer apart.
func signatureOf(t *testing.T, line string) (timestamp uint64, sig []byte) {
	t.Helper()
	s, err := parseSignature(strings.TrimSuffix(line, "\n"))
	if err != nil || len(s.signature) < timestampSize {
		t.Fatalf("%q: %v", line, err)
	}
	return binary.BigEndian.Uint64(s.signature), s.signature[timestampSize:]
}

const hashLine = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"

func testClauses(t *testing.T, clauses []clause) {
	t.Helper()
	for i, c := range clauses {
		name, _, _ := strings.Cut(c.sentence, " (")
		t.Run(fmt.Sprintf("%02d %.60s", i+1, name), func(t *testing.T) {
			optional := strings.Contains(c.sentence, "MAY") || strings.Contains(c.sentence, "OPTIONAL")
			if c.choice == "" && (optional || c.test == nil) {
				t.Error("neither a test nor what was chosen")
			}
			if c.test != nil {
				c.test(t, newStand(t))
			}
		})
	}
}

// Each sentence of c2sp.org/tlog-witness with a MUST, SHOULD or MAY, in the order
// of its text (commit 5ba5ee8).
func TestWitnessSpecification(t *testing.T) {
	badSize := func(t *testing.T, s *stand) {
		for _, old := range []string{"old  14", "Old 14", "old ", "old 014", "old +14", "old -14", "old 14 ", "old 0xe", "old 18446744073709551616", "old 00"} {
			s.add(t, 400, edit(t, s.growth(t), "old 14", old))
		}
	}
	tooManyLines := func(t *testing.T, s *stand) {
		s.add(t, 400, edit(t, s.growth(t), "old 14\n", "old 14\n"+strings.Repeat(hashLine, 64)))
		s.add(t, 422, "old 14\n"+strings.Repeat(hashLine, 63)+"\n"+s.log.signed(s.log.tree, 20))
	}
	badHash := func(t *testing.T, s *stand) {
		for _, line := range []string{"AAAA\n", strings.Repeat("-", 43) + "=\n", strings.Repeat("A", 42) + "B=\n", hashLine[:43] + " \n", strings.TrimSpace(hashLine) + strings.TrimSpace(hashLine) + "\n"} {
			s.add(t, 400, edit(t, s.growth(t), "old 14\n", "old 14\n"+line))
		}
	}
	conflict := func(t *testing.T, s *stand) {
		for body, size := range map[string]string{s.log.body(t, 3, 20): "14\n", s.log.body(t, 0, 20): "14\n", s.log.body(t, 15, 20): "14\n", s.fresh.body(t, 5, 9): "0\n"} {
			r := post(s.w, body)
			if r.Code != 409 || r.Body.String() != size || r.Header().Get("Content-Type") != "text/x.tlog.size" {
				t.Errorf("got %d %q %q, want %q", r.Code, r.Body, r.Header().Get("Content-Type"), size)
			}
		}
	}
	noProofFromNothing := func(t *testing.T, s *stand) {
		s.add(t, 422, edit(t, s.fresh.body(t, 0, 9), "old 0\n", "old 0\n"+hashLine))
		s.add(t, 200, s.fresh.body(t, 0, 9))
	}
	wrongProof := func(t *testing.T, s *stand) {
		s.add(t, 422, "old 14\n\n"+s.log.signed(s.log.tree, 20))
		s.add(t, 422, "old 14\n"+proofLines(t, s.log.tree, 13, 20)+"\n"+s.log.signed(s.log.tree, 20))
		s.add(t, 422, s.log.bodyOf(t, s.log.fork, 14, 20))
		s.add(t, 422, edit(t, s.growth(t), "old 14\n", "old 14\n"+hashLine))
		s.add(t, 200, s.growth(t))
	}
	splitView := func(t *testing.T, s *stand) {
		s.add(t, 422, s.log.bodyOf(t, s.log.fork, 14, 14))
		s.add(t, 200, s.log.body(t, 14, 14))
	}
	emptyTree := func(t *testing.T, s *stand) {
		for _, root := range [][]byte{make([]byte, hashSize), s.log.tree.HashAt(1)} {
			s.add(t, 422, "old 0\n\n"+sign(t, s.fresh.origin+"\n0\n"+base64.StdEncoding.EncodeToString(root)+"\n", s.fresh.signer))
		}
		s.add(t, 200, s.fresh.body(t, 0, 0))
		s.add(t, 200, s.fresh.body(t, 0, 9))
	}
	atomically := func(t *testing.T, s *stand) {
		// One at a time, and the second is a conflict: TestConcurrentUpdates races them.
		s.add(t, 200, s.log.body(t, 14, 20))
		want(t, s.w, 409, s.log.body(t, 14, 15))
	}
	subtreeRange := func(t *testing.T, s *stand) {
		for _, line := range []string{"subtree 08 13", "subtree 8 013", "subtree  8 13", "subtree 8 13 ", "subtree +8 13", "subtree 8", "Subtree 8 13", "subtree 8 13 14", "subtree 00 8"} {
			s.subtree(t, 400, edit(t, s.ofSubtree(), "subtree 8 13", line))
		}
		s.subtree(t, 200, subtreeBody(s.subtrees, 0, 8, 14, s.checkpoint()))
	}
	noSubtree := func(t *testing.T, s *stand) {
		for _, line := range []string{"subtree 4 13", "subtree 8 15", "subtree 8 8", "subtree 13 8", "subtree 1 3"} {
			s.subtree(t, 400, edit(t, s.ofSubtree(), "subtree 8 13", line))
		}
	}
	subtreeProof := func(t *testing.T, s *stand) {
		lines := strings.SplitAfter(s.ofSubtree(), "\n")
		s.subtree(t, 422, lines[0]+hashLine+strings.Join(lines[2:], ""))
		s.subtree(t, 422, lines[0]+lines[1]+hashLine+strings.Join(lines[2:], ""))
		s.subtree(t, 200, s.ofSubtree())
	}
	notCosigned := func(t *testing.T, s *stand) {
		text := s.log.text(s.log.tree, 14)
		for _, checkpoint := range []string{text + "\n", sign(t, text, s.log.signer), corrupt(t, text+"\n"+s.cosigned), s.log.text(s.log.tree, 15) + "\n" + s.cosigned} {
			s.subtree(t, 403, subtreeBody(s.subtrees, 8, 13, 14, checkpoint))
		}
	}
	path := "/" + originHash(testOrigin) + "/checkpoint"
	overHTTP := func(method, path string, status int) func(t *testing.T, s *stand) {
		return func(t *testing.T, s *stand) {
			for _, other := range []string{"GET", "POST", "PUT", "DELETE", "PATCH"} {
				r := httptest.NewRecorder()
				s.w.ServeHTTP(r, httptest.NewRequest(other, path, strings.NewReader("")))
				if want := map[bool]int{true: status, false: 405}[other == method]; r.Code != want {
					t.Errorf("%s: got %d, want %d", other, r.Code, want)
				}
			}
		}
	}

	testClauses(t, []clause{
		{"A witness MAY use the same value for both the *submission prefix* and the *monitoring prefix*.", "one prefix for both", func(t *testing.T, s *stand) {
			if r := get(s.w, path); r.Code != 200 {
				t.Errorf("got %d where checkpoints are submitted", r.Code)
			}
		}},
		{"If exposing the machine holding the witness key material directly to the Internet is undesirable, operators MAY use a [bastion][].", "--bastion; TestBastion of cmd/imaledger-witness", nil},
		{"Clients SHOULD use, and witnesses SHOULD support, HTTP keep-alive HTTP connections to reduce latency and load due to connection establishment.", "", func(t *testing.T, s *stand) {
			server := httptest.NewUnstartedServer(s.w)
			connections := 0
			server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					connections++
				}
			}
			server.Start()
			for range 3 {
				answer, err := http.Post(server.URL+"/add-checkpoint", "", strings.NewReader(s.log.body(t, 3, 20)))
				if err != nil {
					t.Fatal(err)
				}
				answer.Body.Read(make([]byte, 100))
				answer.Body.Close()
			}
			server.Close()
			if connections != 1 {
				t.Errorf("%d connections", connections)
			}
		}},
		{"The request MUST be an HTTP POST.", "other methods are answered with 405", overHTTP("POST", "/add-checkpoint", 400)},
		{"The request body MUST be a sequence of - an old size line, - zero or more consistency proof lines, - and an empty line, - followed by a [checkpoint][].", "", func(t *testing.T, s *stand) {
			for _, body := range []string{"", "old 14\n", strings.TrimPrefix(s.growth(t), "old 14\n"), edit(t, s.growth(t), "\n\n", "\n"), edit(t, s.growth(t), "\n\n", "\n\n\n"), s.growth(t) + "\n"} {
				s.add(t, 400, body)
			}
			s.add(t, 200, s.growth(t))
		}},
		{"Each line MUST terminate in a newline character (U+000A).", "", func(t *testing.T, s *stand) {
			s.add(t, 400, strings.TrimSuffix(s.growth(t), "\n"))
			s.add(t, 400, strings.ReplaceAll(s.growth(t), "\n", "\r\n"))
			s.add(t, 400, edit(t, s.growth(t), "old 14\n", "old 14\r\n"))
		}},
		{"The old size line MUST consist of the string `old`, a single space (0x20), and the tree size of the previous checkpoint encoded as an ASCII decimal with no leading zeroes (unless the size is zero, in which case the encoding MUST be `0`).", "", badSize},
		{"Each consistency proof line MUST encode a single hash in base64.", "", badHash},
		{"The client MUST NOT send more than 63 consistency proof lines.", "", tooManyLines},
		{"The submitted checkpoint MAY include multiple signatures.", "up to 100, of any sizes that fit into 256 KiB: 16 of the largest there are, at least", func(t *testing.T, s *stand) {
			body := s.growth(t)
			for i := range 15 {
				body += fmt.Sprintf("— witness.example/w%d %s\n", i, base64.StdEncoding.EncodeToString(make([]byte, 4+5000)))
			}
			s.add(t, 200, body)
			want(t, s.w, 200, s.log.body(t, 20, 21)+strings.Repeat("— witness.example/w9 AAAAAAAA\n", 99))
			want(t, s.w, 400, s.log.body(t, 21, 22)+strings.Repeat("— witness.example/w9 AAAAAAAA\n", 100))
		}},
		{"The witness MUST verify the checkpoint signature against the public key(s) it trusts for the checkpoint origin, and it MUST ignore signatures from unknown keys.", "", func(t *testing.T, s *stand) {
			stranger := newTestLog(t, testOrigin)
			text := s.log.text(s.log.tree, 20)
			s.add(t, 403, "old 14\n"+proofLines(t, s.log.tree, 14, 20)+"\n"+sign(t, text, s.fresh.signer))
			s.add(t, 200, s.growth(t)+lastLine(sign(t, text, stranger.signer))+lastLine(corrupt(t, sign(t, text, s.fresh.signer))))
		}},
		{"If the checkpoint origin is unknown, the witness MUST respond with a \"404 Not Found\" HTTP status code.", "", func(t *testing.T, s *stand) {
			s.add(t, 404, newTestLog(t, "log.example/unknown").body(t, 0, 9))
		}},
		{"The witness MUST respond with a \"403 Forbidden\" HTTP status code if either no signature from a trusted key for the origin is present, or a signature line's key name and ID match a trusted key but the signature itself fails to verify (such a note is malformed per [signed-note][]).",
			"of several lines of one key each must verify; extension lines need the signature of a key that signs them, which ML-DSA-44 does not", func(t *testing.T, s *stand) {
				head := "old 14\n" + proofLines(t, s.log.tree, 14, 20) + "\n"
				text := s.log.text(s.log.tree, 20)
				s.add(t, 403, head+text+"\n")
				s.add(t, 403, head+sign(t, text, newTestLog(t, testOrigin).signer))
				s.add(t, 403, corrupt(t, s.growth(t)))
				s.add(t, 403, s.growth(t)+lastLine(corrupt(t, s.growth(t))))
				s.add(t, 403, head+corrupt(t, sign(t, text, s.log.signer))+lastLine(s.growth(t)))
			}},
		{"The old size MUST be equal to or lower than the checkpoint size.", "", func(t *testing.T, s *stand) {
			s.add(t, 400, "old 14\n\n"+s.log.signed(s.log.tree, 13))
		}},
		{"Otherwise, the witness MUST respond with a \"400 Bad Request\" HTTP status code.", "", func(t *testing.T, s *stand) {
			s.add(t, 400, "old 21\n\n"+s.log.signed(s.log.tree, 20))
		}},
		{"The witness MUST check that the old size matches the size of the latest checkpoint it cosigned for the checkpoint's origin (or zero if it never cosigned a checkpoint for that origin).", "", conflict},
		{"If it doesn't match, the witness MUST respond with a \"409 Conflict\" HTTP status code.", "", conflict},
		{"The response body MUST consist of the tree size of the latest cosigned checkpoint in decimal, followed by a newline (U+000A).", "", conflict},
		{"The response MUST have a `Content-Type` of `text/x.tlog.size`.", "", conflict},
		{"If a client doesn't have information on the latest cosigned checkpoint, it MAY initially make a request with a old size of zero to obtain it.", "clients; it is answered", func(t *testing.T, s *stand) {
			if size := s.add(t, 409, s.log.body(t, 0, 20)); size != "14\n" {
				t.Errorf("%q", size)
			}
		}},
		{"A checkpoint of size zero MUST have the root hash of the empty tree, which [RFC 6962][], Section 2.1 defines as the hash of the empty string.", "", emptyTree},
		{"Otherwise, the witness MUST respond with a \"422 Unprocessable Entity\" HTTP status code.", "", emptyTree},
		{"If the old size is zero, the consistency proof MUST be empty, because the empty tree is consistent with any tree, so no proof is necessary.", "", noProofFromNothing},
		{"Otherwise, the consistency proof lines MUST encode a Merkle Consistency Proof from the old size to the checkpoint size according to [RFC 6962][], Section 2.1.2.", "", wrongProof},
		{"If the proof is not empty when the old size is zero, or if a Merkle Consistency Proof doesn't verify, the witness MUST respond with a \"422 Unprocessable Entity\" HTTP status code.", "", func(t *testing.T, s *stand) {
			noProofFromNothing(t, s)
			wrongProof(t, newStand(t))
		}},
		{"If the old size matches the checkpoint size, the witness MUST check that the root hashes are also identical.", "", splitView},
		{"If they don't match, the witness MUST respond with a \"422 Unprocessable Entity\" HTTP status code.", "", splitView},
		{"If the origin is known, and the signature is valid, the witness MAY log the request even if the checkpoint fails one of the consistency checks above (but MUST NOT cosign the checkpoint), as it might be proof of log misbehavior.",
			"kept once, as a file that anyone can verify; TestEquivocation", func(t *testing.T, s *stand) {
				s.add(t, 422, s.log.bodyOf(t, s.log.fork, 14, 14))
				if files, err := s.w.Evidence(); err != nil || len(files) != 1 {
					t.Errorf("%v, %v", files, err)
				}
			}},
		{"If all the checks above pass, the witness MUST update its record of the latest cosigned checkpoint and respond with a \"200 Success\" HTTP status code.", "", func(t *testing.T, s *stand) {
			s.add(t, 200, s.growth(t))
			if size := want(t, s.w, 409, s.log.body(t, 14, 21)); size != "20\n" {
				t.Errorf("%q", size)
			}
		}},
		{"The response body MUST be a sequence of one or more [note][] signature lines, each starting with the `—` character (U+2014) and ending with a newline character (U+000A).", "", func(t *testing.T, s *stand) {
			for line := range strings.Lines(s.cosigned) {
				if !strings.HasPrefix(line, "\u2014 ") || !strings.HasSuffix(line, "\n") {
					t.Errorf("%q", line)
				}
				signatureOf(t, line)
			}
			if !strings.HasSuffix(s.cosigned, "\n") {
				t.Error("no newline at the end")
			}
		}},
		{"The signatures MUST be [cosignatures][] from the witness key(s) on the checkpoint.", "each key cosigns", func(t *testing.T, s *stand) {
			c, err := parseCheckpoint(s.checkpoint())
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range s.config.Keys {
				if _, found, err := k.cosigned(c); !found || err != nil {
					t.Errorf("%s: %v", k.Name(), err)
				}
			}
		}},
		{"Witnesses SHOULD use ML-DSA-44 [cosignatures][].", "an ML-DSA-44 key, an Ed25519 key or both, as the operator gives them: logs of today ask for Ed25519", func(t *testing.T, s *stand) {
			if _, sig := signatureOf(t, lastLine(s.cosigned)); len(sig) != mldsa.MLDSA44SignatureSize {
				t.Errorf("%d bytes", len(sig))
			}
		}},
		{"If the cosignature format supports subtrees, the cosignature returned by the witness MUST be for the entire tree in the submitted checkpoint, i.e. start MUST be zero and end MUST be the checkpoint size.", "", func(t *testing.T, s *stand) {
			k := s.config.Keys[1]
			at, sig := signatureOf(t, lastLine(s.cosigned))
			whole := statement{timestamp: at, origin: testOrigin, end: 14, root: hash(s.log.tree.HashAt(14))}
			if !k.verify(subtreeMessage(k.name, whole), sig) {
				t.Error("not of the whole tree")
			}
		}},
		{"The cosignature MUST NOT omit the timestamp, i.e. the timestamp MUST NOT be zero.", "", func(t *testing.T, s *stand) {
			for line := range strings.Lines(s.cosigned) {
				if at, _ := signatureOf(t, line); at != uint64(testTime.Unix()) {
					t.Errorf("time %d", at)
				}
			}
			s.config.Dir, s.config.Now = t.TempDir(), func() time.Time { return time.Unix(0, 0) }
			want(t, start(t, s.config), 503, s.log.body(t, 0, 14))
		}},
		{"The client MUST ignore any cosignatures from unknown keys.", "clients", nil},
		{"To parse the response, the client MAY concatenate it to the checkpoint, and use a [note][] verification function configured with the witness keys it trusts.", "clients; TestOthersVerifyTheCosignature does", nil},
		{"The witness MUST persist the new checkpoint before responding.", "TestNoAnswerBeforeItIsOnDisk makes each step of the disk fail, TestKill kills the process", func(t *testing.T, s *stand) {
			copied := killed(t, s.config) // while it runs
			if size := want(t, start(t, copied), 409, s.log.body(t, 0, 20)); size != "14\n" {
				t.Errorf("%q", size)
			}
		}},
		{"Note that checking the old size against the latest checkpoint and persisting the new checkpoint must be performed atomically, otherwise the following race can occur:", "", atomically},
		{"It is OPTIONAL for a witness to support this API.", "supported by a witness that has an ML-DSA-44 key; TestSignSubtreeNeedsAKeyThatCan", nil},
		{"The request MUST be an HTTP POST.", "other methods are answered with 405", overHTTP("POST", "/sign-subtree", 400)},
		{"The request body MUST be a sequence of - a subtree range line, - a subtree hash line, - zero or more consistency proof lines, - and an empty line, - followed by a reference [checkpoint][].", "", func(t *testing.T, s *stand) {
			lines := strings.SplitAfter(s.ofSubtree(), "\n")
			for _, body := range []string{"", lines[0], lines[0] + "\n" + s.checkpoint(), lines[1] + lines[0] + strings.Join(lines[2:], ""), edit(t, s.ofSubtree(), "\n\n", "\n")} {
				s.subtree(t, 400, body)
			}
		}},
		{"Each line MUST terminate in a newline character (U+000A).", "", func(t *testing.T, s *stand) {
			s.subtree(t, 400, strings.TrimSuffix(s.ofSubtree(), "\n"))
			s.subtree(t, 400, strings.ReplaceAll(s.ofSubtree(), "\n", "\r\n"))
		}},
		{"The subtree range line MUST consist of the string `subtree`, a single space (0x20), the subtree start encoded as an ASCII decimal with no leading zeroes (unless start is zero, in which case the encoding MUST be `0`), a single space (0x20), and the subtree end encoded as an ASCII decimal with no leading zeroes.", "", subtreeRange},
		{"The subtree hash line MUST be the Merkle Tree hash of the subtree encoded in base64.", "", func(t *testing.T, s *stand) {
			lines := strings.SplitAfter(s.ofSubtree(), "\n")
			s.subtree(t, 400, lines[0]+"AAAA\n"+strings.Join(lines[2:], ""))
			s.subtree(t, 422, lines[0]+hashLine+strings.Join(lines[2:], ""))
		}},
		{"Each consistency proof line MUST encode a single hash in base64.", "", func(t *testing.T, s *stand) {
			s.subtree(t, 400, edit(t, s.ofSubtree(), "\n\n", "\nAAAA\n\n"))
		}},
		{"The client MUST NOT send more than 63 consistency proof lines.", "", func(t *testing.T, s *stand) {
			lines := strings.SplitAfter(s.ofSubtree(), "\n")
			s.subtree(t, 400, lines[0]+lines[1]+strings.Repeat(hashLine, 64)+"\n"+s.checkpoint())
			s.subtree(t, 422, lines[0]+lines[1]+strings.Repeat(hashLine, 63)+"\n"+s.checkpoint())
		}},
		{"The checkpoint SHOULD only include signatures from the witness's key(s).", "clients; others are ignored", func(t *testing.T, s *stand) {
			s.subtree(t, 200, subtreeBody(s.subtrees, 8, 13, 14, s.log.signed(s.log.tree, 14)+s.cosigned))
		}},
		{"The half-open interval `[start, end)` MUST be a valid subtree per [draft-ietf-plants-merkle-tree-certs-03][], Section 4.1, and end MUST be less than or equal to the checkpoint size.", "", noSubtree},
		{"If the request is invalid according to the rules above, the witness MUST respond with a \"400 Bad Request\" HTTP status code.", "before any other answer, as in the text", func(t *testing.T, s *stand) {
			s.subtree(t, 400, subtreeBody(s.subtrees, 8, 13, 14, "log.example/unknown\n12\n"+hashLine+"\n"))
		}},
		{"The consistency proof lines MUST encode a Subtree Consistency Proof from the subtree to the checkpoint according to [draft-ietf-plants-merkle-tree-certs-03][], Section 4.4.", "", subtreeProof},
		{"If the Merkle Consistency Proof doesn't verify, the witness MUST respond with a \"422 Unprocessable Entity\" HTTP status code.", "after 404 and 403: a proof of what nobody cosigned is not looked at", subtreeProof},
		{"If the checkpoint origin is unknown, the witness MUST respond with a \"404 Not Found\" HTTP status code.", "", func(t *testing.T, s *stand) {
			s.subtree(t, 404, subtreeBody(s.subtrees, 8, 13, 14, edit(t, s.checkpoint(), testOrigin, "log.example/unknown")))
		}},
		{"The witness MUST verify that the checkpoint includes a valid cosignature from one of its own keys.", "", notCosigned},
		{"If the witness can't verify the checkpoint, it MUST respond with a \"403 Forbidden\" HTTP status code.", "", notCosigned},
		{"If the request is valid, the consistency proof verifies, and the checkpoint is validly signed by the witness, the witness MUST respond with a \"200 Success\" HTTP status code.", "", func(t *testing.T, s *stand) {
			for _, r := range [][2]uint64{{8, 13}, {0, 14}, {0, 1}, {13, 14}, {4, 8}, {12, 14}} {
				s.subtree(t, 200, subtreeBody(s.subtrees, r[0], r[1], 14, s.checkpoint()))
			}
		}},
		{"The response body MUST be a sequence of one or more [note][] signature lines for the subtree, each starting with the `—` character (U+2014) and ending with a newline character (U+000A).", "", func(t *testing.T, s *stand) {
			answer := s.subtree(t, 200, s.ofSubtree())
			if !strings.HasPrefix(answer, "\u2014 ") || strings.Count(answer, "\n") != 1 || !strings.HasSuffix(answer, "\n") {
				t.Errorf("%q", answer)
			}
			k := s.config.Keys[1]
			_, sig := signatureOf(t, answer)
			if !k.verify(subtreeMessage(k.name, statement{origin: testOrigin, start: 8, end: 13, root: hash(s.subtrees.root(8, 13))}), sig) {
				t.Error("not of the subtree")
			}
		}},
		{"The signatures SHOULD be ML-DSA-44 [cosignatures][], and SHOULD be from one or more of the same witness key(s) that signed the checkpoint.", "by those of the keys on the checkpoint that can; by another of the witness's where none of them can", func(t *testing.T, s *stand) {
			ed25519Line := s.cosigned[:strings.Index(s.cosigned, "\n")+1]
			for _, signatures := range []string{s.cosigned, lastLine(s.cosigned), ed25519Line} {
				if answer := s.subtree(t, 200, subtreeBody(s.subtrees, 8, 13, 14, s.log.text(s.log.tree, 14)+"\n"+signatures)); !strings.HasPrefix(answer, "— "+s.config.Keys[1].Name()+" ") {
					t.Errorf("%q", answer)
				}
			}
		}},
		{"The cosignature format MUST support subtree cosigning.", "", func(t *testing.T, s *stand) {
			if _, sig := signatureOf(t, s.subtree(t, 200, s.ofSubtree())); len(sig) != mldsa.MLDSA44SignatureSize {
				t.Errorf("%d bytes", len(sig))
			}
		}},
		{"If the cosignature format supports timestamps, the timestamp MUST be zero.", "", func(t *testing.T, s *stand) {
			for _, body := range []string{s.ofSubtree(), subtreeBody(s.subtrees, 0, 14, 14, s.checkpoint())} {
				if at, _ := signatureOf(t, s.subtree(t, 200, body)); at != 0 {
					t.Errorf("time %d", at)
				}
			}
		}},
		{"A witness SHOULD serve a recent checkpoint for each log it cosigned.", "the newest", func(t *testing.T, s *stand) {
			s.add(t, 200, s.growth(t))
			if r := get(s.w, path); r.Code != 200 || !strings.HasPrefix(r.Body.String(), s.log.text(s.log.tree, 20)) {
				t.Errorf("%d %s", r.Code, r.Body)
			}
		}},
		{"The request MUST be an HTTP GET.", "HEAD is one; other methods are answered with 405", overHTTP("GET", path, 200)},
		{"The response body MUST be a [checkpoint][] for the log identified by the origin, and it MUST include the cosignature(s) from the witness's key(s) that were returned from add-checkpoint and the cosignature from the log key(s) that the witness verified.", "", func(t *testing.T, s *stand) {
			if got, want := get(s.w, path).Body.String(), s.log.signed(s.log.tree, 14)+s.cosigned; got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		}},
		{"If the witness has never cosigned a checkpoint for that log, it MUST respond with a \"404 Not Found\" HTTP status code instead.", "", func(t *testing.T, s *stand) {
			for _, origin := range []string{s.fresh.origin, "log.example/unknown"} {
				if r := get(s.w, "/"+originHash(origin)+"/checkpoint"); r.Code != 404 {
					t.Errorf("%s: %d", origin, r.Code)
				}
			}
		}},
		{"The witness MAY delay updating the checkpoint, but SHOULD NOT delay for more than an hour.", "no delay, and no-cache for those between", func(t *testing.T, s *stand) {
			s.w.now = func() time.Time { return testTime.Add(time.Second) }
			cosigned := s.add(t, 200, s.log.body(t, 14, 14))
			if r := get(s.w, path); !strings.HasSuffix(r.Body.String(), cosigned) || r.Header().Get("Cache-Control") != "no-cache" {
				t.Errorf("%v\n%s", r.Header(), r.Body)
			}
		}},
	})
}

// Each sentence of c2sp.org/tlog-cosignature with a MUST, SHOULD or MAY, in the
// order of its text (commit 5ba5ee8), as it binds a witness.
func TestCosignatureSpecification(t *testing.T) {
	keyID := func(i int, alg byte) func(t *testing.T, s *stand) {
		return func(t *testing.T, s *stand) {
			k := s.config.Keys[i]
			sum := sha256.Sum256(slices.Concat([]byte(k.name+"\n"), []byte{alg}, k.public))
			line := strings.SplitAfter(s.cosigned, "\n")[i]
			got, err := parseSignature(strings.TrimSpace(line))
			if err != nil || got.keyID != binary.BigEndian.Uint32(sum[:4]) || got.name != k.name {
				t.Errorf("%+v, %v", got, err)
			}
		}
	}
	vkey := func(i int, alg byte, size int) func(t *testing.T, s *stand) {
		return func(t *testing.T, s *stand) {
			parts := strings.SplitN(s.config.Keys[i].VKey(), "+", 3)
			raw, err := base64.StdEncoding.DecodeString(parts[2])
			if err != nil || len(raw) != 1+size || raw[0] != alg {
				t.Errorf("%s: %v", s.config.Keys[i].VKey(), err)
			}
		}
	}
	// ed25519Message is what the Ed25519 cosignature is over, written down here.
	ed25519Holds := func(t *testing.T, s *stand, text string, line string) {
		t.Helper()
		at, sig := signatureOf(t, line)
		if !ed25519.Verify(s.config.Keys[0].public, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, text), sig) {
			t.Error("not over the message that the text demands")
		}
	}
	ed25519Message := func(t *testing.T, s *stand) {
		ed25519Holds(t, s, s.log.text(s.log.tree, 14), strings.SplitAfter(s.cosigned, "\n")[0])
	}
	startNotZero := func(t *testing.T, s *stand) {
		if at, _ := signatureOf(t, s.subtree(t, 200, s.ofSubtree())); at != 0 {
			t.Errorf("time %d", at)
		}
		defer func() {
			if recover() == nil {
				t.Error("a message with a start and a time was made")
			}
		}()
		subtreeMessage("w", statement{timestamp: 1, origin: "o", start: 8, end: 13})
	}
	testClauses(t, []clause{
		{"The ML-DSA version SHOULD be used for new deployments.", "the operator gives the keys; the README's witness has both", vkey(1, algMLDSA44, 1312)},
		{"The key name SHOULD be a schema-less URL that identifies the cosigner.", "the operator names it; the help and the README say so", nil},
		{"Like the checkpoint origin line, this is for disambiguation, and MAY match a publicly reachable endpoint or not.", "it is never taken for an address", nil},
		{"For ecosystems that use OIDs for identification, the key name MAY be the string `oid/` followed by an OID in dotted decimal form.", "any name that a note can have", func(t *testing.T, s *stand) {
			if k := testKey(t, "oid/1.3.6.1.4.1.99999"); !strings.HasPrefix(k.VKey(), "oid/1.3.6.1.4.1.99999+") {
				t.Error(k.VKey())
			}
		}},
		{"The key ID for Ed25519 cosignatures MUST be computed as", "", keyID(0, 0x04)},
		{"The key ID for ML-DSA-44 cosignatures MUST be computed as", "", keyID(1, 0x06)},
		{"Ed25519 public keys MAY be encoded as [vkeys][] with signature type 0x04 and the 32-byte Ed25519 cosigner public key as the public key material.", "they are", vkey(0, 0x04, 32)},
		{"ML-DSA-44 public keys MAY be encoded as [vkeys][] with signature type 0x06 and the 1312-byte ML-DSA-44 cosigner public key as the public key material.", "they are", vkey(1, 0x06, 1312)},
		{"Future cosignature formats MAY reuse the same cosigner public key with a different key ID algorithm byte (and a different newline-terminated prefix).", "no key here has two formats", nil},
		{"The signature MUST be a `timestamped_signature` structure.", "", func(t *testing.T, s *stand) {
			for i, size := range []int{64, 2420} {
				at, sig := signatureOf(t, strings.SplitAfter(s.cosigned, "\n")[i])
				if at != uint64(testTime.Unix()) || len(sig) != size {
					t.Errorf("key %d: time %d and %d bytes", i, at, len(sig))
				}
			}
		}},
		{"It MUST NOT exceed 2^63 - 1, and verifiers MAY reject cosignatures with timestamps in the future.", "verifiers; its own of a later time stop a witness that does not know them, and are counted by no reader as newer than a quorum says", func(t *testing.T, s *stand) {
			c, err := parseCheckpoint(s.checkpoint())
			if err != nil {
				t.Fatal(err)
			}
			for i, k := range s.config.Keys {
				line, err := k.line(c.statement(math.MaxInt64 + 1))
				if err != nil {
					t.Fatal(err)
				}
				forged, err := parseCheckpoint(c.text + "\n" + line)
				if err != nil {
					t.Fatal(err)
				}
				if _, found, err := k.cosigned(forged); found || err == nil {
					t.Errorf("key %d: a time of 2^63 is taken", i)
				}
			}
		}},
		{"The signed message MUST be two newline (U+000A) terminated lines (one header line and one timestamp line) followed by the whole note body of the cosigned checkpoint (including the final newline, but not including any signature lines).", "", ed25519Message},
		{"The header line MUST be the fixed string `cosignature/v1`, and provides domain separation.", "", ed25519Message},
		{"The timestamp line MUST consist of the string `time`, a single space (0x20), and `timestamped_signature.timestamp` encoded as an ASCII decimal with no leading zeroes.", "", ed25519Message},
		{"Extension lines MAY be included in the checkpoint by the log, and if present MUST be included in the cosigned message.", "they may, where the log's signature covers them", func(t *testing.T, s *stand) {
			text := s.log.text(s.log.tree, 20, "extension\n", "another\n")
			answer := s.add(t, 200, "old 14\n"+proofLines(t, s.log.tree, 14, 20)+"\n"+sign(t, text, s.log.signer))
			ed25519Holds(t, s, text, strings.SplitAfter(answer, "\n")[0])
		}},
		{"However, it's important to understand that the cosigner is asserting observation of correct append-only operation of the log based on the first three lines of the checkpoint; consensus between cosigners on the extension lines SHALL NOT be assumed, and no semantic statement is made about any extension lines unless the cosigner's operator says otherwise.", "nothing is said of them", func(t *testing.T, s *stand) {
			// Other extension lines at the same size are no contradiction.
			s.add(t, 200, "old 14\n\n"+sign(t, s.log.text(s.log.tree, 14, "other\n"), s.log.signer))
			if files, err := s.w.Evidence(); err != nil || len(files) != 0 {
				t.Errorf("%v, %v", files, err)
			}
		}},
		{"A cosigner operator that operates multiple Ed25519 cosigners (e.g. with distinct additional statements, see below) MUST use distinct public keys for each cosigner.", "", func(t *testing.T, s *stand) {
			renamed, err := NewKey("witness.example/other", s.config.Keys[0].signer)
			if err != nil {
				t.Fatal(err)
			}
			s.config.Dir, s.config.Keys = t.TempDir(), []*Key{s.config.Keys[0], renamed}
			if _, err := New(s.config); err == nil {
				t.Error("one key under two names")
			}
		}},
		{"The signed message MUST be a `cosigned_message` structure.", "", func(t *testing.T, s *stand) {
			k := s.config.Keys[1]
			at, sig := signatureOf(t, lastLine(s.cosigned))
			message := []byte("subtree/v1\n\x00")
			message = append(append(message, byte(len(k.name))), k.name...)
			message = binary.BigEndian.AppendUint64(message, at)
			message = append(append(message, byte(len(testOrigin))), testOrigin...)
			message = binary.BigEndian.AppendUint64(message, 0)
			message = binary.BigEndian.AppendUint64(message, 14)
			message = append(message, s.log.tree.HashAt(14)...)
			if err := mldsa.Verify(k.post, message, sig, nil); err != nil {
				t.Error(err)
			}
		}},
		{"These two values MAY be zero if the cosigner doesn't make any statement as to the tree being the largest observed at time of signing.", "zero on subtrees, the time on checkpoints", func(t *testing.T, s *stand) {
			if at, _ := signatureOf(t, s.subtree(t, 200, subtreeBody(s.subtrees, 0, 14, 14, s.checkpoint()))); at != 0 {
				t.Errorf("time %d", at)
			}
		}},
		{"If `start` is not zero, these values MUST be zero.", "", startNotZero},
		{"If signing a [checkpoint][], it MUST be zero.", "", func(t *testing.T, s *stand) {
			k := s.config.Keys[1]
			at, sig := signatureOf(t, lastLine(s.cosigned))
			if !k.verify(subtreeMessage(k.name, statement{timestamp: at, origin: testOrigin, start: 0, end: 14, root: hash(s.log.tree.HashAt(14))}), sig) {
				t.Error("the start is not zero")
			}
		}},
		{"If `start` is not zero, `timestamp` MUST be zero.", "", startNotZero},
		{"A cosigner MAY make additional statements about a checkpoint.", "it makes none", nil},
		{"A given tuple MUST imply a single set of statements.", "it makes none", func(t *testing.T, s *stand) {
			// One key, one kind of statement about each tree: as TestKill and TestConcurrentUpdates see.
			s.add(t, 422, s.log.bodyOf(t, s.log.fork, 14, 14))
		}},
		{"These statements MUST include the base cosignature semantics, and MAY include other statements that are non-conflicting.", "the base semantics alone", func(t *testing.T, s *stand) {
			// As of its time it is the largest tree: no earlier time after a later one.
			s.w.now = func() time.Time { return testTime.Add(-time.Second) }
			want(t, s.w, 503, s.growth(t))
		}},
	})
}
