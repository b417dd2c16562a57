package scenarios

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestStoresGrowInPlace grows each kind of store that dmsnap makes three times under a verifying writer, while more is
// overwritten than it took at first. The image stays what it was outside the store's own blocks, bit for bit; a file that
// was deleted since the cut, whose blocks are what the filesystem gives away first, is in it still.
func TestStoresGrowInPlace(t *testing.T) {
	lab.Long(t)
	for _, fstype := range []string{"ext4", "xfs"} {
		t.Run(fstype, func(t *testing.T) {
			v, beside, end := twoFilesystems(t, fstype)
			tool := lab.NewTool(t)
			w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
			lab.Run(t, "sh", "-c", fmt.Sprintf(`cd %s && head -c 24M /dev/urandom > data && sync -f . &&
				fallocate -l $(($(stat -fc '%%a * %%S' .) - (160 << 20))) fill && sync -f .`, v.Dir))
			for kind, spec := range map[string]string{"own": "file:" + v.Dir + "/cow", "else": "file:" + beside + "/cow", "ram": "ram"} {
				t.Run(kind, func(t *testing.T) {
					v := v
					v.Store = spec
					growInPlace(t, tool, w, v, kind)
				})
			}
			w.Stop(t)
			lab.Check(t, filepath.Join(v.Dir, "ring"), slots)
			end("ring", "data", "fill")
		})
	}
}

func growInPlace(t *testing.T, tool *lab.Tool, w *lab.Writer, v lab.Volume, kind string) {
	t.Helper()
	gone, data := filepath.Join(v.Dir, "gone"), filepath.Join(v.Dir, "data")
	lab.Run(t, "sh", "-c", "head -c 40M /dev/urandom > "+gone+" && sync -f "+v.Dir)
	was := fileSum(t, gone)
	set := tool.CreateWith(kind, []string{"--size", "8m"}, v)
	image := set.Volumes[0].Device
	before := blockSums(t, image)
	lab.Run(t, "sh", "-c", "rm "+gone+" && sync -f "+v.Dir)
	dir := t.TempDir()
	for i := range int64(3) {
		if i == 1 { // somebody reads it meanwhile
			tool.OK("mount", kind, dir)
		}
		tool.OK("extend", kind, "+8m")
		w.WaitFor(t, slots/4)
		overwrite(t, data, i*8<<20, 8<<20)
	}
	set = tool.Show(kind)
	if s := set.Volumes[0].Store; set.State != "active" || s.SizeBytes != 32<<20 || s.UsedBytes < 24<<20 {
		t.Errorf("%s: %+v", set.State, s)
	}
	table := lab.Run(t, "dmsetup", "table", "dmsnap-store-"+kind+"-kinds")
	t.Log(strings.TrimSpace(table))
	if kind != "ram" { // what was free at the cut is not enough for more
		if out, stderr, code := tool.Try("extend", kind, "+290m"); code != 6 {
			t.Errorf("far too much: exit %d, %s%s", code, out, stderr)
		}
	}
	if kind == "own" {
		if out, stderr, code := tool.Try("extend", kind, "+60m"); code != 6 {
			t.Errorf("more than was free at the cut: exit %d, %s%s", code, out, stderr)
		}
		if after := lab.Run(t, "dmsetup", "table", "dmsnap-store-"+kind+"-kinds"); after != table {
			t.Errorf("a refused extend has changed the store:\n%s\n%s", table, after)
		}
	}
	unchanged(t, image, before, storeBlocks(t, "dmsnap-store-"+kind+"-kinds", "dmsnap-base-kinds"))
	if got := fileSum(t, filepath.Join(dir, "gone")); got != was {
		t.Error("a file that was deleted since the cut is not in the image any more")
	}
	lab.Check(t, filepath.Join(dir, "ring"), slots)
	tool.OK("umount", kind)
	tool.OK("remove", kind)
}

// TestMonitorGrowsAFile has a store of 8 MiB on the origin's own filesystem and a burst of ten times that. The monitor is
// killed on the way, in whatever it is doing, and the next one goes on. The image stays what it was.
func TestMonitorGrowsAFile(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	v := lab.NewVolume(t, "monf", "ext4", disks[0], disks[1], 0, 320)
	v.Store = "file:" + v.Dir + "/cow"
	data := filepath.Join(v.Dir, "data")
	lab.Run(t, "sh", "-c", "head -c 84M /dev/urandom > "+data+"; sync -f "+v.Dir)
	tool := lab.NewTool(t)
	w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
	set := tool.CreateWith("burst", []string{"--size", "8m"}, v)
	before := blockSums(t, set.Volumes[0].Device)
	for part := range int64(2) {
		m := startMonitor(t, tool, "--threshold", "40")
		for at := part * 42; at < (part+1)*42; at++ {
			// What is left must take the writer's journal while no monitor runs.
			awaitRoom(t, "dmsnap-burst-monf", 4<<20)
			overwrite(t, data, at<<20, 1<<20)
		}
		w.WaitFor(t, slots/4)
		awaitRoom(t, "dmsnap-burst-monf", 4<<20)
		m.kill(t)
		t.Log(strings.TrimSpace(lab.Run(t, "dmsetup", "table", "dmsnap-store-burst-monf")))
	}
	tool.OK("recover")
	if set = tool.Show("burst"); set.State != "active" || set.Volumes[0].Store.SizeBytes < 84<<20 {
		t.Fatalf("the set is %s: %+v", set.State, set.Volumes[0])
	}
	unchanged(t, set.Volumes[0].Device, before, storeBlocks(t, "dmsnap-store-burst-monf", "dmsnap-base-monf"))
	w.Stop(t)
	tool.OK("remove", "burst")
	lab.Check(t, filepath.Join(v.Dir, "ring"), slots)
	nothingLeft(t, v.Dir, "ring", "data", "lost+found")
	checkFilesystem(t, "ext4", v.Device, v.Dir)
}
