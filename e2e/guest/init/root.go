package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/internal/wire"
)

const newRoot = "/newroot"

type mount struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
}

func mountAll(mounts []mount) error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.fstype, m.target, err)
		}
	}
	return nil
}

func mountEarly(wire.Config) error {
	return mountAll([]mount{{"dev", "/dev", "devtmpfs", 0, ""}, {"proc", "/proc", "proc", 0, ""}, {"sys", "/sys", "sysfs", 0, ""}})
}

func loadEarly(config wire.Config) error {
	for _, name := range config.Early {
		if err := loadModule(filepath.Join("/modules", name)); err != nil {
			return fmt.Errorf("load %s: %w", name, err)
		}
	}
	return nil
}

func loadModule(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return unix.FinitModule(int(file.Fd()), "", 0)
}

// mountRoot puts a tmpfs overlay over the host's root, which is read-only, and fresh kernel file systems over those
// of the host. /tmp stays the host's (below the overlay): `go test` leaves the test binaries there.
func mountRoot(config wire.Config) error {
	const nosuid = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	const shared = "trans=virtio,version=9p2000.L,msize=512000,cache=loose"
	mounts := []mount{{"root", "/lower", "9p", unix.MS_RDONLY, shared}, {"rw", "/rw", "tmpfs", 0, "mode=755"}}
	lower := "/lower"
	if config.Programs {
		mounts = append(mounts, mount{"programs", "/programs", "9p", unix.MS_RDONLY, shared})
		lower = "/programs:/lower"
	}
	if err := mountAll(mounts); err != nil {
		return err
	}
	for _, dir := range []string{"/rw/up", "/rw/work"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	return mountAll([]mount{
		{"overlay", newRoot, "overlay", 0, "lowerdir=" + lower + ",upperdir=/rw/up,workdir=/rw/work"},
		{"dev", newRoot + "/dev", "devtmpfs", 0, ""},
		{"devpts", newRoot + "/dev/pts", "devpts", 0, "mode=620,ptmxmode=666"},
		{"shm", newRoot + "/dev/shm", "tmpfs", 0, "mode=1777"},
		{"proc", newRoot + "/proc", "proc", nosuid, ""},
		{"sys", newRoot + "/sys", "sysfs", nosuid, ""},
		{"debug", newRoot + "/sys/kernel/debug", "debugfs", nosuid, ""},
		{"run", newRoot + "/run", "tmpfs", 0, "mode=755"},
	})
}

// switchRoot makes the new root the root of every process: the kernel's own threads share it, and so modprobe and
// other helpers the kernel starts are found there.
func switchRoot(wire.Config) error {
	if err := moveRoot(); err != nil {
		return err
	}
	return os.Symlink("/proc/self/fd", "/dev/fd") // which devtmpfs does not make
}

func moveRoot() error {
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	return os.Chdir("/")
}
