package main

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

// TestMalformedList: a list that the kernel would never show is named, and nothing
// is sealed of it; when it is as it should be, all goes on.
func TestMalformedList(t *testing.T) {
	t.Parallel()
	length := func(b []byte, at int, n uint32) []byte {
		return append(binary.LittleEndian.AppendUint32(bytes.Clone(b[:at]), n), b[at+4:]...)
	}
	const name = 4 + 20       // of ima-ng, in the SHA-1 list
	const data = name + 4 + 6 // length of the data
	const digest = data + 4   // length of its first field
	flip := func(b []byte, at int) []byte { b = bytes.Clone(b); b[at] ^= 1; return b }
	for what, spoil := range map[string]func(good []byte) []byte{
		"cut off":                   func(b []byte) []byte { return b[:len(b)-1] },
		"cut off in its head":       func(b []byte) []byte { return b[:7] },
		"trailing bytes":            func(b []byte) []byte { return append(bytes.Clone(b), 1, 2, 3) },
		"a name without end":        func(b []byte) []byte { return length(b[:name+4], name, 0xffffffff) },
		"a long name":               func(b []byte) []byte { return length(b, name, 256) },
		"a name of no bytes":        func(b []byte) []byte { return length(b, name, 0) },
		"data without end":          func(b []byte) []byte { return length(b[:data+14], data, 0xffffffff) },
		"longer data than there is": func(b []byte) []byte { return length(b, data, binary.LittleEndian.Uint32(b[data:])+9) },
		"shorter data":              func(b []byte) []byte { return length(b, data, binary.LittleEndian.Uint32(b[data:])-9) },
		"a field without end":       func(b []byte) []byte { return length(b, digest, 0xffffffff) },
		"a bit of the digest":       func(b []byte) []byte { return flip(b, 4) },
		"a bit of the data":         func(b []byte) []byte { return flip(b, len(b)-1) },
		"the other byte order":      func(b []byte) []byte { return append([]byte{0, 0, 0, 10}, b[4:]...) },
		"another bank's digest":     func(b []byte) []byte { return append(append(bytes.Clone(b[:name]), make([]byte, 12)...), b[name:]...) },
	} {
		for _, flavour := range flavours {
			t.Run(what+"/"+flavour.String(), func(t *testing.T) { t.Parallel(); malformed(newWorld(t, flavour), spoil) })
		}
	}
}

func malformed(w *world, spoil func([]byte) []byte) {
	w.t.Helper()
	k := w.kernel
	k.measure(2)
	w.round()
	k.measure(1)
	replace := func(b []byte) {
		if n := len(k.staged); n > 0 {
			k.staged[n-1] = b
		} else {
			k.list[len(k.list)-1] = b
		}
	}
	good := k.list[len(k.list)-1]
	replace(spoil(good))
	for range 2 {
		held := k.held()
		if err := w.try(); err == nil || !strings.Contains(err.Error(), "record") {
			w.t.Errorf("%v", err)
		}
		if gap := w.gapped(); gap != "" || k.held() != held {
			w.t.Fatalf("%s; %d records in the kernel, there were %d", gap, k.held(), held)
		}
	}
	replace(good)
	w.round()
	if n := w.whole(); n != 4 {
		w.t.Errorf("%d records sealed, want 4", n)
	}
}
