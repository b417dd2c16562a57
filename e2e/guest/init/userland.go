package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/internal/wire"
)

// agentUnit starts the agent when all else is up. When the host has told it to quit the machine goes down, in good order.
const agentUnit = `[Unit]
Description=Agent of the test harness
After=basic.target
SuccessAction=poweroff

[Service]
Environment=%s=%s
ExecStartPre=-modprobe virtio_console
ExecStart=/run/e2e/init agent
KillMode=process
`

// bootUserland makes the disk that has a userland of its own the root, with the host's files below /host, and lets its init be
// process 1. The agent is a service there.
func bootUserland(config wire.Config) error {
	disk, err := findDisk(config.Root)
	if err != nil {
		return err
	}
	host := newRoot + "/host"
	if err := mountAll([]mount{
		{disk, newRoot, "ext4", 0, ""},
		{"run", newRoot + "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
		{"root", host, "9p", unix.MS_RDONLY, "trans=virtio,version=9p2000.L,msize=512000,cache=loose"},
		{host + config.ModuleDir, newRoot + "/lib/modules/" + config.Release, "", unix.MS_BIND, ""},
	}); err != nil {
		return err
	}
	units := newRoot + "/run/systemd/system/"
	for _, dir := range []string{newRoot + tmpDir, newRoot + "/run/e2e", units + "multi-user.target.wants"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	program, err := os.ReadFile("/init")
	if err != nil {
		return err
	}
	if err := os.WriteFile(newRoot+"/run/e2e/init", program, 0o755); err != nil {
		return err
	}
	if err := writeFiles(map[string]string{units + "e2e-agent.service": fmt.Sprintf(agentUnit, releaseEnv, config.Release)}); err != nil {
		return err
	}
	if err := os.Symlink("../e2e-agent.service", units+"multi-user.target.wants/e2e-agent.service"); err != nil {
		return err
	}
	for _, dir := range []string{"/dev", "/proc", "/sys"} {
		if err := unix.Mount(dir, newRoot+dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", dir, err)
		}
	}
	if err := moveRoot(); err != nil {
		return err
	}
	return unix.Exec("/sbin/init", []string{"/sbin/init"}, []string{"PATH=" + guestPath, "TERM=dumb"})
}

// findDisk looks a virtio disk up by its serial number.
func findDisk(serial string) (string, error) {
	names, err := filepath.Glob("/sys/block/vd*/serial")
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if text, err := os.ReadFile(name); err == nil && strings.TrimSpace(string(text)) == serial {
			return "/dev/" + filepath.Base(filepath.Dir(name)), nil
		}
	}
	return "", fmt.Errorf("no disk %s among %v", serial, names)
}
