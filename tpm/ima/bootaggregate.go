package ima

import "bytes"

// Names of the record that a boot begins with (ima_init.c): a digest over the
// registers that firmware and boot loader extended.
const (
	bootAggregate     = "boot_aggregate"
	bootAggregateLate = "boot_aggregate_late"
)

// BootAggregate reports whether the record is a boot_aggregate, and its digest
// with the algorithm, which is that of a bank. A violation is none, nor is a
// buffer of that name: a key is measured under its keyring's name, which any
// process can choose.
func (r *Record) BootAggregate() (alg Bank, digest []byte, ok bool) {
	// Nearly no record is one, and taking each apart would cost as much as
	// hashing it.
	if !bytes.Contains(r.Data, []byte(bootAggregate)) {
		return 0, nil, false
	}
	f, err := r.Fields()
	if err != nil || !f.Bound || len(f.Buf) > 0 || string(f.Path) != bootAggregate && string(f.Path) != bootAggregateLate {
		return 0, nil, false
	}
	alg, ok = bankOfAlgorithm(f.Digest.Algorithm)
	if !ok || len(f.Digest.Digest) != alg.Size() {
		return 0, nil, false
	}
	return alg, f.Digest.Digest, true
}

// BootAggregate returns the digest that boot_aggregate has over the given
// register values of the bank alg: PCR 0 to 7 for SHA-1, PCR 0 to 9 for any
// other (ima_calc_boot_aggregate_tfm). It is false where a value is missing.
func BootAggregate(alg Bank, value func(Slot) []byte) (digest []byte, ok bool) {
	if !alg.Available() {
		return nil, false
	}
	last := 9
	if alg == SHA1 {
		last = 7
	}
	h := alg.New()
	for pcr := 0; pcr <= last; pcr++ {
		v := value(Slot{alg, pcr})
		if len(v) != alg.Size() {
			return nil, false
		}
		h.Write(v)
	}
	return h.Sum(nil), true
}
