package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"unsafe"

	"github.com/imaledger/imaledger/cmd/internal/guest"
)

// kexecFileLoad is kexec_file_load(2) on x86-64.
const kexecFileLoad = 320

// loadKexec loads the next kernel. The call with files has the kernel carry its
// measurement list over; the older call, which kexec-tools make, does not.
func loadKexec(r guest.Request) error {
	if r.Op == guest.OpKexecLost {
		out, err := exec.Command("/bin/kexec", "-c", "-l", guest.KexecKernel, "--initrd="+guest.KexecInitrd, "--command-line="+r.Text).CombinedOutput()
		if err != nil {
			return fmt.Errorf("kexec: %w: %s", err, out)
		}
		return nil
	}
	kernel, err := os.Open(guest.KexecKernel)
	if err != nil {
		return err
	}
	defer kernel.Close()
	initrd, err := os.Open(guest.KexecInitrd)
	if err != nil {
		return err
	}
	defer initrd.Close()
	line := append([]byte(r.Text), 0)
	_, _, errno := syscall.Syscall6(kexecFileLoad, kernel.Fd(), initrd.Fd(), uintptr(len(line)), uintptr(unsafe.Pointer(&line[0])), 0, 0)
	if errno != 0 {
		return fmt.Errorf("kexec_file_load: %w", errno)
	}
	return nil
}

// kexec starts the kernel that was loaded. It returns only where that fails.
func kexec() error {
	syscall.Sync()
	return errors.Join(syscall.Reboot(syscall.LINUX_REBOOT_CMD_KEXEC), errors.New("kexec did not start the kernel"))
}
