package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/tpm"
	"github.com/imaledger/imaledger/tpm/quote"
	"github.com/imaledger/imaledger/tpm/securityfs"
)

// An eccFilter stands in front of swtpm's socket. Each TPM2_CreatePrimary of an ECC key
// is answered with its code, unless that is 0.
type eccFilter struct {
	code atomic.Uint32
	to   string
}

// filterECC listens at a socket for programs that use the TPM of another.
func filterECC(t *testing.T, listen, to string) *eccFilter {
	t.Helper()
	l, err := net.Listen("unix", listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f := &eccFilter{to: to}
	go func() {
		for { // one at a time, as swtpm serves them
			c, err := l.Accept()
			if err != nil {
				return
			}
			if err := f.serve(c); err != nil && !errors.Is(err, io.EOF) {
				t.Errorf("TPM: %v", err)
			}
		}
	}()
	return f
}

func (f *eccFilter) serve(c net.Conn) error {
	defer c.Close()
	device, err := net.Dial("unix", f.to)
	if err != nil {
		return err
	}
	defer device.Close()
	for {
		command, err := tpmMessage(c)
		if err != nil {
			return err
		}
		answer := binary.BigEndian.AppendUint32([]byte{0x80, 0x01, 0, 0, 0, 10}, f.code.Load())
		if f.code.Load() == 0 || !createsECC(command) {
			if _, err := device.Write(command); err != nil {
				return err
			}
			if answer, err = tpmMessage(device); err != nil {
				return err
			}
		}
		if _, err := c.Write(answer); err != nil {
			return err
		}
	}
}

// tpmMessage reads a command or a response: a tag, its size, and what follows.
func tpmMessage(r io.Reader) ([]byte, error) {
	b := make([]byte, 6)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	b = append(b, make([]byte, binary.BigEndian.Uint32(b[2:])-6)...)
	_, err := io.ReadFull(r, b[6:])
	return b, err
}

// createsECC reports whether a command is a TPM2_CreatePrimary of an ECC key: header,
// handle, sized authorisation, TPM2B inSensitive, TPM2B inPublic, which begins with the
// type (TPM 2.0 Part 3, section 24.1).
func createsECC(command []byte) bool {
	if binary.BigEndian.Uint32(command[6:]) != 0x131 {
		return false
	}
	at := 18 + int(binary.BigEndian.Uint32(command[14:]))
	at += 2 + int(binary.BigEndian.Uint16(command[at:]))
	return binary.BigEndian.Uint16(command[at+2:]) == 0x23
}

// Response codes of TPM2_CreatePrimary.
const (
	rcType    = 0x2ca // TPM_RC_TYPE of parameter 2: no ECC keys
	rcCurve   = 0x2e6 // TPM_RC_CURVE of parameter 2: not this curve
	rcLockout = 0x921
)

// A rsaHost is a host on a TPM that may refuse ECC keys.
type rsaHost struct {
	*world
	filter *eccFilter
	device *onSwtpm
	dir    string // of the kernel's lists
	config string
}

func newRSAHost(t *testing.T) *rsaHost {
	t.Helper()
	device := newSwtpm(t)
	h := &rsaHost{world: newWorldOf(t, newFakeKernelOf(t, securityfs.ReadOnly, device)), device: device, dir: t.TempDir()}
	sockets, err := os.MkdirTemp("", "tpm") // its path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockets) })
	h.filter = filterECC(t, filepath.Join(sockets, "tpm"), device.s.Socket())
	h.writeTrust(filepath.Join(h.dir, "trust"))
	h.config = filepath.Join(h.dir, "agent.conf")
	conf := fmt.Sprintf("ledger %s\nhost h.example\nsecurityfs %s\ntpm %s\ntrust %s\nstate %s\nrun %s\n",
		h.client.Base, h.dir, filepath.Join(sockets, "tpm"), filepath.Join(h.dir, "trust"), h.world.dir, filepath.Join(h.dir, "run"))
	if err := os.WriteFile(h.config, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	return h
}

// agent starts the agent on what the kernel lists now.
func (h *rsaHost) agent(args ...string) (code int, stdout, stderr string) {
	h.t.Helper()
	h.kernel.securityfs(h.dir)
	h.device.release()
	defer h.device.open()
	return tool(h.t.(*testing.T), append(args, "--config", h.config)...)
}

func (h *rsaHost) mustSeal(args ...string) {
	h.t.Helper()
	if code, out, stderr := h.agent(append([]string{"once"}, args...)...); code != cli.ExitOK {
		h.t.Fatalf("once: exit %d\n%s%s", code, out, stderr)
	}
}

// aks returns the kinds of the keys that the host was enrolled with.
func (h *rsaHost) aks() string {
	h.t.Helper()
	entries, err := filepath.Glob(filepath.Join(h.world.dir, "chain", "*.entry"))
	if err != nil {
		h.t.Fatal(err)
	}
	var kinds []string
	for _, name := range entries {
		raw, err := os.ReadFile(name)
		if err != nil {
			h.t.Fatal(err)
		}
		entry, err := ledger.ParseEntry(raw)
		if err != nil {
			h.t.Fatal(err)
		}
		e, ok := entry.(*ledger.Enrolment)
		if !ok {
			continue
		}
		ak, err := quote.ParseAK(e.AKPublic)
		if err != nil {
			h.t.Fatal(err)
		}
		kinds = append(kinds, strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", ak.Public), "*")))
	}
	return strings.Join(kinds, " ")
}

// TestRSAOnly: a host whose TPM has no ECC is enrolled with an RSA key, its segments
// verify, and it has the same key after a restart, and when its firmware has learned ECC.
func TestRSAOnly(t *testing.T) {
	h := newRSAHost(t)
	h.filter.code.Store(rcType)
	h.kernel.measure(5)
	if code, out, stderr := h.agent("check"); code != cli.ExitOK || !strings.Contains(out, "RSA 2048") {
		t.Errorf("check: exit %d\n%s%s", code, out, stderr)
	}
	h.mustSeal()
	h.kernel.measure(3)
	h.mustSeal()
	h.kernel.measure(2)
	h.filter.code.Store(rcCurve)
	h.mustSeal()
	h.filter.code.Store(0)
	h.kernel.measure(2)
	h.mustSeal()
	if n := h.whole(); n != 6+3+2+2 {
		t.Errorf("%d records sealed, want 13", n)
	}
	if got := h.aks(); got != "rsa.publickey" {
		t.Errorf("enrolled with %q, want one RSA key", got)
	}
}

// TestECCStays: a host that is enrolled with an ECC key is not enrolled with another
// one because its TPM refuses, for a while or from now on. An operator can say so.
func TestECCStays(t *testing.T) {
	h := newRSAHost(t)
	h.kernel.measure(2)
	h.filter.code.Store(rcLockout)
	if code, _, stderr := h.agent("once"); code != cli.ExitUndecided || !strings.Contains(stderr, tpm.ErrLockout.Error()) {
		t.Errorf("once: exit %d\n%s", code, stderr)
	}
	h.filter.code.Store(0)
	h.mustSeal()
	h.kernel.measure(2)
	for code, want := range map[uint32]error{rcLockout: tpm.ErrLockout, rcType: tpm.ErrNoECC, rcCurve: tpm.ErrNoECC} {
		h.filter.code.Store(code)
		if code, _, stderr := h.agent("once"); code != cli.ExitUndecided || !strings.Contains(stderr, want.Error()) {
			t.Errorf("once: exit %d, want %q\n%s", code, want, stderr)
		}
	}
	if got := h.aks(); got != "ecdsa.publickey" {
		t.Errorf("enrolled with %q, want one ECC key", got)
	}
	h.filter.code.Store(0)
	h.mustSeal()
	h.kernel.measure(1)
	h.mustSeal("--ak", akRSA)
	h.filter.code.Store(rcType)
	h.kernel.measure(1)
	h.mustSeal()
	if n := h.whole(); n != 3+2+1+1 {
		t.Errorf("%d records sealed, want 7", n)
	}
	if got := h.aks(); got != "ecdsa.publickey rsa.publickey" {
		t.Errorf("enrolled with %q, want an ECC key and then an RSA key", got)
	}
}
