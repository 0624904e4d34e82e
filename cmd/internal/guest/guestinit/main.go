// Guestinit is the first program of a test's guest: it sets the machine up, dials
// the test, and does what that tells it.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/imaledger/imaledger/cmd/internal/guest"
)

func main() {
	if os.Getpid() != 1 { // a unit of systemd, which ends the machine
		if err := dial(); err != nil {
			fmt.Println("guestinit:", err)
			os.Exit(1)
		}
		return
	}
	err := boot()
	if err == nil {
		err = start()
	}
	if err != nil {
		fmt.Println("guestinit:", err)
	}
	syscall.Sync()
	syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
}

// start hands over to systemd in guests that have it.
func start() error {
	if _, err := os.Stat(guest.SystemdPath); errors.Is(err, os.ErrNotExist) {
		return dial()
	}
	for _, dir := range []string{"/var/tmp", "/var/log"} { // which every Debian has
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return syscall.Exec(guest.SystemdPath, []string{guest.SystemdPath}, []string{"PATH=/usr/bin:/bin"})
}

// boot mounts and loads what a machine needs.
func boot() error {
	for _, m := range [][3]string{
		{"proc", "/proc", "proc"}, {"sysfs", "/sys", "sysfs"}, {"devtmpfs", "/dev", "devtmpfs"},
		{"securityfs", "/sys/kernel/security", "securityfs"}, {"tmpfs", "/tmp", "tmpfs"}, {"tmpfs", "/run", "tmpfs"}, {"tmpfs", "/measured", "tmpfs"},
	} {
		if err := syscall.Mount(m[0], m[1], m[2], 0, ""); err != nil && !errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("mount %s: %w", m[1], err)
		}
	}
	modules, err := filepath.Glob(guest.ModuleDir + "/*")
	if err != nil {
		return err
	}
	for _, m := range modules {
		if err := loadModule(m); err != nil {
			return fmt.Errorf("module %s: %w", m, err)
		}
	}
	if err := mountDisk(); err != nil {
		return err
	}
	if err := network(); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	return nil
}

// dial finds the test by the command line, and serves it.
func dial() error {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	for _, word := range strings.Fields(string(line)) {
		if address, ok := strings.CutPrefix(word, guest.DialKey+"="); ok {
			return serve(address)
		}
	}
	return errors.New("nobody to dial on the command line")
}

// finitModule is finit_module(2) on x86-64.
const finitModule = 313

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	empty := []byte{0}
	_, _, errno := syscall.Syscall(finitModule, f.Fd(), uintptr(unsafe.Pointer(&empty[0])), 0)
	if errno != 0 && errno != syscall.EEXIST {
		return errno
	}
	return nil
}

func mountDisk() error {
	for range 2000 {
		err := syscall.Mount("/dev/vda", "/var", "ext4", 0, "")
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ENXIO) {
			return fmt.Errorf("mount /var: %w", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("no disk")
}

// network sets up lo and eth0 with the address that QEMU expects.
func network() error {
	s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(s)
	type request struct {
		name [16]byte
		data [24]byte
	}
	ioctl := func(op uintptr, name string, data ...byte) error {
		var r request
		copy(r.name[:], name)
		copy(r.data[:], data)
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(s), op, uintptr(unsafe.Pointer(&r))); errno != 0 {
			return fmt.Errorf("%s: %w", name, errno)
		}
		return nil
	}
	up := byte(syscall.IFF_UP | syscall.IFF_RUNNING)
	if err := ioctl(syscall.SIOCSIFFLAGS, "lo", up); err != nil {
		return err
	}
	if err := ioctl(syscall.SIOCSIFFLAGS, "eth0", up); err != nil {
		return err
	}
	address := func(a, b, c, d byte) []byte { return []byte{syscall.AF_INET, 0, 0, 0, a, b, c, d} }
	if err := ioctl(syscall.SIOCSIFADDR, "eth0", address(10, 0, 2, 15)...); err != nil {
		return err
	}
	return ioctl(syscall.SIOCSIFNETMASK, "eth0", address(255, 255, 255, 0)...)
}

func serve(address string) error {
	var conn net.Conn
	var err error
	for range 1000 {
		if conn, err = net.Dial("tcp", address); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	g := &machine{started: make(map[int]*exec.Cmd)}
	for {
		var r guest.Request
		if err := in.Decode(&r); err != nil {
			return fmt.Errorf("the test hung up: %w", err)
		}
		if r.Op == guest.OpPowerOff && os.Getpid() != 1 {
			return exec.Command("/bin/systemctl", "poweroff").Run()
		}
		if r.Op == guest.OpPowerOff {
			return errors.Join(syscall.Unmount("/var", 0), conn.Close())
		}
		answer, err := g.do(r)
		if err != nil {
			answer = &guest.Response{Error: err.Error()}
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
		if (r.Op == guest.OpKexec || r.Op == guest.OpKexecLost) && err == nil {
			conn.Close()
			return errors.Join(syscall.Unmount("/var", 0), kexec())
		}
	}
}

// A machine is what is open and running.
type machine struct {
	started map[int]*exec.Cmd
	held    []*os.File
	files   int
	last    string // of them
}

func (g *machine) do(r guest.Request) (*guest.Response, error) {
	switch r.Op {
	case guest.OpRun:
		return g.run(r)
	case guest.OpStart:
		return g.start(r)
	case guest.OpSignal:
		return &guest.Response{}, syscall.Kill(r.PID, syscall.Signal(r.Number))
	case guest.OpWait:
		c := g.started[r.PID]
		if c == nil {
			return nil, fmt.Errorf("process %d was not started here", r.PID)
		}
		delete(g.started, r.PID)
		return code(c.Wait())
	case guest.OpRead:
		b, err := os.ReadFile(r.Path)
		return &guest.Response{Stdout: b}, err
	case guest.OpList:
		entries, err := os.ReadDir(r.Path)
		var names []byte
		for _, e := range entries {
			names = fmt.Appendln(names, e.Name())
		}
		return &guest.Response{Stdout: names}, err
	case guest.OpWrite:
		if err := os.MkdirAll(filepath.Dir(r.Path), 0o755); err != nil {
			return nil, err
		}
		return &guest.Response{}, os.WriteFile(r.Path, r.Data, 0o755)
	case guest.OpMeasure:
		return &guest.Response{}, g.measure(r)
	case guest.OpAgain:
		return &guest.Response{}, again(g.last)
	case guest.OpViolate:
		return &guest.Response{}, g.violate()
	case guest.OpHold:
		f, err := os.Open(r.Path)
		if err == nil {
			g.held = append(g.held, f)
		}
		return &guest.Response{}, err
	case guest.OpRelease:
		for _, f := range g.held {
			f.Close()
		}
		g.held = nil
		return &guest.Response{}, nil
	case guest.OpCommand:
		f, err := os.OpenFile(r.Path, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		_, err = f.Write([]byte(r.Text))
		return &guest.Response{}, errors.Join(err, f.Close())
	case guest.OpGive:
		return &guest.Response{}, errors.Join(os.Chown(r.Path, r.Number, r.Number), os.Chmod(r.Path, 0o660))
	case guest.OpSend:
		return send(r.Path, r.Data)
	case guest.OpMount:
		if err := os.MkdirAll(r.Path, 0o755); err != nil {
			return nil, err
		}
		return &guest.Response{}, syscall.Mount("tmpfs", r.Path, "tmpfs", uintptr(r.Number), r.Text)
	case guest.OpKexec, guest.OpKexecLost:
		return &guest.Response{}, loadKexec(r)
	}
	return nil, fmt.Errorf("unknown op %q", r.Op)
}

// send sends a command to the TPM. An os.File would be read without waiting, and then
// there may be no answer yet.
func send(path string, command []byte) (*guest.Response, error) {
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(fd)
	if _, err := syscall.Write(fd, command); err != nil {
		return nil, err
	}
	b := make([]byte, 4096)
	n, err := syscall.Read(fd, b)
	return &guest.Response{Stdout: b[:max(n, 0)]}, err
}

func (g *machine) run(r guest.Request) (*guest.Response, error) {
	c := exec.Command(r.Args[0], r.Args[1:]...)
	c.Env = append([]string{"HOME=/tmp", "PATH=/usr/bin:/bin"}, r.Env...)
	c.Stdin = bytes.NewReader(r.Data)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := startBound(c, r.Capabilities)
	if err == nil {
		err = c.Wait()
	}
	answer, err := code(err)
	if err != nil {
		return nil, err
	}
	answer.Stdout, answer.Stderr = stdout.Bytes(), stderr.Bytes()
	return answer, nil
}

// prctl(2), PR_CAPBSET_DROP, and the last capability there is.
const (
	capabilityDrop = 24
	lastCapability = 40
)

// startBound starts a program that can have no other capabilities than these, as
// CapabilityBoundingSet= of systemd has it. nil are all.
func startBound(c *exec.Cmd, capabilities []int) error {
	if capabilities == nil {
		return c.Start()
	}
	started := make(chan error)
	go func() {
		// The thread is not unlocked, so that it ends with this.
		runtime.LockOSThread()
		var err error
		for n := range lastCapability + 1 {
			if slices.Contains(capabilities, n) {
				continue
			}
			if _, _, errno := syscall.Syscall(syscall.SYS_PRCTL, capabilityDrop, uintptr(n), 0); errno != 0 {
				err = errors.Join(err, fmt.Errorf("capability %d: %w", n, errno))
			}
		}
		if err == nil {
			err = c.Start()
		}
		started <- err
	}()
	return <-started
}

// code makes an exit code of what Wait returned.
func code(err error) (*guest.Response, error) {
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return &guest.Response{Code: exit.ExitCode()}, nil
	case err != nil:
		return nil, err
	}
	return &guest.Response{}, nil
}

func (g *machine) start(r guest.Request) (*guest.Response, error) {
	out, err := os.Create(r.Path)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	c := exec.Command(r.Args[0], r.Args[1:]...)
	c.Env = append([]string{"HOME=/tmp", "PATH=/bin"}, r.Env...)
	c.Stdout, c.Stderr = out, out
	if err := startBound(c, r.Capabilities); err != nil {
		return nil, err
	}
	g.started[c.Process.Pid] = c
	return &guest.Response{PID: c.Process.Pid}, nil
}

// measure makes files and reads them, which a policy's rule measures.
func (g *machine) measure(r guest.Request) error {
	for range r.Number {
		g.files++
		path := fmt.Sprintf("/measured/%s-%d", r.Text, g.files)
		owner := guest.MeasuredOwner
		if r.PID != 0 {
			owner = r.PID
		}
		if err := os.WriteFile(path, fmt.Appendf(nil, "%s %d %d", r.Text, g.files, time.Now().UnixNano()), 0o644); err != nil {
			return err
		}
		if err := os.Chown(path, owner, 0); err != nil {
			return err
		}
		if _, err := os.ReadFile(path); err != nil {
			return err
		}
		g.last = path
	}
	return nil
}

// again writes a file anew, with what it has, so that IMA looks at it once more.
func again(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		return err
	}
	_, err = os.ReadFile(path)
	return err
}

// violate reads a file that is open for writing.
func (g *machine) violate() error {
	g.files++
	path := fmt.Sprintf("/measured/violated-%d", g.files)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chown(guest.MeasuredOwner, 0); err != nil {
		return err
	}
	if _, err := f.WriteString("x"); err != nil {
		return err
	}
	_, err = os.ReadFile(path)
	return err
}
