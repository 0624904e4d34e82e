package audit_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm/ima"
)

// TestRecordsNotBefore: only where a segment goes on from what the one before
// quoted is its first record younger than that quote.
func TestRecordsNotBefore(t *testing.T) {
	w, h := small(t)
	r := w.check(w.bundle(nil))
	if s := r.Segments[1]; s.RecordsNotBefore == 0 || s.RecordsNotBefore != r.Segments[0].NotBefore {
		t.Errorf("goes on: not before %d, the one before %d", s.RecordsNotBefore, r.Segments[0].NotBefore)
	}

	// A gap may begin at values from before the last quote, and list records again
	// that were sealed long ago.
	earlier := baseOf(segmentAt(t, w, 2)) // of records 5 to 24; 25 to 44 are sealed too
	start := len(slices.Concat(recordsIn(t, h.list)[:25]...))
	first := h.last.First + h.last.Count
	h.measure(5)
	h.submit(h.assembleAs(func(in *agentInput) {
		in.Gap, in.Base, in.First, in.List = "unknown", earlier, first, bytes.NewReader(h.list[start:h.extended])
		w.keep(ledger.FolderPayloads, h.list[start:h.extended])
	}))
	r = w.check(w.bundle(nil))
	refuse(t, r, ledger.Gap)
	if s := r.Segments[3]; r.Class() != ledger.Undecided || s.RecordsNotBefore != 0 || s.Count != 25 {
		t.Errorf("after a gap: %d records not before %d; %v", s.Count, s.RecordsNotBefore, r.Findings)
	}
}

// TestRegisterNotQuotedBefore: a record of a register that the last quote left out
// may be older than that quote.
func TestRegisterNotQuotedBefore(t *testing.T) {
	w := newWorld(t)
	h := w.newHost("stock", "stock-6.1/boot1/cut1")
	list := readFile(t, recordings+"stock-6.1/boot1/cut4/binary_runtime_measurements")
	records := recordsIn(t, list)
	hidden := slices.Clone(records[5])
	hidden[0] = 11
	h.reboot(slices.Concat(append(slices.Clone(records[:5]), hidden)...))
	h.measure(6) // the one of PCR 11 too, but the host does not list it yet
	one := ima.Selection{{Bank: ima.SHA1, PCRs: []int{10}}, {Bank: ima.SHA256, PCRs: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}}
	h.extended = len(slices.Concat(records[:5]...))
	h.submit(h.assemble(0, one))
	h.extended = len(h.list)
	h.seal(0)
	r := w.check(w.bundle(nil))
	if s := r.Segments[1]; len(r.Findings) > 0 || s.Count != 1 || s.RecordsNotBefore != 0 {
		t.Errorf("%d records not before %d; %v", s.Count, s.RecordsNotBefore, r.Findings)
	}
}

// TestManyKexecs: root can extend a boot_aggregate as often as it likes, and a
// report does not grow with it.
func TestManyKexecs(t *testing.T) {
	w, h := small(t)
	first := recordsIn(t, h.list)[0]
	h.list = append(slices.Clone(h.list[:h.extended]), bytes.Repeat(first, 5000)...)
	h.measure(5000)
	h.seal(0)
	r := w.check(w.bundle(nil))
	if s := r.Segments[3]; r.Class() != ledger.Noted || s.Kexecs != 5000 || len(r.Findings) != 100 {
		t.Errorf("%d kexecs, %d findings", s.Kexecs, len(r.Findings))
	}
	if last := r.Findings[99].Text; !strings.Contains(last, "are not listed") {
		t.Errorf("the last one says %q", last)
	}
}

// TestKexecRecords: what the kernel says of a kexec, how many records it carries
// and that it is about to jump, is bound as any record is and is believed in
// nothing else: a kexec is a second boot_aggregate.
func TestKexecRecords(t *testing.T) {
	for name, events := range map[string][][2]string{
		"loaded, not executed":      {{"kexec_load", "kexec_segment_size=1048576;ima_binary_runtime_size=9000;ima_runtime_measurements_count=53;"}},
		"executed, not loaded":      {{"kexec_execute", "kexec_segment_size=1048576;ima_binary_runtime_size=9000;ima_runtime_measurements_count=53;"}},
		"counts that disagree":      {{"kexec_load", "ima_runtime_measurements_count=53;"}, {"kexec_execute", "ima_runtime_measurements_count=2;"}},
		"a count that is no number": {{"kexec_load", "ima_runtime_measurements_count=-9223372036854775809;"}},
	} {
		t.Run(name, func(t *testing.T) {
			w, h := small(t)
			w.t = t
			h.list = slices.Clone(h.list[:h.extended])
			for _, e := range events {
				h.list = append(h.list, bufferRecord(e[0], e[1])...)
			}
			h.measure(len(events))
			h.seal(0)
			r := w.check(w.bundle(nil))
			if s := r.Segments[3]; len(r.Findings) > 0 || s.Kexecs != 0 || s.Count != uint64(len(events)) {
				t.Errorf("%d kexecs in %d records; %v", s.Kexecs, s.Count, r.Findings)
			}
		})
	}
}

// bufferRecord is critical data as the kernel lists it, in a list with SHA-1 digests.
func bufferRecord(name, buffer string) []byte {
	field := func(b ...[]byte) []byte {
		content := slices.Concat(b...)
		return append(binary.LittleEndian.AppendUint32(nil, uint32(len(content))), content...)
	}
	digest := sha256.Sum256([]byte(buffer))
	data := slices.Concat(field([]byte("sha256:\x00"), digest[:]), field([]byte(name+"\x00")), field([]byte(buffer)))
	listed := sha1.Sum(data)
	return slices.Concat([]byte{10, 0, 0, 0}, listed[:], field([]byte("ima-buf")), field(data))
}

// TestDaysThatNoClockReaches: a policy of so many days keeps for ever, and is not
// one of few by an overflow.
func TestDaysThatNoClockReaches(t *testing.T) {
	for _, days := range []uint64{1 << 62 / 86400, math.MaxInt64 / 86400, math.MaxUint64/86400 + 1, math.MaxInt64} {
		t.Run(fmt.Sprint(days), func(t *testing.T) {
			w, _ := small(t)
			w.t = t
			p := w.retain(1, days)
			w.now = w.now.Add(1000 * day)
			w.erase(p)
			refuse(t, w.check(w.bundle(nil)), ledger.StatementInvalid)
		})
	}
}

// TestContradictedStatesNothing: nobody reads a statement that a finding refutes.
func TestContradictedStatesNothing(t *testing.T) {
	w, h := small(t)
	if r := w.check(w.bundle(nil)); len(r.Statements()) == 0 {
		t.Error("good evidence states nothing")
	}
	h.measure(5)
	h.alter = func(s *ledger.Segment) { s.First++ }
	h.seal(0)
	if r := w.check(w.bundle(nil)); r.Class() != ledger.Contradicted || len(r.Statements()) > 0 {
		t.Errorf("%s: %q", r.Class(), r.Statements())
	}
}
