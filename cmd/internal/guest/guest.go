// Package guest boots real Linux machines with IMA and a software TPM, so that a
// test sees what a host sees. It needs qemu-system-x86, swtpm and mke2fs; a boot
// takes some seconds without virtualisation. The guest's init is the program in
// guestinit, which dials this process and does what it is told.
//
// A power cut is a killed QEMU: the guest's memory is gone, and of its disk there
// is what it has flushed.
package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// hostAddress is this machine's loopback interface as the guest sees it.
const hostAddress = "10.0.2.2"

// Patience ends a test that would never end; it is no bound on how fast an emulated
// machine must be on a host that has more to do.
const Patience = 10 * time.Minute

const (
	diskSize = "128M"
)

// A Kernel is what a guest boots.
type Kernel struct {
	Name    string
	Image   string   // bzImage
	Modules []string // files, in the order in which they are loaded
	Staging bool     // its IMA can stage records
}

// A Machine is a guest's hardware: its disk and its TPM outlive a boot.
type Machine struct {
	Kernel  Kernel
	Dir     string   // its disk, its TPM's state and its console
	Append  string   // to the kernel's command line
	Files   []File   // in its root file system, besides init
	Memory  int      // MiB, 0 for 512
	Clock   string   // of its real-time clock at the next boot, such as 2016-06-17T16:01:21; empty for now
	current *booted  // nil while it is off
	Banks   []string // PCR banks of a new TPM, nil for SHA-1 and SHA-256
}

// A booted machine.
type booted struct {
	qemu, swtpm *exec.Cmd
	control     *control
	listener    net.Listener
	conn        net.Conn
	in          *json.Decoder
	out         *json.Encoder
	exited      chan struct{}
}

// URL returns where the guest reaches a server on this machine's loopback.
func URL(port int) string { return fmt.Sprintf("http://%s:%d", hostAddress, port) }

func (m *Machine) disk() string { return filepath.Join(m.Dir, "disk") }
func (m *Machine) tpm() string  { return filepath.Join(m.Dir, "tpm") }

// Console returns what the guest printed in all its boots.
func (m *Machine) Console() string {
	b, err := os.ReadFile(filepath.Join(m.Dir, "console"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Boot starts the machine and waits until its init answers.
func (m *Machine) Boot() (err error) {
	if m.current != nil {
		return errors.New("it runs already")
	}
	b := &booted{exited: make(chan struct{})}
	if b.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	m.current = b
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w; console:\n%s", err, tail(m.Console()))
			m.Kill()
		}
	}()
	if err := m.prepare(); err != nil {
		return err
	}
	initrd := filepath.Join(m.Dir, "initrd")
	if err := m.writeInitrd(initrd); err != nil {
		return err
	}
	if err := m.startTPM(); err != nil {
		return err
	}
	if err := m.startQEMU(initrd); err != nil {
		return err
	}
	return b.accept()
}

func tail(s string) string { return s[max(0, len(s)-4000):] }

// prepare makes the disk and the TPM of a new machine.
func (m *Machine) prepare() error {
	if _, err := os.Stat(m.disk()); errors.Is(err, os.ErrNotExist) {
		if err := run("truncate", "-s", diskSize, m.disk()); err != nil {
			return err
		}
		if err := run("/sbin/mke2fs", "-q", "-F", "-t", "ext4", m.disk()); err != nil {
			return err
		}
	}
	if _, err := os.Stat(filepath.Join(m.tpm(), "tpm2-00.permall")); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return m.NewTPM()
}

// NewTPM gives the machine a new TPM, with a certificate of swtpm's authority.
func (m *Machine) NewTPM() error {
	if err := os.RemoveAll(m.tpm()); err != nil {
		return err
	}
	if err := os.MkdirAll(m.tpm(), 0o700); err != nil {
		return err
	}
	banks := "sha1,sha256"
	if m.Banks != nil {
		banks = strings.Join(m.Banks, ",")
	}
	return run("swtpm_setup", "--tpm2", "--tpmstate", m.tpm(), "--create-ek-cert", "--lock-nvram", "--pcr-banks", banks, "--overwrite")
}

// run runs a program that is soon done.
func run(name string, args ...string) error { return runEnv(nil, name, args...) }

func runEnv(env []string, name string, args ...string) error {
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), env...)
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// output returns the words that a program prints.
func output(name string, args ...string) ([]string, error) {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return strings.Fields(string(out)), nil
}

func (m *Machine) startTPM() error {
	socket := filepath.Join(m.Dir, "tpm.sock")
	c := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+m.tpm(), "--ctrl", "type=unixio,path="+socket)
	if err := c.Start(); err != nil {
		return err
	}
	m.current.swtpm = c
	var err error
	if !Wait(Patience, func() bool {
		m.current.control, err = startControl(m.path("qemu.sock"), socket)
		return err == nil
	}) {
		return fmt.Errorf("swtpm does not take connections: %w", err)
	}
	return nil
}

func (m *Machine) path(name string) string { return filepath.Join(m.Dir, name) }

func (m *Machine) startQEMU(initrd string) error {
	memory := m.Memory
	if memory == 0 {
		memory = 512
	}
	port := m.current.listener.Addr().(*net.TCPAddr).Port
	console, err := os.OpenFile(filepath.Join(m.Dir, "console"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer console.Close()
	clock := m.Clock
	if clock == "" {
		clock = "utc"
	}
	c := exec.Command("qemu-system-x86_64", "-rtc", "base="+clock, "-accel", "tcg", "-m", fmt.Sprint(memory), "-display", "none", "-nodefaults", "-no-reboot",
		"-serial", "stdio", "-qmp", "unix:"+m.path("qmp.sock")+",server=on,wait=off", "-device", "virtio-rng-pci",
		"-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,romfile=",
		"-drive", "file="+m.disk()+",if=virtio,format=raw,cache=writethrough",
		"-chardev", "socket,id=t0,path="+m.path("qemu.sock"), "-tpmdev", "emulator,id=tpm0,chardev=t0", "-device", "tpm-tis,tpmdev=tpm0",
		"-kernel", m.Kernel.Image, "-initrd", initrd, "-append", m.commandLine(port))
	c.Stdout, c.Stderr = console, console
	if err := c.Start(); err != nil {
		return err
	}
	m.current.qemu = c
	go func(b *booted) {
		c.Wait() // how it ends is the caller's matter
		b.listener.Close()
		close(b.exited)
	}(m.current)
	return nil
}

func (m *Machine) commandLine(port int) string {
	// An emulated timer may be late on a busy host. A kernel takes that for a broken one,
	// and stops; or it takes the processor for a slow one, and its clock runs too fast.
	return fmt.Sprintf("console=ttyS0 panic=-1 quiet no_timer_check tsc=unstable clocksource=hpet %s=%s:%d %s", dialKey, hostAddress, port, m.Append)
}

// accept waits for the guest's init.
func (b *booted) accept() error {
	l := b.listener.(*net.TCPListener)
	if err := l.SetDeadline(time.Now().Add(Patience)); err != nil {
		return err
	}
	conn, err := l.Accept()
	if err != nil {
		return fmt.Errorf("the guest's init did not answer: %w", err)
	}
	b.conn, b.in, b.out = conn, json.NewDecoder(conn), json.NewEncoder(conn)
	return nil
}

// Kill is a power cut.
func (m *Machine) Kill() {
	b := m.current
	if b == nil {
		return
	}
	m.current = nil
	if b.conn != nil {
		b.conn.Close()
	}
	b.listener.Close()
	if b.qemu != nil {
		b.qemu.Process.Kill() // it may have ended
		<-b.exited
	}
	if b.control != nil {
		b.control.stop()
	}
	if b.swtpm != nil {
		b.swtpm.Process.Kill() // likewise
		b.swtpm.Wait()
	}
	os.Remove(m.path("tpm.sock")) // swtpm makes it anew
}

// PowerOff ends the machine in order.
func (m *Machine) PowerOff() error {
	b := m.current
	if b == nil {
		return nil
	}
	if err := b.out.Encode(Request{Op: OpPowerOff}); err != nil {
		return err
	}
	return m.AwaitOff()
}

// AwaitOff waits until the machine has powered itself off.
func (m *Machine) AwaitOff() error {
	select {
	case <-m.current.exited:
	case <-time.After(Patience):
		return errors.New("the guest did not power off; console:\n" + tail(m.Console()))
	}
	m.Kill() // what is left
	return nil
}

// Call has the guest's init do something.
func (m *Machine) Call(r Request) (*Response, error) {
	b := m.current
	if b == nil {
		return nil, errors.New("the machine is off")
	}
	if err := b.conn.SetDeadline(time.Now().Add(Patience)); err != nil {
		return nil, err
	}
	if err := b.out.Encode(r); err != nil {
		return nil, fmt.Errorf("%s: %w; console:\n%s", r.Op, err, tail(m.Console()))
	}
	var answer Response
	if err := b.in.Decode(&answer); err != nil {
		return nil, fmt.Errorf("%s: %w; console:\n%s", r.Op, err, tail(m.Console()))
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("%s: %s", r.Op, answer.Error)
	}
	return &answer, nil
}

// Kexec starts the same kernel in place of the running one. With carry the kernel
// carries its list of measurements over, if it can.
func (m *Machine) Kexec(carry bool) error {
	b := m.current
	if b == nil {
		return errors.New("the machine is off")
	}
	image, err := os.ReadFile(m.Kernel.Image)
	if err != nil {
		return err
	}
	initrd, err := os.ReadFile(filepath.Join(m.Dir, "initrd"))
	if err != nil {
		return err
	}
	for path, content := range map[string][]byte{kexecKernel: image, kexecInitrd: initrd} {
		if _, err := m.Call(Request{Op: OpWrite, Path: path, Data: content}); err != nil {
			return err
		}
	}
	op := OpKexec
	if !carry {
		op = OpKexecLost
	}
	port := b.listener.Addr().(*net.TCPAddr).Port
	if _, err := m.Call(Request{Op: op, Text: m.commandLine(port)}); err != nil {
		return err
	}
	b.conn.Close()
	if err := b.accept(); err != nil {
		return fmt.Errorf("%w; console:\n%s", err, tail(m.Console()))
	}
	return nil
}
