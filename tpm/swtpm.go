package tpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/go-tpm/tpm2"
)

// A Swtpm is a running swtpm: a TPM 2.0 in software, as virtual machines have
// it. It serves tests and the demonstration.
type Swtpm struct {
	cmd     *exec.Cmd
	sockets string
	log     bytes.Buffer
}

// SwtpmAvailable reports whether the programs are installed.
func SwtpmAvailable() bool {
	_, err := exec.LookPath("swtpm")
	return err == nil
}

// startPatience is how long swtpm may take to open its sockets.
const startPatience = 10 * time.Second

// StartSwtpm starts swtpm over the state in dir, which is made if it is missing.
// Stop ends it.
func StartSwtpm(dir string) (*Swtpm, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// The path of a Unix socket has at most 107 bytes, which dir may exceed.
	sockets, err := os.MkdirTemp("", "swtpm")
	if err != nil {
		return nil, err
	}
	s := &Swtpm{sockets: sockets}
	s.cmd = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+dir,
		"--server", "type=unixio,path="+s.Socket(), "--ctrl", "type=unixio,path="+s.control(), "--flags", "not-need-init,startup-clear")
	s.cmd.Stderr = &s.log
	// In a group of its own: what interrupts this program from a terminal lets it
	// end its work with the TPM first.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start swtpm: %w", err), os.RemoveAll(sockets))
	}
	// It opens the one for control first.
	for _, socket := range []string{s.control(), s.Socket()} {
		if err := awaitSocket(socket); err != nil {
			return nil, errors.Join(fmt.Errorf("swtpm did not open its sockets: %w: %s", err, s.log.String()), s.Stop())
		}
	}
	return s, nil
}

// awaitSocket waits until the Unix socket takes connections.
func awaitSocket(path string) error {
	for until := time.Now().Add(startPatience); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("unix", path)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(until) {
			return err
		}
	}
}

// Socket returns the path to give to Open.
func (s *Swtpm) Socket() string { return filepath.Join(s.sockets, "tpm") }

func (s *Swtpm) control() string { return filepath.Join(s.sockets, "ctl") }

// A PowerChange is how a machine and its TPM go down and up again.
type PowerChange int

// The power changes (TPM 2.0 Part 1, section 12.2.3).
const (
	Reboot    PowerChange = iota // orderly TPM Reset: registers zero, resetCount one more
	PowerLoss                    // the same without a word to the TPM before
	Hibernate                    // TPM Restart: registers zero, restartCount one more
	Suspend                      // TPM Resume: registers kept, restartCount one more
)

// Power takes the TPM down and up again. A Device must be opened anew.
func (s *Swtpm) Power(change PowerChange) error {
	down := tpm2.TPMSUState
	if change == Reboot {
		down = tpm2.TPMSUClear
	}
	if change != PowerLoss {
		if err := s.execute(tpm2.Shutdown{ShutdownType: down}); err != nil {
			return fmt.Errorf("swtpm: shutdown: %w", err)
		}
	}
	if err := s.init(); err != nil {
		return err
	}
	up := tpm2.TPMSUClear
	if change == Suspend {
		up = tpm2.TPMSUState
	}
	if err := s.execute(tpm2.Startup{StartupType: up}); err != nil {
		return fmt.Errorf("swtpm: startup: %w", err)
	}
	return nil
}

func (s *Swtpm) execute(command any) error {
	d, err := Open(s.Socket())
	if err != nil {
		return err
	}
	switch c := command.(type) {
	case tpm2.Shutdown:
		_, err = c.Execute(d.tpm)
	case tpm2.Startup:
		_, err = c.Execute(d.tpm)
	case tpm2.Clear:
		_, err = c.Execute(d.tpm)
	}
	return errors.Join(err, d.Close())
}

// Clear does TPM2_Clear by the lockout hierarchy, as an owner would.
func (s *Swtpm) Clear() error {
	return s.execute(tpm2.Clear{AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHLockout, Auth: tpm2.PasswordAuth(nil)}})
}

// init sends _TPM_Init over the control channel: command and flags, 32 bits
// each, big-endian; a 32-bit result (swtpm_ioctls(3), PTM_INIT).
func (s *Swtpm) init() error {
	const ptmInit = 2
	c, err := net.Dial("unix", s.control())
	if err != nil {
		return fmt.Errorf("swtpm: %w", err)
	}
	defer c.Close()
	request := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, ptmInit), 0)
	if _, err := c.Write(request); err != nil {
		return fmt.Errorf("swtpm: init: %w", err)
	}
	var result [4]byte
	if _, err := io.ReadFull(c, result[:]); err != nil {
		return fmt.Errorf("swtpm: init: %w", err)
	}
	if code := binary.BigEndian.Uint32(result[:]); code != 0 {
		return fmt.Errorf("swtpm: init: result %#x", code)
	}
	return nil
}

// Stop ends the process that StartSwtpm started.
func (s *Swtpm) Stop() error {
	err := s.cmd.Process.Kill()
	s.cmd.Wait() // it was killed, which is no error
	return errors.Join(err, os.RemoveAll(s.sockets))
}
