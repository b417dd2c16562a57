package vm

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

const (
	kvm = "kvm"
	tcg = "tcg,thread=multi"
	// probeLimit is ample for a kernel that runs on a real processor.
	probeLimit = 10 * time.Second
)

// acceleratorArgs choose between KVM and emulation. KVM has to be tried: there are hosts with the device node where
// QEMU aborts, and others where the guest starts and never gets anywhere.
func acceleratorArgs(ctx context.Context, image Image) ([]string, error) {
	if image.arch != runtime.GOARCH {
		return image.platform().emulation, nil
	}
	name, err := accelerator(ctx, image)
	if name == kvm {
		return []string{"-accel", kvm, "-cpu", "host"}, err
	}
	return image.platform().emulation, err
}

// accelerator remembers its verdict for as long as the host runs.
func accelerator(ctx context.Context, image Image) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, "accelerator")
	unlock, err := lock(path + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	known, _ := os.ReadFile(path)
	if fields := strings.Fields(string(known)); len(fields) == 2 && fields[0] == strings.TrimSpace(string(boot)) {
		return fields[1], nil
	}
	name := tcg
	if kvmWorks(ctx, image) {
		name = kvm
	}
	return name, os.WriteFile(path, []byte(strings.TrimSpace(string(boot))+" "+name+"\n"), 0o644)
}

// kvmWorks boots the kernel without a root: it must get as far as the panic that ends QEMU.
func kvmWorks(ctx context.Context, image Image) bool {
	node, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	node.Close()
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	return exec.CommandContext(ctx, image.platform().qemu, "-accel", kvm, "-cpu", "host", "-m", "512", "-nodefaults", "-display", "none",
		"-no-reboot", "-kernel", image.Vmlinuz, "-append", "panic=-1").Run() == nil
}
