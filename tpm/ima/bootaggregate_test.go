package ima

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
)

// TestBootAggregateZero holds the two constants of a machine whose firmware
// measured nothing.
func TestBootAggregateZero(t *testing.T) {
	zero := func(s Slot) []byte { return make([]byte, s.Bank.Size()) }
	for bank, want := range map[Bank]string{
		SHA1:   "9797edf8d0eed36b1cf92547816051c8af4e45ee",
		SHA256: "7b6436b0c98f62380866d9432c2af0ee08ce16a171bda6951aecd95ee1307d61",
	} {
		if got, ok := BootAggregate(bank, zero); !ok || hex.EncodeToString(got) != want {
			t.Errorf("%s: %x, want %s", bank, got, want)
		}
	}
}

// TestBootAggregateRecorded holds the first record of each recorded boot to the
// registers that were read beside it.
func TestBootAggregateRecorded(t *testing.T) {
	for _, dir := range []string{"stock-6.1/boot1/cut1", "stock-6.1/boot2/cut1", "templates-7.3/cut1", "custom-format-7.3/cut1", "big-7.3/cut1", "staging-7.3-kexec/01-full"} {
		pcrs := readPCRs(t, recordings+dir)
		rec := readAll(t, readFile(t, recordings+dir+"/binary_runtime_measurements"), Format{Bank: SHA1})[0]
		alg, digest, ok := rec.BootAggregate()
		want, known := BootAggregate(alg, func(s Slot) []byte { return pcrs[s] })
		if !ok || !known || !bytes.Equal(digest, want) {
			t.Errorf("%s: first record is %s %x (%v), PCR 0 to 9 give %x", dir, alg, digest, ok, want)
		}
	}
}

// TestBootAggregateForms: what is one, and what has only its name.
func TestBootAggregateForms(t *testing.T) {
	digest := func(algorithm string, size int) []byte {
		return sized([]byte(algorithm + ":\x00" + strings.Repeat("d", size)))
	}
	name := func(s string) []byte { return sized([]byte(s + "\x00")) }
	legacy := slices.Concat(make([]byte, 20), sized([]byte("boot_aggregate")))
	for _, row := range []struct {
		name string
		list []byte
		alg  Bank // 0: none
	}{
		{"sha256", made("ima-ng", digest("sha256", 32), name("boot_aggregate")), SHA256},
		{"late", made("ima-sig", digest("sha1", 20), name("boot_aggregate_late"), sized(nil)), SHA1},
		{"sha3-256 as the kernel spells it", made("ima-ng", digest("sha3-256", 32), name("boot_aggregate")), SHA3_256},
		{"default template ima-buf", made("ima-buf", digest("sha256", 32), name("boot_aggregate"), sized(nil)), SHA256},
		{"a key in a keyring of that name", made("ima-buf", digest("sha256", 32), name("boot_aggregate"), sized([]byte("key"))), 0},
		{"a file whose path ends so", made("ima-ng", digest("sha256", 32), name("/tmp/boot_aggregate")), 0},
		{"digest of another size", made("ima-ng", digest("sha256", 31), name("boot_aggregate")), 0},
		{"legacy", slices.Concat([]byte{10, 0, 0, 0}, bytes.Repeat([]byte{1}, 20), sized([]byte("ima")), legacy), SHA1},
		{"violation", slices.Concat([]byte{10, 0, 0, 0}, make([]byte, 20), sized([]byte("ima")), legacy), 0},
	} {
		alg, _, ok := readAll(t, row.list, Format{Bank: SHA1})[0].BootAggregate()
		if ok != (row.alg != 0) || alg != row.alg {
			t.Errorf("%s: %s, %v", row.name, alg, ok)
		}
	}
}
