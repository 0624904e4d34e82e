package server

import (
	"bytes"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/tpm/quote"
)

// alter returns a leaf with one change to its text, and a trailer to match.
func alter(t *testing.T, leaf []byte, change func(*ledger.Segment)) []byte {
	t.Helper()
	s, err := ledger.ParseSegment(leaf)
	if err != nil {
		t.Fatal(err)
	}
	change(s)
	return s.Marshal()
}

func TestRefusals(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h, other := l.enrolHost(t, "h"), l.enrolHost(t, "other")
	anchor := l.anchor(t)
	leaf, payload := h.segment(t, testOrigin, anchor, "/bin/sh")

	submit := func(leaf []byte) error {
		_, err := l.SubmitLeaf(t.Context(), leaf, time.Second)
		return err
	}
	for _, missing := range []struct {
		raw  []byte
		code ledger.Code
	}{{payload, ledger.PayloadMissing}, {anchor.Raw, ledger.AnchorMissing}} {
		p := problem(t, submit(leaf), http.StatusUnprocessableEntity, missing.code)
		if path := ledger.AddendumPath(sha256.Sum256(missing.raw)); !strings.Contains(p.Error(), path) {
			t.Errorf("%s: does not say to upload %s", p, path)
		}
		l.upload(t, missing.raw)
	}

	stranger := &testHost{name: "stranger", tpm: h.tpm, leaf: h.leaf}
	foreign, foreignPayload := (&testHost{name: "h", tpm: other.tpm, leaf: h.leaf}).segment(t, testOrigin, anchor, "/bin/sh")
	strange, strangePayload := stranger.fork().segment(t, testOrigin, anchor, "/bin/x")
	elsewhere, elsewherePayload := h.fork().segment(t, "ledger.example/another", anchor, "/bin/y")
	gap := h.fork()
	gap.sequence++
	skipped, skippedPayload := gap.segment(t, testOrigin, anchor, "/bin/z")
	l.upload(t, foreignPayload, strangePayload, elsewherePayload, skippedPayload)

	for name, test := range map[string]struct {
		leaf []byte
		code ledger.Code
	}{
		"garbage":           {[]byte("garbage"), ledger.EntryMalformed},
		"empty":             {nil, ledger.EntryMalformed},
		"cut":               {leaf[:len(leaf)-1], ledger.EntryMalformed},
		"longer":            {append(bytes.Clone(leaf), 0), ledger.EntryMalformed},
		"other log":         {elsewhere, ledger.EntryWrongLog},
		"unknown host":      {strange, ledger.AKNotEnrolled},
		"other host's AK":   {foreign, ledger.AKNotEnrolled},
		"skipped sequence":  {skipped, ledger.ChainBroken},
		"head altered":      {alter(t, leaf, func(s *ledger.Segment) { s.Anchor.Size++ }), ledger.QuoteNonce},
		"signature altered": {alter(t, leaf, func(s *ledger.Segment) { s.Signature[len(s.Signature)-1] ^= 1 }), ledger.QuoteSignature},
		"values altered":    {alter(t, leaf, func(s *ledger.Segment) { s.End[0].Value[0] ^= 1 }), ledger.QuoteValues},
		"count altered":     {alter(t, leaf, func(s *ledger.Segment) { s.Count++ }), ledger.BodyMismatch},
		"records altered":   {alter(t, leaf, func(s *ledger.Segment) { s.Records[0] ^= 1 }), ledger.BodyMismatch},
		"other payload":     {alter(t, leaf, func(s *ledger.Segment) { s.Payload = ledger.Addendum{Size: 4, Digest: sha256.Sum256([]byte("junk"))} }), ledger.PayloadMissing},
	} {
		t.Run(name, func(t *testing.T) {
			problem(t, submit(test.leaf), http.StatusUnprocessableEntity, test.code)
		})
	}
	l.upload(t, []byte("junk"))
	junk := alter(t, leaf, func(s *ledger.Segment) { s.Payload = ledger.Addendum{Size: 4, Digest: sha256.Sum256([]byte("junk"))} })
	problem(t, submit(junk), http.StatusUnprocessableEntity, ledger.ListMalformed)

	// None of that came into the log or kept the good leaf out of it.
	if err := submit(leaf); err != nil {
		t.Fatal(err)
	}
	if n, err := l.server.log.reader.IntegratedSize(t.Context()); err != nil || n != 3 {
		t.Fatalf("%d entries, %v; want 3", n, err)
	}
}

// An anchor must be a checkpoint of this very tree.
func TestAnchors(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	good := l.anchor(t)

	forked := *good
	sign := func(size uint64, root ledger.Hash, witnesses int) *ledger.Checkpoint {
		raw := signedCheckpoint(t, l, size, root, witnesses)
		return &ledger.Checkpoint{Size: size, Root: root, Raw: raw}
	}
	forked.Root[0] ^= 1
	for name, test := range map[string]struct {
		anchor *ledger.Checkpoint
		code   ledger.Code
	}{
		"not cosigned":       {sign(good.Size, good.Root, 0), ledger.QuorumNotMet},
		"cosigned by one":    {sign(good.Size, good.Root, 1), ledger.QuorumNotMet},
		"no checkpoint":      {&ledger.Checkpoint{Size: 1, Raw: []byte("nothing")}, ledger.CheckpointMalformed},
		"other size stated":  {&ledger.Checkpoint{Size: good.Size + 1, Root: good.Root, Raw: good.Raw}, ledger.AnchorMismatch},
		"other root stated":  {&ledger.Checkpoint{Size: good.Size, Root: forked.Root, Raw: good.Raw}, ledger.AnchorMismatch},
		"forked":             {sign(good.Size, forked.Root, 2), ledger.LogSplit},
		"tree not there yet": {sign(good.Size+7, good.Root, 2), ledger.LogSplit},
	} {
		t.Run(name, func(t *testing.T) {
			leaf, payload := h.fork().segment(t, testOrigin, test.anchor, "/bin/sh")
			l.upload(t, payload, test.anchor.Raw)
			_, err := l.SubmitLeaf(t.Context(), leaf, time.Second)
			problem(t, err, http.StatusUnprocessableEntity, test.code)
		})
	}
	// An older one of this log is good, the empty one too.
	l.submit(t, h, "/bin/a")
	l.submit(t, h, "/bin/b")
	leaf, payload := h.segment(t, testOrigin, good, "/bin/c")
	l.upload(t, payload)
	if _, err := l.SubmitLeaf(t.Context(), leaf, time.Second); err != nil {
		t.Fatal(err)
	}
}

// A second leaf for one host and sequence is refused, and both are kept.
func TestConflict(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	clone := h.fork() // the host, cloned or rolled back
	winner, _ := l.submit(t, h, "/bin/a")
	l.submit(t, h, "/bin/b")
	anchor := l.anchor(t)
	loser, payload := clone.segment(t, testOrigin, anchor, "/bin/other")
	l.upload(t, payload, anchor.Raw)
	for range 2 {
		_, err := l.SubmitLeaf(t.Context(), loser, time.Second)
		p := problem(t, err, http.StatusConflict, ledger.ChainFork)
		if want := fmt.Sprintf("%x", ledger.LeafHash(winner)); !strings.Contains(p.Detail, want) {
			t.Fatalf("detail %q, want the standing leaf %s", p.Detail, want)
		}
	}
	dir := filepath.Join(l.config.Dir, "evidence", "conflicts", "h", "1")
	kept, err := os.ReadDir(dir)
	if err != nil || len(kept) != 2 {
		t.Fatalf("kept %v, %v; want 2 files", kept, err)
	}
	for _, leaf := range [][]byte{winner, loser} {
		got, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%x", ledger.LeafHash(leaf))))
		if err != nil || !bytes.Equal(got, leaf) {
			t.Fatalf("kept leaf: %v", err)
		}
	}
	// What nobody signed is no evidence, and is not kept.
	forged := alter(t, loser, func(s *ledger.Segment) { s.Signature[len(s.Signature)-1] ^= 1 })
	_, err = l.SubmitLeaf(t.Context(), forged, time.Second)
	problem(t, err, http.StatusUnprocessableEntity, ledger.ChainFork)
	if kept, err = os.ReadDir(dir); err != nil || len(kept) != 2 {
		t.Fatalf("kept %v, %v", kept, err)
	}
	// Nor is what a stranger makes of the entry that stands, which he can read: the
	// host's TPM has signed it once.
	for i, twin := range [][]byte{
		alter(t, winner, func(s *ledger.Segment) { s.Count++ }),
		alter(t, winner, func(s *ledger.Segment) { s.Signature = otherS(t, s.Signature) }),
	} {
		_, err = l.SubmitLeaf(t.Context(), twin, time.Second)
		problem(t, err, http.StatusUnprocessableEntity, ledger.ChainFork)
		if _, err := os.Stat(filepath.Join(dir, fmt.Sprintf("%x", ledger.LeafHash(twin)))); err == nil {
			t.Errorf("twin %d is kept as evidence against the host", i)
		}
	}
	// Nor is all of what a host that forks all day sends.
	for i := range maxConflicts + 4 {
		loser, payload := clone.fork().segment(t, testOrigin, anchor, fmt.Sprint("/bin/", i))
		l.upload(t, payload)
		_, err := l.SubmitLeaf(t.Context(), loser, time.Second)
		problem(t, err, http.StatusConflict, ledger.ChainFork)
	}
	if kept, err = os.ReadDir(dir); err != nil || len(kept) > 2*maxConflicts+1 {
		t.Fatalf("kept %d files, %v", len(kept), err)
	}
}

// otherS gives an ECDSA signature on P-256 its other s, which verifies as well.
func otherS(t *testing.T, signature []byte) []byte {
	t.Helper()
	parsed, err := quote.ParseSignature(signature)
	if err != nil {
		t.Fatal(err)
	}
	s := new(big.Int).Sub(elliptic.P256().Params().N, new(big.Int).SetBytes(parsed.S)).FillBytes(make([]byte, 32))
	return append(append([]byte(nil), signature[:len(signature)-len(parsed.S)-2]...), append([]byte{0, 32}, s...)...)
}

// Of the leaves that race for one base exactly one wins, in every round.
func TestRaceForOneBase(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	const rounds, racers = 30, 4
	h := l.enrolHost(t, "h")
	for round := range rounds {
		anchor := l.anchor(t)
		l.upload(t, anchor.Raw)
		hosts, leaves := make([]*testHost, racers), make([][]byte, racers)
		for i := range racers {
			hosts[i] = h.fork()
			var payload []byte
			leaves[i], payload = hosts[i].segment(t, testOrigin, anchor, fmt.Sprintf("/bin/%d-%d", round, i))
			l.upload(t, payload)
		}
		var won atomic.Int64
		won.Store(-1)
		var wg sync.WaitGroup
		for i := range racers {
			wg.Go(func() {
				_, err := l.SubmitLeaf(t.Context(), leaves[i], 0)
				var p *client.Problem
				switch {
				case err == nil:
					if !won.CompareAndSwap(-1, int64(i)) {
						t.Errorf("round %d: two winners", round)
					}
				case !errors.As(err, &p) || p.Status != http.StatusConflict:
					t.Errorf("round %d: %v, want a conflict", round, err)
				}
			})
		}
		wg.Wait()
		i := won.Load()
		if i < 0 {
			t.Fatalf("round %d: no winner", round)
		}
		hosts[i].took(leaves[i])
		h = hosts[i]
	}
	head, err := l.HostHead(t.Context(), "h")
	if err != nil || head.Sequence != rounds || head.Index != rounds || head.Leaf != fmt.Sprintf("%x", h.leaf) {
		t.Fatalf("head %+v, %v", head, err)
	}
}

// One leaf, submitted by many at once, has one index and stands in the log once.
func TestRaceOfOneLeaf(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	for round := range 10 {
		anchor := l.anchor(t)
		leaf, payload := h.segment(t, testOrigin, anchor, fmt.Sprint("/bin/", round))
		l.upload(t, payload, anchor.Raw)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				a, err := l.SubmitLeaf(t.Context(), leaf, 0)
				if err != nil || a.Index != uint64(round+1) {
					t.Errorf("round %d: %+v, %v", round, a, err)
				}
			})
		}
		wg.Wait()
		h.took(leaf)
	}
}

// An anchor that is known is verified once, and is held against each segment.
func TestKnownAnchor(t *testing.T) {
	l := startLedger(t, ledger.GradeSoftware)
	h := l.enrolHost(t, "h")
	anchor := l.anchor(t)
	leaf, payload := h.segment(t, testOrigin, anchor, "/bin/sh")
	l.upload(t, payload, anchor.Raw)
	if _, err := l.SubmitLeaf(t.Context(), leaf, 0); err != nil {
		t.Fatal(err)
	}
	h.took(leaf)
	if l.server.anchors.find(sha256.Sum256(anchor.Raw)) == nil {
		t.Fatal("the anchor is not known")
	}
	for name, lie := range map[string]*ledger.Checkpoint{
		"size": {Size: anchor.Size + 1, Root: anchor.Root, Raw: anchor.Raw},
		"root": {Size: anchor.Size, Root: ledger.Hash{1}, Raw: anchor.Raw},
	} {
		leaf, payload := h.fork().segment(t, testOrigin, lie, "/bin/ls")
		l.upload(t, payload)
		if _, err := l.SubmitLeaf(t.Context(), leaf, 0); problem(t, err, http.StatusUnprocessableEntity, ledger.AnchorMismatch) == nil {
			t.Errorf("another %s: admitted", name)
		}
	}
	// What is known must be stored all the same: readers ask for it.
	if err := os.Remove(filepath.Join(l.config.Dir, ledger.AddendumPath(sha256.Sum256(anchor.Raw)))); err != nil {
		t.Fatal(err)
	}
	leaf, payload = h.segment(t, testOrigin, anchor, "/bin/ls")
	l.upload(t, payload)
	_, err := l.SubmitLeaf(t.Context(), leaf, 0)
	problem(t, err, http.StatusUnprocessableEntity, ledger.AnchorMissing)
}

// The anchors that are kept are bounded, and the oldest goes first.
func TestAnchorsAreBounded(t *testing.T) {
	var a anchors
	for i := range 3 * maxAnchors {
		a.add(ledger.Hash{byte(i), byte(i >> 8)}, &ledger.Checkpoint{Size: uint64(i)})
	}
	if len(a.known) != maxAnchors || a.find(ledger.Hash{}) != nil {
		t.Fatalf("%d anchors", len(a.known))
	}
	for i := 2 * maxAnchors; i < 3*maxAnchors; i++ {
		if c := a.find(ledger.Hash{byte(i), byte(i >> 8)}); c == nil || c.Size != uint64(i) {
			t.Fatalf("anchor %d: %v", i, c)
		}
	}
}
