package witness

import "testing"

// One request, from the bytes to the disk and back: a log's signature check, our
// own on what is remembered, a cosignature, and two fsyncs.
func BenchmarkSameSize(b *testing.B) {
	log := newTestLog(b, testOrigin)
	w := start(b, testConfig(b, log))
	want(b, w, 200, log.body(b, 0, 7))
	body := log.body(b, 7, 7)
	for b.Loop() {
		want(b, w, 200, body)
	}
}
