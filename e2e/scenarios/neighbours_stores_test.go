package scenarios

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestNeighboursFiles: somebody wants to be rid of a store in a file, or of its filesystem.
func TestNeighboursFiles(t *testing.T) {
	const own, other = "file:$dir/cow", "file:/run/other/cow"
	live(t, []neighbour{
		{name: "rm", store: own, does: "rm -f $dir/cow", refused: true, state: "active"},
		{name: "chattr -i and rm", store: own, does: "chattr -i $dir/cow\nrm $dir/cow", state: "broken", reason: "was deleted"},
		{name: "resize2fs to less", store: own, does: "resize2fs $dev 90M", refused: true, state: "active"},
		{name: "rm elsewhere", store: other, does: "rm -f /run/other/cow", refused: true, state: "active"},
		{name: "umount elsewhere", store: other, does: "umount /run/other", refused: true, state: "active"},
		{name: "mkfs elsewhere", store: other, does: "mkfs.ext4 -q -F $(findmnt -no SOURCE /run/other)", refused: true, state: "active"},
	}, func(t *testing.T, disks []string) string {
		if err := os.Mkdir("/run/other", 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove("/run/other") })
		dev := lab.Linear(t, "other", disks[1], 0, 128)
		lab.Format(t, "ext4", dev)
		lab.Run(t, "mount", dev, "/run/other")
		t.Cleanup(func() { lab.Run(t, "umount", "/run/other") })
		return plainHome(t, disks)
	})
}

// TestNeighboursUnplugged: the disk of the store goes away. Only the image is lost.
func TestNeighboursUnplugged(t *testing.T) {
	live(t, []neighbour{
		{name: "deleted disk", store: "/dev/disk/by-id/scsi-store", does: "echo 1 >$(readlink -f /sys/block/$(basename $(readlink -f $store))/device)/delete", state: "invalid"},
	}, func(t *testing.T, disks []string) string {
		lab.Run(t, "modprobe", "scsi_debug", "dev_size_mb=96", "max_luns=1")
		t.Cleanup(func() { lab.Run(t, "sh", "-c", "udevadm settle; modprobe -r scsi_debug") })
		lab.Run(t, "udevadm", "settle")
		found, err := filepath.Glob("/sys/bus/pseudo/drivers/scsi_debug/adapter*/host*/target*/*/block/*")
		if err != nil || len(found) != 1 {
			t.Fatalf("disks of scsi_debug: %v, %v", found, err)
		}
		link := "/dev/disk/by-id/scsi-store"
		lab.Run(t, "ln", "-sf", "/dev/"+strings.TrimSpace(filepath.Base(found[0])), link)
		t.Cleanup(func() { os.Remove(link) })
		return plainHome(t, disks)
	})
}
