package guest

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// A control stands between QEMU and swtpm's control socket, which takes one
// connection, so that the TPM can be taken down and up while the guest goes on. On
// that socket one request is followed by one answer (swtpm_ioctls(3)).
type control struct {
	listener *net.UnixListener
	requests chan request
}

// A request is what goes to swtpm, with files, and where its answer goes.
type request struct {
	content []byte
	files   []byte // as SCM_RIGHTS has them
	answer  chan []byte
}

const maxControl = 64 << 10 // bytes of a request or an answer

// startControl listens at one socket for QEMU, and speaks to swtpm at another.
func startControl(listen, swtpm string) (*control, error) {
	if err := os.RemoveAll(listen); err != nil {
		return nil, err
	}
	to, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: swtpm, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: listen, Net: "unix"})
	if err != nil {
		return nil, errors.Join(err, to.Close())
	}
	c := &control{listener: l, requests: make(chan request)}
	go c.forward(to)
	go c.accept()
	return c, nil
}

func (c *control) stop() { c.listener.Close() }

// forward hands requests on, one at a time.
func (c *control) forward(to *net.UnixConn) {
	defer to.Close()
	b := make([]byte, maxControl)
	for r := range c.requests {
		n := 0
		_, _, err := to.WriteMsgUnix(r.content, r.files, nil)
		if err == nil {
			n, err = to.Read(b)
		}
		if err != nil {
			n = 0 // swtpm has ended
		}
		r.answer <- b[:n:n]
	}
}

// accept serves QEMU until it ends.
func (c *control) accept() {
	defer close(c.requests)
	from, err := c.listener.AcceptUnix()
	if err != nil {
		return
	}
	defer from.Close()
	b, files := make([]byte, maxControl), make([]byte, syscall.CmsgSpace(4*4))
	for {
		n, nFiles, _, _, err := from.ReadMsgUnix(b, files)
		if err != nil || n == 0 {
			return
		}
		r := request{b[:n], files[:nFiles], make(chan []byte)}
		c.requests <- r
		answer := <-r.answer
		closeFiles(r.files)
		if _, err := from.Write(answer); err != nil || len(answer) == 0 {
			return
		}
	}
}

// closeFiles closes what swtpm has a copy of.
func closeFiles(oob []byte) {
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return
	}
	for _, m := range messages {
		if fds, err := syscall.ParseUnixRights(&m); err == nil {
			for _, fd := range fds {
				syscall.Close(fd)
			}
		}
	}
}

// init is _TPM_Init.
func (c *control) init() error {
	const ptmInit = 2
	r := request{content: binary.BigEndian.AppendUint64(nil, ptmInit<<32), answer: make(chan []byte)}
	c.requests <- r
	if answer := <-r.answer; len(answer) != 4 || binary.BigEndian.Uint32(answer) != 0 {
		return fmt.Errorf("swtpm: init: %x", answer)
	}
	return nil
}

// A PowerChange is what happens to the TPM alone while the guest's kernel sleeps
// (TPM 2.0 Part 1, section 12.2.3).
type PowerChange int

// The power changes.
const (
	Suspend   PowerChange = iota // TPM Resume: registers kept, restartCount one more
	Hibernate                    // TPM Restart: registers zero, restartCount one more
	PowerLoss                    // TPM Reset: registers zero, resetCount one more
)

// TPM2_Startup and TPM2_Shutdown (TPM 2.0 Part 3, section 9), with TPM_SU_CLEAR, 0, or
// TPM_SU_STATE, 1.
const (
	startup  = "80010000000c00000144%04x"
	shutdown = "80010000000c00000145%04x"
)

// PowerTPM takes the TPM down and up again. The guest's kernel goes on, as it does
// after a suspension, a hibernation, or a reset that it was not told of.
func (m *Machine) PowerTPM(change PowerChange) error {
	send := func(command string, state int) error {
		b, err := hex.DecodeString(fmt.Sprintf(command, state))
		if err != nil {
			return err
		}
		answer, err := m.Call(Request{Op: OpSend, Path: "/dev/tpm0", Data: b})
		if err == nil && (len(answer.Stdout) != 10 || binary.BigEndian.Uint32(answer.Stdout[6:]) != 0) {
			err = fmt.Errorf("TPM: %x was answered with %x", b, answer.Stdout)
		}
		return err
	}
	if change != PowerLoss {
		if err := send(shutdown, 1); err != nil {
			return err
		}
	}
	if err := m.current.control.init(); err != nil {
		return err
	}
	state := 0
	if change == Suspend {
		state = 1
	}
	return send(startup, state)
}
