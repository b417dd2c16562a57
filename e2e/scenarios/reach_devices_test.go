package scenarios

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestReachDevices cuts one origin of each kind that servers have.
func TestReachDevices(t *testing.T) {
	lab.Long(t)
	const size = 64 // MiB
	for _, kind := range []struct {
		name string
		make func(t *testing.T, disks []string) string
	}{
		{"linear over two disks", func(t *testing.T, disks []string) string { return lab.Joined(t, "joined", size, disks...) }},
		{"striped", func(t *testing.T, disks []string) string { return lab.Striped(t, "striped", size, disks...) }},
		{"LUKS on LVM", func(t *testing.T, disks []string) string {
			lab.Group(t, "vg", disks...)
			return lab.LUKS(t, "inner", lab.LogicalVolume(t, "vg", "outer", "-L", "80M"), "--disable-keyring")
		}},
		{"LVM on LUKS", func(t *testing.T, disks []string) string {
			luks := lab.LUKS(t, "outer", lab.Linear(t, "part", disks[0], 0, 96), "--disable-keyring")
			lab.Group(t, "vg", luks)
			return lab.LogicalVolume(t, "vg", "inner", "-L", "64M")
		}},
		{"thin volume", func(t *testing.T, disks []string) string {
			lab.Group(t, "vg", disks...)
			return lab.LogicalVolume(t, "vg", "thin", "-L", "128M", "--thinpool", "pool", "-V", "64M")
		}},
		{"raid1 volume", func(t *testing.T, disks []string) string {
			lab.Group(t, "vg", disks...)
			return lab.LogicalVolume(t, "vg", "raid", "--type", "raid1", "-m1", "-L", "64M")
		}},
		{"mirror volume", func(t *testing.T, disks []string) string {
			lab.Group(t, "vg", disks...)
			return lab.LogicalVolume(t, "vg", "mirror", "--type", "mirror", "-m1", "--alloc", "anywhere", "-L", "64M")
		}},
		{"on multipath of bios", func(t *testing.T, disks []string) string {
			return lab.Linear(t, "onpaths", lab.Multipath(t, "paths", "bio", disks[0]), 0, size)
		}},
		{"on multipath of requests", func(t *testing.T, disks []string) string {
			return lab.Linear(t, "onpaths", lab.Multipath(t, "paths", "mq", disks[0]), 0, size)
		}},
		{"on a loop", func(t *testing.T, _ []string) string { return lab.Linear(t, "onloop", lab.Loop(t, size+1), 1, size) }},
	} {
		t.Run(kind.name, func(t *testing.T) {
			lab.Need(t)
			disks := lab.Disks(t, 3)
			v := lab.Volume{Device: kind.make(t, disks[:2]), Store: lab.Store(t, "store", disks[2], 0, size+16)}
			lab.Format(t, "ext4", v.Device)
			v.Dir = lab.Mount(t, v.Device)
			reach(t, v)
		})
	}
}

// TestReach32Bits has the build for 32 bits do it all on a kernel of 64.
func TestReach32Bits(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	reachWith(t, lab.NewTool32(t), lab.NewVolume(t, "narrow", "ext4", disks[0], disks[1], 0, 64))
}

// TestReachCopies looks at raid1 and mirror volumes as their own tools do: whole before, with a set, and after, and nothing
// was copied or compared again.
func TestReachCopies(t *testing.T) {
	lab.Wide(t)
	for name, args := range map[string][]string{
		"raid1":  {"--type", "raid1", "-m1", "-L", "64M"},
		"raid5":  {"--type", "raid5", "-i2", "-L", "64M"},
		"mirror": {"--type", "mirror", "-m1", "-L", "64M"},
	} {
		t.Run(name, func(t *testing.T) {
			if name != "raid1" {
				lab.Long(t)
			}
			lab.Need(t)
			disks := lab.Disks(t, 4)
			lab.Group(t, "vg", disks[:3]...)
			origin := lab.LogicalVolume(t, "vg", "copies", args...)
			v := lab.Volume{Device: origin, Store: lab.Store(t, "store", disks[3], 0, 80)}
			whole := lab.Run(t, "dmsetup", "status", "vg-copies")
			before := lab.Run(t, "dmsetup", "table")
			copying := kernelSays(t, "resync of", "recovery of", "reshape of")
			tool := lab.NewTool(t)
			w := lab.StartWriter(t, slots, origin)
			for range lab.Rounds(t, 2, 20) {
				w.WaitFor(t, 5)
				set := tool.Create("one", v)
				if base := lab.Run(t, "dmsetup", "status", "dmsnap-base-vg-copies"); base != whole {
					t.Errorf("before %s, with a set %s", whole, base)
				}
				got := lab.Check(t, set.Volumes[0].Device, slots)
				w.Expect(t, "the image", set.Receipt, got)
				tool.OK("remove", "one")
				if after := lab.Run(t, "dmsetup", "status", "vg-copies"); after != whole {
					t.Errorf("before %s, afterwards %s", whole, after)
				}
			}
			w.Stop(t)
			lab.Check(t, origin, slots)
			if after := lab.Run(t, "dmsetup", "table"); after != before {
				t.Errorf("tables before:\n%safter:\n%s", before, after)
			}
			if now := kernelSays(t, "resync of", "recovery of", "reshape of"); now != copying {
				t.Errorf("the kernel said before\n%sand now\n%s", copying, now)
			}
			if name != "mirror" {
				scrub(t, "vg/copies")
			}
		})
	}
}

// kernelSays are the lines of the kernel's log with any of the words.
func kernelSays(t *testing.T, words ...string) string {
	t.Helper()
	var b strings.Builder
	for l := range strings.Lines(lab.Run(t, "dmesg")) {
		for _, w := range words {
			if strings.Contains(l, w) {
				b.WriteString(l)
				break
			}
		}
	}
	return b.String()
}

// scrub compares all copies and counts what differs.
func scrub(t *testing.T, volume string) {
	t.Helper()
	lab.Run(t, "lvchange", "-qq", "--syncaction", "check", volume)
	for {
		out := strings.Fields(lab.Run(t, "lvs", "--noheadings", "-o", "raid_sync_action,raid_mismatch_count", volume))
		if len(out) != 2 || out[0] == "idle" {
			if len(out) != 2 || out[1] != "0" {
				t.Errorf("copies that differ: %v", out)
			}
			return
		}
	}
}

// TestCopiesNotWhole is refused as long as a copy is missing or being made, and nothing changes.
func TestCopiesNotWhole(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	disks := lab.Disks(t, 4)
	lab.Group(t, "vg", disks[:3]...)
	origin := lab.LogicalVolume(t, "vg", "copies", "--type", "raid1", "-m1", "-L", "64M")
	store := lab.Store(t, "store", disks[3], 0, 80)
	leg := strings.SplitN(line(lab.Run(t, "dmsetup", "table"), "vg-copies_rimage_1: "), ": ", 2)[1]
	lab.Run(t, "dmsetup", "suspend", "--noflush", "vg-copies_rimage_1")
	lab.Run(t, "dmsetup", "reload", "vg-copies_rimage_1", "--table", "0 131072 error")
	lab.Run(t, "dmsetup", "resume", "vg-copies_rimage_1")
	put(t, origin, random(t, 4096), 0) // the kernel finds out
	before := lab.Run(t, "dmsetup", "table")
	_, stderr, code := lab.NewTool(t).Try("create", origin, "--store", store, "--name", "s")
	if code != 5 || !strings.Contains(stderr, "not in sync") || !strings.Contains(stderr, "lvconvert --repair") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	if after := lab.Run(t, "dmsetup", "table"); after != before {
		t.Errorf("tables before:\n%safter:\n%s", before, after)
	}
	lab.Run(t, "dmsetup", "suspend", "--noflush", "vg-copies_rimage_1")
	lab.Run(t, "dmsetup", "reload", "vg-copies_rimage_1", "--table", leg)
	lab.Run(t, "dmsetup", "resume", "vg-copies_rimage_1")
	lab.Refresh(t, "vg/copies")
	tool := lab.NewTool(t)
	tool.OK("create", origin, "--store", store, "--name", "s")
	tool.OK("remove", "s")
}

// TestReachRefused names what cannot be cut, and what can instead.
func TestReachRefused(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	disks := lab.Disks(t, 4)
	for name, row := range map[string]struct {
		device string
		says   string
	}{
		"multipath": {lab.Multipath(t, "paths", "bio", disks[0]), "multipath"},
		"thin pool": {thinPool(t, disks[1], disks[2]), "thin-pool"},
	} {
		before := lab.Run(t, "dmsetup", "table")
		_, stderr, code := lab.NewTool(t).Try("create", row.device, "--store", disks[3], "--name", "s")
		if code != 7 || !strings.Contains(stderr, row.says) || !strings.Contains(stderr, "instead") {
			t.Errorf("%s: exit %d, %s", name, code, stderr)
		}
		if after := lab.Run(t, "dmsetup", "table"); after != before {
			t.Errorf("%s: tables before:\n%safter:\n%s", name, before, after)
		}
	}
}

func thinPool(t *testing.T, disk, metadata string) string {
	t.Helper()
	meta, data := lab.Linear(t, "meta", metadata, 0, 4), lab.Linear(t, "data", disk, 0, 64)
	return lab.Table(t, "pool", fmt.Sprintf("0 %d thin-pool %s %s 128 0", 64*lab.MiB, meta, data))
}
