package server

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/internal/payload"
	"github.com/imaledger/imaledger/ledger/server/s3mysql/s3mysqltest"
)

func holdOf(host, reason string, from, to uint64) *ledger.Hold {
	return &ledger.Hold{Log: testOrigin, Host: host, From: from, To: to, Reason: reason, Time: 1}
}

// TestHoldShared: what a hold covers nobody deletes from the bucket, whatever keys he
// has: records that came before it, that come after, and that another host shares.
func TestHoldShared(t *testing.T) {
	c := s3mysqltest.Start(t).Config(t)
	bucket := s3.NewFromConfig(*c.AWS, func(o *s3.Options) { o.UsePathStyle, o.BaseEndpoint = true, &c.Endpoint })
	list := startShared(t, c, 2)
	l := list[0]
	h, g := l.enrolHost(t, "h"), l.enrolHost(t, "g")
	files := []string{"/bin/sh", "/bin/ls"}
	shared1, _ := l.submit(t, h, files...)
	twin, _ := list[1].submit(t, g, files...)
	own, _ := l.submit(t, g, "/bin/g")
	if payloadOf(t, shared1) != payloadOf(t, twin) {
		t.Fatal("the two hosts' records are not the same")
	}
	key := func(leaf []byte) *string { return aws.String(ledger.AddendumPath(payloadOf(t, leaf))) }
	held := func(leaf []byte) bool {
		o, err := bucket.GetObjectLegalHold(t.Context(), &s3.GetObjectLegalHoldInput{Bucket: &c.PayloadBucket, Key: key(leaf)})
		return err == nil && o.LegalHold != nil && o.LegalHold.Status == types.ObjectLockLegalHoldStatusOn
	}
	setByHand := func(leaf []byte, status types.ObjectLockLegalHoldStatus) {
		t.Helper()
		if _, err := bucket.PutObjectLegalHold(t.Context(), &s3.PutObjectLegalHoldInput{Bucket: &c.PayloadBucket, Key: key(leaf), LegalHold: &types.ObjectLockLegalHold{Status: status}}); err != nil {
			t.Fatal(err)
		}
	}
	first := l.mustState(t, holdOf("h", "court order", 0, 1<<40))
	within(t, "what came before the hold is held", func() bool { return held(shared1) })
	later, _ := list[1].submit(t, h, "/bin/later")
	within(t, "what comes after it is held", func() bool { return held(later) })
	if held(own) {
		t.Error("held what no hold covers")
	}
	// The bucket's operator, with every right in it.
	versions, err := bucket.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &c.PayloadBucket, Prefix: key(later)})
	if err != nil || len(versions.Versions) != 1 {
		t.Fatalf("%+v, %v", versions, err)
	}
	if _, err := bucket.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &c.PayloadBucket, Key: key(later), VersionId: versions.Versions[0].VersionId, BypassGovernanceRetention: aws.Bool(true)}); err == nil {
		t.Error("the bucket's operator deleted what is held")
	}
	second := l.mustState(t, holdOf("g", "another court's", 0, 1<<40))
	within(t, "the other host's is held", func() bool { return held(own) })
	l.mustState(t, &ledger.Release{Log: testOrigin, Hold: first, Reason: "lifted", Time: 1})
	within(t, "what only the released hold covered is let go", func() bool { return !held(later) })
	marker := func(leaf ledger.Hash) bool {
		names, err := list[0].config.Storage.Files.List(t.Context(), holdsDir+"/")
		if err != nil {
			t.Fatal(err)
		}
		return slices.Contains(names, holdFile(leaf))
	}
	within(t, "the released hold is done with", func() bool { return !marker(first) })
	if !held(shared1) || !held(own) {
		t.Error("let go what another hold covers")
	}

	// A crash, and a hand in the bucket meanwhile: the next start mends both.
	for _, l := range list {
		l.kill()
	}
	setByHand(own, types.ObjectLockLegalHoldStatusOff)
	setByHand(later, types.ObjectLockLegalHoldStatusOn)
	if err := shared(t, c).Files.Create(t.Context(), holdFile(first), nil); err != nil {
		t.Fatal(err)
	}
	for _, l := range list {
		l.config.Storage = shared(t, c)
		l.start(t)
	}
	within(t, "a start holds again", func() bool { return held(own) })
	within(t, "a start lets go", func() bool { return !held(later) && !marker(first) })
	l.mustState(t, &ledger.Release{Log: testOrigin, Hold: second, Reason: "lifted too", Time: 1})
	within(t, "all is let go", func() bool { return !held(shared1) && !held(own) })
}

// fakeHolder is a storage's Holder in memory, that can fail.
type fakeHolder struct {
	mu   sync.Mutex
	held map[ledger.Hash]bool
	fail bool
}

func (f *fakeHolder) Hold(_ context.Context, digest ledger.Hash, on bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail {
		return errors.New("access denied")
	}
	f.held[digest] = on
	return nil
}

func (f *fakeHolder) has(digest ledger.Hash) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held[digest]
}

func (f *fakeHolder) set(fail bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

// TestHoldTimes: a hold of a time covers what came into the log in it, also where it
// begins later; a store that refuses shows, and has all of it after the next start.
func TestHoldTimes(t *testing.T) {
	l := newConfig(t, ledger.GradeSoftware)
	store := &fakeHolder{held: make(map[ledger.Hash]bool), fail: true}
	registry := prometheus.NewRegistry()
	l.config.Metrics = registry
	open := func() {
		t.Helper()
		storage := Directory(l.config.Dir)
		addenda, err := payload.Open(filepath.Join(l.config.Dir, addendaDir))
		if err != nil {
			t.Fatal(err)
		}
		storage.Addenda, storage.Holder = addenda, store
		l.config.Storage = storage
	}
	open()
	l.start(t)
	h, g := l.enrolHost(t, "h"), l.enrolHost(t, "g")
	now := uint64(time.Now().Unix())
	in := func(days uint64) uint64 { return now + days*secondsADay }
	early, _ := l.submit(t, h, "/bin/early")
	other, _ := l.submit(t, g, "/bin/other")
	l.mustState(t, holdOf("h", "from the tenth day on", in(10), in(20)))
	past := l.mustState(t, holdOf("h", "long ago", in(0)-20*secondsADay, in(0)-10*secondsADay))
	l.mustState(t, holdOf("g", "all of it", 0, 1<<40))
	within(t, "it shows that the store refuses", func() bool { return value(t, registry, "imaledger_holds_failing") == 1 })
	store.set(false)
	l.config.Metrics = nil
	l.kill()
	open()
	l.start(t)
	within(t, "a start has it held", func() bool { return store.has(payloadOf(t, other)) })
	if store.has(payloadOf(t, early)) {
		t.Error("held before the hold's time")
	}
	l.pass(t, 15*day, h)
	within(t, "what witnesses date into the hold's time is held", func() bool { return store.has(payloadOf(t, early)) })
	l.pass(t, 15*day, h)
	late, _ := l.submit(t, h, "/bin/late")
	marked, _ := l.submit(t, g, "/bin/marked") // held by a pass that has seen all before it
	within(t, "the pass after", func() bool { return store.has(payloadOf(t, marked)) })
	if store.has(payloadOf(t, late)) {
		t.Error("held after the hold's time")
	}
	l.mustState(t, &ledger.Release{Log: testOrigin, Hold: past, Reason: "it covered nothing", Time: 1})
	name := filepath.Join(l.config.Dir, filepath.FromSlash(holdFile(past)))
	within(t, fmt.Sprintf("%s is removed", name), func() bool {
		names, err := filepath.Glob(name)
		return err == nil && len(names) == 0
	})
	if !store.has(payloadOf(t, early)) || !store.has(payloadOf(t, other)) {
		t.Error("let go what is held")
	}
}
