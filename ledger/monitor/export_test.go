package monitor

import "testing"

// SetMaxAnchors has a test's audits keep n anchors.
func SetMaxAnchors(t testing.TB, n int) {
	before := maxAnchors
	maxAnchors = n
	t.Cleanup(func() { maxAnchors = before })
}
