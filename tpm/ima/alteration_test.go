package ima

import (
	"bytes"
	"slices"
	"testing"
)

// unbound returns the places of a list that no register binds: the name of each
// template that is not told by its form, and a violation's data up to its own
// lengths.
func unbound(t *testing.T, list []byte) map[int]bool {
	free := make(map[int]bool)
	for _, rec := range readAll(t, list, Format{Bank: SHA1}) {
		name := int(rec.Offset) + 4 + 20 + 4
		data := name + len(rec.Raw) - 28 - len(rec.Data)
		if !rec.legacy() {
			for i := range rec.Template {
				free[name+i] = true
			}
		}
		if !rec.Violation() {
			continue
		}
		for i := range rec.Data {
			// The length of a legacy record's name is part of its frame.
			if !rec.legacy() || i < legacyDigest || i >= legacyDigest+4 {
				free[data+i] = true
			}
		}
	}
	return free
}

// TestEachBit alters every bit of lists that a quote covers to their end. What
// is accepted is what no register binds, and all of that.
func TestEachBit(t *testing.T) {
	dir := recordings + "staging-7.3-kexec/01-full"
	recorded := readFile(t, dir+"/binary_runtime_measurements")
	vectors := vector(t, "A", "V", "legacy", "legacyV", "B")
	p := replayed(t, vectors, nil)
	for _, row := range []struct {
		name string
		list []byte
		q    Quoted
	}{
		{"recorded", recorded, readQuoted(t, dir)},
		{"vectors", vectors, quoteOf(t, p, Selection{{SHA1, []int{10}}, {SHA256, []int{10}}})},
	} {
		cut, err := cutOf(row.list, row.q, nil)
		if err != nil {
			t.Fatal(err)
		}
		list := row.list[:cut.PrefixBytes]
		free := unbound(t, list)
		for i := range list {
			for bit := range 8 {
				altered := bytes.Clone(list)
				altered[i] ^= 1 << bit
				got, err := cutOf(altered, row.q, nil)
				if accepted := err == nil && got.Prefix == cut.Prefix; accepted != free[i] {
					t.Errorf("%s: bit %d of byte %d altered: accepted is %v, bound by no register is %v (%v)", row.name, bit, i, accepted, free[i], err)
				}
			}
		}
	}
}

// TestEachRecord takes each record of a recorded list away, doubles it, and
// swaps it with the next: the quote is then of another list.
func TestEachRecord(t *testing.T) {
	dir := recordings + "staging-7.3-kexec/02-before-deleting-10"
	list := readFile(t, dir+"/binary_runtime_measurements")
	q := readQuoted(t, dir)
	all := readAll(t, list, Format{Bank: SHA1})
	for i, rec := range all {
		before, after := list[:rec.Offset], list[rec.Offset+int64(len(rec.Raw)):]
		altered := map[string][]byte{
			"removed": slices.Concat(before, after),
			"doubled": slices.Concat(before, rec.Raw, rec.Raw, after),
		}
		if i+1 < len(all) && !bytes.Equal(all[i+1].Raw, rec.Raw) {
			next := all[i+1].Raw
			altered["swapped"] = slices.Concat(before, next, rec.Raw, after[len(next):])
		}
		for what, list := range altered {
			cut, err := cutOf(list, q, nil)
			// The last record doubled is a record after the quote.
			if (err == nil) != (what == "doubled" && i == len(all)-1) {
				t.Errorf("record %d %s: %+v, %v", i, what, cut, err)
			}
		}
	}
}
