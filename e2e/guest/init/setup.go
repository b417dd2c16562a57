package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/internal/wire"
)

const (
	tmpDir     = "/run/tmp"
	releaseEnv = "DMSNAP_RELEASE"
	guestPath  = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// hideHost removes, in the overlay only, what the host left behind and what would make the guest act on it.
func hideHost(config wire.Config) error {
	os.Setenv("PATH", guestPath)
	for _, path := range []string{
		"/.dockerenv", "/etc/fstab", "/etc/crypttab", "/etc/mtab", "/etc/lvm/devices", "/etc/lvm/archive", "/etc/lvm/backup",
		"/etc/lvm/cache", "/var/lib/dmsnap", "/etc/dmsnap",
		"/var/lib/man-db/auto-update", // an emulated processor needs minutes for an index of all manuals
	} {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/run/lock", "/run/udev", "/etc/lvm/archive", "/etc/lvm/backup", tmpDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(tmpDir, 0o777|os.ModeSticky); err != nil {
		return err
	}
	if err := os.Symlink("/proc/self/mounts", "/etc/mtab"); err != nil {
		return err
	}
	return writeFiles(map[string]string{
		"/etc/fstab":                "",
		"/etc/machine-id":           "6d6d736e61704e2ee5be2e6d61636869\n",
		"/etc/hostname":             "guest\n",
		"/proc/sys/kernel/hostname": "guest",
		"/etc/lvm/lvmlocal.conf":    lvmConfig(config.Udev),
	})
}

// lvmConfig tells the tools of lvm2 whether there is a udevd to wait for.
func lvmConfig(udev bool) string {
	if udev {
		return ""
	}
	return "activation {\n\tudev_sync = 0\n\tudev_rules = 0\n}\ndevices {\n\tobtain_device_list_from_udev = 0\n}\n"
}

func writeFiles(files map[string]string) error {
	for path, text := range files {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func bindModules(config wire.Config) error {
	target := filepath.Join("/lib/modules", config.Release)
	return mountAll([]mount{{config.ModuleDir, target, "", unix.MS_BIND, ""}})
}

// tuneKernel adapts the watchdogs to an emulated, shared processor: a stalled host is no lockup in the guest, but a
// task that sleeps for a minute in the kernel is worth a report.
func tuneKernel(wire.Config) error {
	return writeFiles(map[string]string{
		"/proc/sys/kernel/watchdog_thresh":        "60",
		"/proc/sys/kernel/hung_task_timeout_secs": "60",
		"/proc/sys/kernel/sysrq":                  "1",
	})
}

// loadModules loads what a host that uses device-mapper has loaded before anybody asks; the rest loads on demand.
func loadModules(wire.Config) error {
	return command("modprobe", "--all", "virtio_pci", "virtio_console", "virtio_blk", "dm_mod", "loop")
}

func startUdev(config wire.Config) error {
	if !config.Udev {
		return os.Setenv("DM_DISABLE_UDEV", "1")
	}
	for _, line := range [][]string{
		{"/lib/systemd/systemd-udevd", "--daemon"},
		{"udevadm", "trigger", "--action=add", "--subsystem-match=block", "--subsystem-match=misc", "--subsystem-match=mem"},
		{"udevadm", "settle"},
	} {
		if err := command(line...); err != nil {
			return err
		}
	}
	return nil
}

func command(line ...string) error {
	output, err := exec.Command(line[0], line[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%v: %w: %s", line, err, bytes.TrimSpace(output))
	}
	return nil
}
