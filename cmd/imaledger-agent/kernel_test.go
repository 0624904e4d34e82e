package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/imaledger/imaledger/ledger/agent"
	"github.com/imaledger/imaledger/tpm"
	"github.com/imaledger/imaledger/tpm/ima"
	"github.com/imaledger/imaledger/tpm/securityfs"
)

// A fakeKernel does what Linux does with its list and a TPM (IMA-export-delete.rst,
// ima_fs.c). It also keeps every record it ever listed, boot by boot: no agent
// sees that.
type fakeKernel struct {
	t       testing.TB
	tpm     fakeTPM
	boots   int
	kernels int
	list    [][]byte // of which a program can delete
	staged  [][]byte
	history [][][]byte // of each boot
	flavour securityfs.Flavour
	hash    ima.Bank // of its digests, SHA-256 unless it is set

	bypass    bool // it found no TPM
	suspended bool
	busy      error // what opening gives
	reads     int
	onRead    func() // once, before the next read of the list
	onCount   func() // before each look at the number of records
	listed    int
}

// A fakeTPM is a TPM that a test has in its hands.
type fakeTPM interface {
	agent.TPM
	Extend(pcr int, digests map[ima.Bank][]byte) error
	Reset()
	Restart()
	Resume()
}

func newFakeKernel(t testing.TB, flavour securityfs.Flavour) *fakeKernel {
	t.Helper()
	soft, err := tpm.NewSoftware(rand.Reader, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return newFakeKernelOf(t, flavour, soft)
}

func newFakeKernelOf(t testing.TB, flavour securityfs.Flavour, device fakeTPM) *fakeKernel {
	t.Helper()
	k := &fakeKernel{t: t, tpm: device, flavour: flavour}
	k.start()
	return k
}

func (k *fakeKernel) bootID() (string, error) { return fmt.Sprintf("boot-%d", k.kernels), nil }

// start begins a boot whose TPM has been reset.
func (k *fakeKernel) start() {
	k.boots++
	k.kernels++
	k.suspended = false
	k.list, k.staged = nil, nil
	k.history = append(k.history, nil)
	k.aggregate()
}

func (k *fakeKernel) reboot() {
	k.tpm.Reset()
	k.start()
}

// kexec starts another kernel, which is given the list or not.
func (k *fakeKernel) kexec(carry bool) {
	k.kernels++
	k.suspended = false
	if carry {
		k.list = append(k.staged, k.list...)
	} else {
		k.list = nil
	}
	k.staged = nil
	k.aggregate()
}

// aggregate lists boot_aggregate.
func (k *fakeKernel) aggregate() {
	if k.hash == 0 {
		k.hash = ima.SHA256
	}
	selection := ima.Selection{{Bank: k.hash, PCRs: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}}}
	values, err := k.tpm.ReadPCRs(selection)
	if err != nil {
		k.t.Fatal(err)
	}
	digest, ok := ima.BootAggregate(k.hash, func(s ima.Slot) []byte { return values[s] })
	if !ok {
		k.t.Fatal("no boot_aggregate")
	}
	k.add(10, "boot_aggregate", digest)
}

func sized(b []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...)
}

// measure lists n files, each another one.
func (k *fakeKernel) measure(n int) {
	for range n {
		k.listed++
		k.add(10, fmt.Sprintf("/usr/bin/program-%d", k.listed), bytes.Repeat([]byte{byte(k.listed)}, k.hash.Size()))
	}
}

func (k *fakeKernel) add(pcr uint32, path string, digest []byte) {
	k.t.Helper()
	data := append(sized(append([]byte(k.hash.String()+":\x00"), digest...)), sized([]byte(path+"\x00"))...)
	stored := sha1.Sum(data)
	raw := append(binary.LittleEndian.AppendUint32(nil, pcr), stored[:]...)
	k.append(append(append(raw, sized([]byte("ima-ng"))...), sized(data)...))
}

// append lists a record, and extends its register.
func (k *fakeKernel) append(raw []byte) {
	k.t.Helper()
	k.list = append(k.list, raw)
	now := len(k.history) - 1
	k.history[now] = append(k.history[now], raw)
	rec, err := ima.NewReader(bytes.NewReader(raw), ima.Format{Bank: ima.SHA1}).Next()
	if err != nil {
		k.t.Fatal(err)
	}
	k.extend(int(rec.PCR), func(b ima.Bank) []byte { return rec.Sum(b, ima.KernelStyles()[b]) })
}

// violate lists a violation: zeros, and the registers are extended with ones.
func (k *fakeKernel) violate() {
	data := append(sized(append([]byte("sha256:\x00"), make([]byte, 32)...)), sized([]byte("/violated\x00"))...)
	raw := append(binary.LittleEndian.AppendUint32(nil, 10), make([]byte, 20)...)
	k.append(append(append(raw, sized([]byte("ima-ng"))...), sized(data)...))
}

// extend extends a register in every bank that the TPM has, as the kernel does.
func (k *fakeKernel) extend(pcr int, digest func(ima.Bank) []byte) {
	if k.bypass {
		return
	}
	banks, err := k.tpm.Banks()
	if err != nil {
		k.t.Fatal(err)
	}
	digests := make(map[ima.Bank][]byte)
	for _, b := range banks {
		digests[b] = digest(b)
	}
	if err := k.tpm.Extend(pcr, digests); err != nil {
		k.t.Fatal(err)
	}
}

// Count implements agent.Kernel.
func (k *fakeKernel) Count() (uint64, error) {
	if k.onCount != nil {
		k.onCount()
	}
	return uint64(len(k.list)), nil
}

// Read implements agent.Kernel. It gives what is there when it is read, as
// securityfs does, in small pieces.
func (k *fakeKernel) Read(from int64, f func(io.Reader) error) error {
	if k.busy != nil {
		return k.busy
	}
	k.reads++
	if k.onRead != nil {
		f := k.onRead
		k.onRead = nil
		f()
	}
	content := bytes.Join(k.list, nil)
	if from > int64(len(content)) {
		from = int64(len(content))
	}
	return f(io.LimitReader(&pieces{content[from:]}, int64(len(content))))
}

type pieces struct{ left []byte }

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), 100)], p.left)
	p.left = p.left[n:]
	return n, nil
}

// Stage implements agent.Kernel.
func (k *fakeKernel) Stage() error {
	switch {
	case k.busy != nil:
		return k.busy
	case k.suspended:
		return securityfs.ErrSuspended
	case len(k.staged) > 0:
		return securityfs.ErrStaged
	case len(k.list) == 0:
		return securityfs.ErrNothing
	}
	k.staged, k.list = k.list, nil
	return nil
}

// ReadStaged implements agent.Kernel.
func (k *fakeKernel) ReadStaged(f func(io.Reader) error) error {
	if k.busy != nil {
		return k.busy
	}
	return f(&pieces{bytes.Join(k.staged, nil)})
}

// DeleteStaged implements agent.Kernel.
func (k *fakeKernel) DeleteStaged(check func(io.Reader) error) error {
	if k.busy != nil {
		return k.busy
	}
	if err := check(&pieces{bytes.Join(k.staged, nil)}); err != nil {
		return err
	}
	switch {
	case k.suspended:
		return securityfs.ErrSuspended
	case len(k.staged) == 0:
		return securityfs.ErrNothing
	}
	k.staged = nil
	return nil
}

// DeleteFirst implements agent.Kernel.
func (k *fakeKernel) DeleteFirst(n uint64, check func(io.Reader) error) error {
	if k.busy != nil {
		return k.busy
	}
	if err := check(&pieces{bytes.Join(k.list, nil)}); err != nil {
		return err
	}
	switch {
	case k.suspended:
		return securityfs.ErrSuspended
	case n > uint64(len(k.list)):
		return securityfs.ErrNothing
	}
	k.list = k.list[n:]
	return nil
}
