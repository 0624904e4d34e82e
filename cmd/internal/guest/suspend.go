package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

// Suspend has the guest's kernel suspend the machine to memory (S3), and wakes it when
// it sleeps. Kernel and firmware take the TPM down and up. An alarm of the machine's
// clock would wake it too, unless a busy host lets it ring too early.
func (m *Machine) Suspend() error {
	q, err := dialQEMU(m.path("qmp.sock"))
	if err != nil {
		return err
	}
	defer q.conn.Close()
	woken := make(chan error, 1)
	go func() {
		err := q.await(func(m map[string]any) bool { return m["event"] == "SUSPEND" })
		if err == nil {
			err = q.execute("system_wakeup")
		}
		woken <- err
	}()
	_, err = m.Call(Request{Op: OpCommand, Path: "/sys/power/state", Text: "mem"})
	if err != nil {
		q.conn.Close() // it does not sleep, so there is nothing to wait for
	}
	return errors.Join(err, <-woken)
}

// A qemu takes commands for a machine (QEMU Machine Protocol).
type qemu struct {
	conn net.Conn
	in   *json.Decoder
}

func dialQEMU(socket string) (*qemu, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	q := &qemu{conn, json.NewDecoder(conn)}
	if err := errors.Join(conn.SetDeadline(time.Now().Add(Patience)), q.execute("qmp_capabilities")); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return q, nil
}

func (q *qemu) execute(command string) error {
	if _, err := fmt.Fprintf(q.conn, "{\"execute\": %q}\n", command); err != nil {
		return err
	}
	return q.await(func(m map[string]any) bool { return m["return"] != nil })
}

// await reads messages until one is the right one.
func (q *qemu) await(right func(message map[string]any) bool) error {
	for {
		var message map[string]any
		if err := q.in.Decode(&message); err != nil {
			return fmt.Errorf("QEMU: %w", err)
		}
		if message["error"] != nil {
			return fmt.Errorf("QEMU: %v", message["error"])
		}
		if right(message) {
			return nil
		}
	}
}
