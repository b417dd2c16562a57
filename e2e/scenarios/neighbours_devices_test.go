package scenarios

import (
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestNeighboursDmsetup: somebody works on the origin with dmsetup, or is looking for devices.
func TestNeighboursDmsetup(t *testing.T) {
	live(t, []neighbour{
		{name: "dmsetup rename", does: "dmsetup rename home flat", again: "dmsetup rename flat home", state: "active"},
		{name: "dmsetup suspend and resume", does: "dmsetup suspend home\ndmsetup resume home", state: "active"},
		{name: "dmsetup reload", does: "dmsetup suspend home\ndmsetup reload home --table \"$(dmsetup table dmsnap-base-home)\"\ndmsetup resume home", state: "bypassed", reason: "reloaded the origin's table"},
		{name: "dmsetup reload without resume", does: "dmsetup reload home --table \"$(dmsetup table dmsnap-base-home)\"\ndmsetup clear home", state: "active"},
		{name: "dmsetup remove", does: "dmsetup remove home", refused: true, state: "active"},
		{
			name: "dmsetup remove of an unmounted origin", idle: true, state: "bypassed", reason: "removed the origin",
			does:  "dmsetup table dmsnap-base-home >/run/home.table\ndmsetup remove home",
			again: "dmsetup create home /run/home.table\nrm /run/home.table",
		},
		{name: "dmsetup remove of the base", does: "dmsetup remove dmsnap-base-home", refused: true, state: "active"},
		{name: "systemd-udevd restarted", does: "udevadm control --exit\nwhile udevadm control --ping --timeout=1 2>/dev/null; do sleep 0.1; done\n/lib/systemd/systemd-udevd --daemon\nudevadm trigger --action=change --subsystem-match=block\nudevadm settle", state: "active"},
		{name: "blkdiscard of the store", does: "blkdiscard $store", refused: true, state: "active"},
		{name: "mkfs of the store", does: "mkfs.ext4 -q -F $store", refused: true, state: "active"},
		{name: "wipefs of the store", does: "wipefs -a $store", refused: true, state: "active"},
		{name: "pvcreate of the store", does: "pvcreate -y -ff $store", refused: true, state: "active"},
	}, plainHome)
}

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
		{name: "swapon and swapoff", idle: true, does: "mkswap -q -f $dev 2>&1\nswapon $dev\nswapoff $dev", rewrote: true, state: "active"},
		{
			name: "a container that keeps it mounted", quiet: true, state: "active",
			does:  "unshare -m --propagation private sleep 600 </dev/null >/dev/null 2>&1 & echo $! >/run/container",
			again: "kill $(cat /run/container); rm /run/container\nudevadm settle",
		},
		{name: "fstrim", does: "fstrim $dir", refused: true, state: "active"},
		{name: "mount and umount elsewhere", does: "mkdir /run/b; mount --bind $dir /run/b; umount /run/b; rmdir /run/b", state: "active"},
		{name: "umount -l with open files", does: "exec 3<$dir/ring; umount -l $dir; cat <&3 >/dev/null; mount $dev $dir", state: "active"},
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
