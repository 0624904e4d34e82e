package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Where the kernels are; make guest sets both.
const (
	KernelVariable = "IMALEDGER_KERNEL"       // bzImage of a kernel with CONFIG_IMA_STAGING
	StockVariable  = "IMALEDGER_STOCK_KERNEL" // an unpacked Debian package linux-image-6.1.*
)

// stockModules are what Debian's kernel needs to see the guest's disk and network,
// in the order in which they are loaded.
var stockModules = []string{
	"drivers/virtio/virtio_ring.ko", "drivers/virtio/virtio.ko", "drivers/virtio/virtio_pci_modern_dev.ko",
	"drivers/virtio/virtio_pci_legacy_dev.ko", "drivers/virtio/virtio_pci.ko", "drivers/block/virtio_blk.ko",
	"net/core/failover.ko", "drivers/net/net_failover.ko", "drivers/net/virtio_net.ko", "drivers/char/hw_random/virtio-rng.ko",
	"lib/crc16.ko", "crypto/crc32c_generic.ko", "fs/mbcache.ko", "fs/jbd2/jbd2.ko", "fs/ext4/ext4.ko",
}

// Kernels returns the kernel that can stage records, and Debian's.
func Kernels() ([]Kernel, error) {
	image := os.Getenv(KernelVariable)
	if image == "" {
		return nil, fmt.Errorf("%s is not set: run make guest, which finds or builds the kernels", KernelVariable)
	}
	if _, err := os.Stat(image); err != nil {
		return nil, err
	}
	stock := os.Getenv(StockVariable)
	images, err := filepath.Glob(filepath.Join(stock, "boot", "vmlinuz-*"))
	if err != nil {
		return nil, err
	}
	modules, err := filepath.Glob(filepath.Join(stock, "lib", "modules", "*", "kernel"))
	if err != nil {
		return nil, err
	}
	if len(images) != 1 || len(modules) != 1 {
		return nil, fmt.Errorf("%s=%q is no unpacked linux-image package: run make guest, which fetches it", StockVariable, stock)
	}
	k := Kernel{Name: "stock", Image: images[0]}
	for _, m := range stockModules {
		k.Modules = append(k.Modules, filepath.Join(modules[0], m))
	}
	return []Kernel{{Name: "staging", Image: image, Staging: true}, k}, nil
}

// Build compiles a program of the module for guests, and returns its file.
func Build(dir, name, tags string) (string, error) {
	out := filepath.Join(dir, filepath.Base(name))
	return out, runEnv([]string{"CGO_ENABLED=0"}, "go", "build", "-trimpath", "-tags", tags, "-o", out, "github.com/imaledger/imaledger/"+name)
}

// WithLibraries returns the files of an installed program: itself and its
// libraries.
func WithLibraries(path string) ([]File, error) {
	out, err := output("ldd", path)
	if err != nil {
		return nil, err
	}
	files := []File{{Path: "/bin/" + filepath.Base(path), Source: path}}
	for _, word := range out {
		if filepath.IsAbs(word) {
			files = append(files, File{Path: word, Source: word})
		}
	}
	if len(files) < 2 {
		return nil, errors.New(path + " has no libraries")
	}
	return files, nil
}

// Wait waits for something that takes a moment.
func Wait(patience time.Duration, f func() bool) bool {
	for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if f() {
			return true
		}
	}
	return false
}
