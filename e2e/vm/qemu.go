package vm

import (
	"path/filepath"
	"strconv"

	"github.com/dmsnap/dmsnap/e2e/internal/wire"
)

const (
	qemu       = "qemu-system-x86_64"
	rootSerial = "root"
)

// kernelArgs: an oops ends the machine at once, and warnings reach the console. The rest makes emulation boot faster.
const kernelArgs = "console=ttyS0 panic=-1 oops=panic loglevel=5 net.ifnames=0 mitigations=off tsc=reliable no_timer_check " +
	"cryptomgr.notests random.trust_cpu=on"

// qemuArgs describe the machine. The agent's port is the socket QEMU inherits as descriptor 3.
func qemuArgs(image Image, initramfs string, options Options) []string {
	args := []string{
		"-smp", strconv.Itoa(options.CPUs), "-m", strconv.Itoa(options.MemoryMB),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", image.Vmlinuz, "-initrd", initramfs, "-append", kernelArgs,
		"-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap",
		"-device", "virtio-serial-pci", "-chardev", "socket,id=agent,fd=3",
		"-device", "virtserialport,chardev=agent,name=" + wire.PortName,
	}
	if options.Forward != 0 {
		args = append(args, networkArgs(options.Forward)...)
	}
	for i, disk := range options.Disks {
		args = append(args, disk.args(i)...)
	}
	return args
}

// runDir is where disks and initramfs of running machines lie: on a disk, not on a tmpfs.
func runDir() (string, error) {
	cache, err := CacheDir()
	return filepath.Join(cache, "run"), err
}
