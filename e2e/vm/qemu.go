package vm

import (
	"path/filepath"
	"strconv"

	"github.com/dmsnap/dmsnap/e2e/internal/wire"
)

const rootSerial = "root"

// platforms are what differs between the processors' machines: what QEMU is called, the arguments with which it emulates one, and
// the kernel's own. On arm64 pointers are signed by a method of QEMU's own, which costs little.
var platforms = map[string]platform{
	"amd64": {"qemu-system-x86_64", "console=ttyS0 tsc=reliable no_timer_check", []string{"-accel", tcg, "-cpu", "max"}},
	arm64:   {"qemu-system-aarch64", "console=ttyAMA0", []string{"-accel", tcg, "-machine", "virt", "-cpu", "max,pauth-impdef=on"}},
}

type platform struct {
	qemu, kernelArgs string
	emulation        []string
}

func (i Image) platform() platform { return platforms[i.arch] }

// kernelArgs: an oops ends the machine at once, and warnings reach the console. The rest makes emulation boot faster.
const kernelArgs = "panic=-1 oops=panic loglevel=5 net.ifnames=0 mitigations=off cryptomgr.notests random.trust_cpu=on"

// qemuArgs describe the machine. The agent's port is the socket QEMU inherits as descriptor 3.
func qemuArgs(image Image, initramfs string, options Options) []string {
	args := []string{
		"-smp", strconv.Itoa(options.CPUs), "-m", strconv.Itoa(options.MemoryMB),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", image.Vmlinuz, "-initrd", initramfs, "-append", image.platform().kernelArgs + " " + kernelArgs,
		"-device", "virtio-serial-pci", "-chardev", "socket,id=agent,fd=3",
		"-device", "virtserialport,chardev=agent,name=" + wire.PortName,
	}
	args = append(args, share("/", "root")...)
	if options.programs != "" {
		args = append(args, share(options.programs, "programs")...)
	}
	if options.Forward != 0 {
		args = append(args, networkArgs(options.Forward)...)
	}
	for i, disk := range options.Disks {
		args = append(args, disk.args(i)...)
	}
	return args
}

// share lets the guest see a directory of the host, read-only.
func share(dir, tag string) []string {
	return []string{"-virtfs", "local,path=" + dir + ",mount_tag=" + tag + ",security_model=none,readonly=on,multidevs=remap"}
}

// runDir is where disks and initramfs of running machines lie: on a disk, not on a tmpfs.
func runDir() (string, error) {
	cache, err := CacheDir()
	return filepath.Join(cache, "run"), err
}
