package scenarios

import (
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// unmonitored keeps LVM from starting dmeventd, which would outlive the test.
const unmonitored = " --config activation/monitoring=0 "

// TestNeighboursLVM: lvm2 goes on with a logical volume that has a set.
func TestNeighboursLVM(t *testing.T) {
	const synced = "\nuntil [ \"$(lvs --noheadings -o sync_percent vg/home | tr -d ' ')\" = 100.00 ]; do sleep 0.1; done"
	const reloaded = "reloaded the origin's table"
	live(t, []neighbour{
		{name: "pvmove", often: true, does: "pvmove -i 1" + unmonitored + "-n home $disk0 $disk1", state: "bypassed", reason: reloaded},
		{name: "pvmove of a part", does: "pvmove -i 1" + unmonitored + "$disk0:0-3 $disk1", state: "bypassed", reason: reloaded},
		{name: "lvextend -r", does: "lvextend -qq -r -L +32M vg/home", state: "bypassed", reason: reloaded},
		{name: "lvreduce of a mounted filesystem", does: "lvreduce -y -r -L -32M vg/home </dev/null", refused: true, state: "active"},
		{name: "lvreduce -r", idle: true, does: "lvreduce -y -r -L -32M vg/home", state: "bypassed", reason: reloaded},
		{name: "lvrename", does: "lvrename vg/home vg/flat", moved: "/dev/mapper/vg-flat", state: "bypassed", reason: reloaded},
		{
			name: "lvconvert to raid1 and back", state: "bypassed", reason: reloaded,
			does: "lvconvert -y -qq" + unmonitored + "--type raid1 -m1 vg/home $disk0 $disk1" + synced + "\nlvconvert -y -qq" + unmonitored + "-m0 vg/home $disk1",
		},
		{name: "lvchange --refresh", does: "lvchange --refresh" + unmonitored + "vg/home", state: "bypassed", reason: reloaded},
		{name: "vgchange --refresh", does: "vgchange --refresh" + unmonitored + "vg", state: "bypassed", reason: reloaded},
		{name: "vgchange -ay", does: "vgchange -ay" + unmonitored + "vg\nvgchange --monitor n vg\npvscan --cache\nlvs -a -o +segtype,devices vg", state: "active"},
		{name: "lvchange -an", does: "lvchange -an vg/home", refused: true, state: "active"},
		{name: "lvchange -an of an unmounted volume", idle: true, does: "lvchange -an vg/home", again: "lvchange -ay" + unmonitored + "vg/home", state: "bypassed", reason: "removed the origin"},
		{name: "lvchange -an and -ay", idle: true, does: "lvchange -an vg/home\nlvchange -ay" + unmonitored + "vg/home", state: "bypassed"},
		{name: "lvremove", does: "lvremove -y vg/home", refused: true, state: "active"},
		{name: "vgcfgrestore", does: "vgcfgbackup -f /run/vg.backup vg\nvgcfgrestore -y -f /run/vg.backup vg\nvgck vg\nrm /run/vg.backup", state: "active"},
		{name: "lvcreate beside it", does: "lvcreate -qq -y -L 16M -n other vg\nlvremove -qq -y vg/other", state: "active"},
		{name: "lvcreate -s", does: "lvcreate -qq -y" + unmonitored + "-s -L 16M -n snap vg/home", state: "bypassed", reason: reloaded},
	}, func(t *testing.T, disks []string) string {
		lab.Group(t, "vg", disks[:3]...)
		return lab.LogicalVolume(t, "vg", "home", "-L", "96M", strings.TrimSpace(disks[0]))
	})
}
