package interpose

import (
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestOverlap attaches a partition, and then its disk.
func TestOverlap(t *testing.T) {
	lab.LoadModule(t)
	disk := lab.Disks(t, 1)[0]
	part := newRig(t, "part", lab.Partition(t, disk, 1, 1, 64))
	next := newRig(t, "next", lab.Partition(t, disk, 2, 65, 64))
	whole := newRig(t, "whole", disk)
	part.attach()
	if out := refused(t, "dmsetup", "message", whole.base, "0", "attach", "/dev/mapper/"+whole.front); !strings.Contains(out, "busy") {
		t.Errorf("the disk of an attached partition: %s", out)
	}
	next.attach()
	next.detach()
	part.detach()
	whole.attach()
	if out := refused(t, "dmsetup", "message", part.base, "0", "attach", "/dev/mapper/"+part.front); !strings.Contains(out, "busy") {
		t.Errorf("a partition of an attached disk: %s", out)
	}
	whole.detach()
}

// TestMarksAreOwn attaches a raid and one of its members. The raid hands the bios that it got from its base on to the member, which
// must have them by its own front.
func TestMarksAreOwn(t *testing.T) {
	lab.LoadModule(t)
	parts := halves(t)
	md := raid0(t, parts...)
	put(t, "/sys/block/md127/queue/iostats", "0") // else it sends clones
	member, raid := newRig(t, "member", parts[0]), newRig(t, "raid", md)
	member.attach()
	raid.attach()
	before := written(t, member.frontDevice())
	const size = 1 << 20
	lab.Run(t, "dd", "if=/dev/zero", "of="+md, "bs=64k", "count=16", "oflag=direct", "status=none")
	if got := written(t, member.frontDevice()) - before; got != size/2 {
		t.Errorf("%d of %d bytes came through the member's front", got, size/2)
	}
	lab.Run(t, "dmsetup", "message", raid.base, "0", "prove")
	lab.Run(t, "dmsetup", "message", member.base, "0", "prove")
	raid.detach()
	member.detach()
}
