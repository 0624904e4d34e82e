package ledger

import (
	"strings"
	"testing"
)

// TestFreezeRefused: what a freeze and a succession must not say.
func TestFreezeRefused(t *testing.T) {
	signer, _ := sampleSigner(t, "one.example")
	for name, s := range map[string]Statement{
		"want the key of another log":     &Freeze{Log: "log.example/one", Successor: sampleLogKey("log.example/one"), URL: "https://x.example", Reason: "r"},
		"is no verifier key for it":       &Freeze{Log: "log.example/one", Successor: "log.example/two", URL: "https://x.example", Reason: "r"},
		"url: want https:// or http://":   &Freeze{Log: "log.example/one", Successor: sampleLogKey("log.example/two"), URL: "ftp://x.example", Reason: "r"},
		"want \"time\" and its value":     &Freeze{Log: "log.example/one", Successor: sampleLogKey("log.example/two"), URL: "https://x.example", Reason: "a line\nbreak"},
		"want the origin of another log":  &Succession{Log: "log.example/two", Predecessor: "log.example/two", Size: 1, Reason: "r"},
		"predecessor: want":               &Succession{Log: "log.example/two", Predecessor: "log+example", Size: 1, Reason: "r"},
		"a tree that ends in an entry is": &Succession{Log: "log.example/two", Predecessor: "log.example/one", Reason: "r"},
	} {
		if err := Sign(s, signer); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("want %q: %v", name, err)
		}
	}
}
