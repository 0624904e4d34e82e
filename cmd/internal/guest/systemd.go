package guest

import (
	"os"
	"path/filepath"
)

// Where this machine's systemd is, and the guest's.
const (
	systemdDir = "/lib/systemd"
	// SystemdPath is a guest's first program after init has set the machine up, in
	// guests that have it. Init's second half is then a unit.
	SystemdPath = systemdDir + "/systemd"
)

// systemdUnits are Debian's, of a machine that does nothing but what is asked of it.
// There is no bus: systemctl speaks to systemd itself.
var systemdUnits = []string{
	"basic.target", "sysinit.target", "multi-user.target", "local-fs.target", "local-fs-pre.target", "swap.target", "paths.target",
	"slices.target", "sockets.target", "timers.target", "network.target", "network-online.target", "time-sync.target",
	"shutdown.target", "umount.target", "final.target", "poweroff.target", "reboot.target", "systemd-poweroff.service", "systemd-reboot.service",
	"systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket",
}

// guestUnits start what init does for the test beside systemd's own units. It is not
// stopped with the others: the test goes on while they end.
var guestUnits = map[string]string{
	"guest.target":  "[Unit]\nRequires=multi-user.target guest.service\nWants=systemd-journald.service\nAfter=multi-user.target\nAllowIsolate=yes\n",
	"guest.service": "[Unit]\nDefaultDependencies=no\n\n[Service]\nExecStart=/init\n",
}

// AddSystemd gives the guest this machine's systemd as its first program, with units
// of the files given.
func (m *Machine) AddSystemd(units ...string) error {
	for _, name := range []string{"systemd", "systemd-shutdown", "systemd-journald"} {
		files, err := WithLibraries(filepath.Join(systemdDir, name))
		if err != nil {
			return err
		}
		files[0].Path = filepath.Join(systemdDir, name)
		m.Files = append(m.Files, files...)
	}
	for _, name := range []string{"systemctl", "mount", "umount"} {
		files, err := WithLibraries(filepath.Join("/usr/bin", name))
		if err != nil {
			return err
		}
		m.Files = append(m.Files, files...)
	}
	unitDir := filepath.Join(systemdDir, "system")
	for _, name := range systemdUnits {
		units = append(units, filepath.Join(unitDir, name))
	}
	for name, text := range guestUnits {
		if err := os.WriteFile(m.path(name), []byte(text), 0o600); err != nil {
			return err
		}
		units = append(units, m.path(name))
	}
	for _, source := range units {
		m.Files = append(m.Files, File{Path: filepath.Join(unitDir, filepath.Base(source)), Source: source})
	}
	m.Append += " systemd.unit=guest.target systemd.log_target=console systemd.journald.forward_to_console=1"
	return nil
}
