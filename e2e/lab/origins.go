package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// unmonitored keeps LVM from starting dmeventd, which would outlive the test.
const unmonitored = "--config=activation/monitoring=0"

// Group makes an LVM volume group of whole disks.
func Group(t *testing.T, name string, disks ...string) {
	t.Helper()
	for _, disk := range disks {
		Run(t, "wipefs", "-aq", disk)
	}
	Run(t, "vgcreate", append([]string{"-qq", name}, disks...)...)
	t.Cleanup(func() {
		Run(t, "vgremove", "-qq", "-f", unmonitored, name)
		Run(t, "pvremove", append([]string{"-qq"}, disks...)...)
	})
}

// LogicalVolume makes a volume of a group and waits until all its copies are alike. The arguments say what kind, and how
// large.
func LogicalVolume(t *testing.T, group, name string, args ...string) string {
	t.Helper()
	Run(t, "lvcreate", append([]string{"-qq", "-y", unmonitored, "-n", name, group}, args...)...)
	InSync(t, group+"/"+name)
	return "/dev/mapper/" + group + "-" + name
}

// InSync waits until all copies of a mirrored logical volume are alike.
func InSync(t *testing.T, volume string) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		percent := strings.TrimSpace(Run(t, "lvs", "--noheadings", "-o", "sync_percent", volume))
		if percent == "" || percent == "100.00" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is in sync by %s %%", volume, percent)
		}
	}
}

// Refresh has LVM load a volume's tables anew: a copy that failed and came back is used again.
func Refresh(t *testing.T, volume string) {
	t.Helper()
	Run(t, "lvchange", "-qq", unmonitored, "--refresh", volume)
	InSync(t, volume)
}

// LUKS puts an encrypted device on another and opens it. Without "--disable-keyring" its key is not in its table.
func LUKS(t *testing.T, name, device string, options ...string) string {
	t.Helper()
	pass := filepath.Join(t.TempDir(), "pass")
	if err := os.WriteFile(pass, []byte("open sesame"), 0o600); err != nil {
		t.Fatal(err)
	}
	Run(t, "cryptsetup", "luksFormat", "-q", "--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", device, pass)
	t.Cleanup(func() { Run(t, "wipefs", "-aq", device) })
	Run(t, "cryptsetup", append([]string{"open", "--key-file", pass, device, name}, options...)...)
	t.Cleanup(func() { Run(t, "cryptsetup", "close", name) })
	return "/dev/mapper/" + name
}

// Joined is a linear device over a part of each disk, one after the other.
func Joined(t *testing.T, name string, sizeMiB int, disks ...string) string {
	t.Helper()
	var rows []string
	each := sizeMiB * MiB / len(disks)
	for i, disk := range disks {
		rows = append(rows, fmt.Sprintf("%d %d linear %s %d", i*each, each, disk, MiB))
	}
	return Table(t, name, strings.Join(rows, "\n"))
}

// Striped spreads chunks of 64 KiB over the disks.
func Striped(t *testing.T, name string, sizeMiB int, disks ...string) string {
	t.Helper()
	table := fmt.Sprintf("0 %d striped %d 128", sizeMiB*MiB, len(disks))
	for _, disk := range disks {
		table += fmt.Sprintf(" %s %d", disk, MiB)
	}
	return Table(t, name, table)
}

// Multipath is a multipath device with one path, in one of the kernel's two modes: "bio", or "mq" for requests.
func Multipath(t *testing.T, name, mode, disk string) string {
	t.Helper()
	sectors := strings.TrimSpace(Run(t, "blockdev", "--getsz", disk))
	return Table(t, name, "0 "+sectors+" multipath 2 queue_mode "+mode+" 0 1 1 round-robin 0 1 1 "+disk+" 1000")
}

// Loop is a loop device over a new file.
func Loop(t *testing.T, sizeMiB int) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "backing")
	Run(t, "truncate", "-s", strconv.Itoa(sizeMiB)+"M", file)
	dev := strings.TrimSpace(Run(t, "losetup", "--find", "--show", file))
	t.Cleanup(func() { Run(t, "losetup", "--detach", dev) })
	return dev
}
