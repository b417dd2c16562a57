package scenarios

import (
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestNeighboursWriters: programs write to the device beneath an unmounted filesystem. All of it goes through the front.
func TestNeighboursWriters(t *testing.T) {
	live(t, []neighbour{
		{name: "umount", idle: true, does: "true", state: "active"},
		{name: "mkfs", often: true, idle: true, does: "mkfs.xfs -q -f --unsupported $dev", rewrote: true, state: "active"},
		{name: "dd", idle: true, does: "dd if=/dev/urandom of=$dev bs=1M count=16 oflag=direct status=none", rewrote: true, state: "active"},
		{
			name: "blocks written as partclone does", idle: true, rewrote: true, state: "active",
			does: "for i in $(seq 0 370 5000); do dd if=/dev/urandom of=$dev bs=4k seek=$i count=3 conv=notrunc status=none; done; sync",
		},
		{name: "e2fsck -y", idle: true, does: "debugfs -w -R 'clri <2>' $dev\ne2fsck -fy $dev || [ $? -le 1 ]", rewrote: true, state: "active"},
		{name: "resize2fs -M", idle: true, does: "e2fsck -fp $dev\nresize2fs -M $dev", state: "active"},
		{name: "blkdiscard", idle: true, does: "blkdiscard $dev", refused: true, state: "active"},
		{name: "xfs_growfs", fstype: "xfs", format: "mkfs.xfs -q -f --unsupported -d size=64m $dev", does: "xfs_growfs -d $dir", state: "active"},
	}, plainHome)
}

// plainHome is a linear device.
func plainHome(t *testing.T, disks []string) string {
	t.Helper()
	return lab.Linear(t, "home", disks[0], 0, 96)
}

// TestNeighboursCrypt: cryptsetup on an open device that has a set.
func TestNeighboursCrypt(t *testing.T) {
	live(t, []neighbour{
		{name: "cryptsetup resize", does: "cryptsetup resize --device-size 64M home", refused: true, state: "active"},
		{name: "cryptsetup close", does: "cryptsetup close home", refused: true, state: "active"},
		{name: "cryptsetup close, unmounted", idle: true, does: "cryptsetup close home", refused: true, state: "active"},
		{name: "cryptsetup status", does: "cryptsetup luksDump $disk0 >/dev/null\ncryptsetup status home", refused: true, state: "active"},
	}, func(t *testing.T, disks []string) string {
		return lab.LUKS(t, "home", disks[0], "--disable-keyring")
	})
}
