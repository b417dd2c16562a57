package scenarios

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

const slots = 64

// TestCyclesUnderLoad cuts, reads and removes again and again while a writer runs. The image holds every write
// acknowledged before the window and none issued after it, and stays so while the writer goes on. The receipt tells when
// the writer was held.
func TestCyclesUnderLoad(t *testing.T) {
	for fstype, rounds := range map[string]struct{ few, all int }{"ext4": {4, 35}, "xfs": {2, 15}} {
		t.Run(fstype, func(t *testing.T) {
			lab.Need(t)
			cycles := lab.Rounds(t, rounds.few, rounds.all)
			disks := lab.Disks(t, 2)
			v := lab.NewVolume(t, "cyc", fstype, disks[0], disks[1], 0, 400)
			tool := lab.NewTool(t)
			w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
			for i := range cycles {
				w.WaitFor(t, 3)
				cycle(t, tool, w, v, fmt.Sprintf("c%d", i))
			}
			w.Stop(t)
		})
	}
}

func cycle(t *testing.T, tool *lab.Tool, w *lab.Writer, v lab.Volume, name string) {
	t.Helper()
	set := tool.Create(name, v)
	cutFrozen(t, w, name, set)
	w.WaitFor(t, slots/8) // chunks are copied while the image is read
	dir := t.TempDir()
	tool.OK("mount", name, dir)
	got := lab.Check(t, filepath.Join(dir, "ring"), slots)
	w.Expect(t, name, set.Receipt, got)
	w.WaitFor(t, slots/8)
	dropCaches(t)
	if again := lab.Check(t, filepath.Join(dir, "ring"), slots); again != got {
		t.Errorf("%s held %d records, and later %d", name, got, again)
	}
	tool.OK("umount", name)
	tool.OK("remove", name)
}

// cutFrozen expects a set that nobody wrote to while it was cut.
func cutFrozen(t *testing.T, w *lab.Writer, name string, set lab.Set) {
	t.Helper()
	if set.State != "active" || set.Receipt.Consistency != "filesystem" {
		t.Fatalf("%s is %s at consistency %s", name, set.State, set.Receipt.Consistency)
	}
	from, to := set.Receipt.Held()
	if n := w.Passed(from, to); n > 0 || !from.Before(to) {
		t.Errorf("%s: %d writes passed between the freeze at %v and the thaw at %v", name, n, from, to)
	}
}

func dropCaches(t *testing.T) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestVolumesShareOneInstant has a writer that puts n on A and, when it is on the medium, n on B. In no cut is B ahead
// of A.
func TestVolumesShareOneInstant(t *testing.T) {
	lab.Need(t)
	cuts := lab.Rounds(t, 6, 20)
	disks := lab.Disks(t, 4)
	a := lab.NewVolume(t, "first", "ext4", disks[0], disks[2], 0, 128)
	b := lab.NewVolume(t, "second", "ext4", disks[1], disks[3], 0, 128)
	tool := lab.NewTool(t)
	w := lab.StartWriter(t, slots, filepath.Join(a.Dir, "ring"), filepath.Join(b.Dir, "ring"))
	for i := range cuts {
		w.WaitFor(t, 3)
		name := fmt.Sprintf("pair%d", i)
		set := tool.Create(name, a, b)
		dir := t.TempDir()
		tool.OK("mount", name, dir)
		onA := lab.Check(t, filepath.Join(dir, a.Dir, "ring"), slots)
		onB := lab.Check(t, filepath.Join(dir, b.Dir, "ring"), slots)
		if onB > onA || onA > onB+1 {
			t.Errorf("cut %d: A has %d records, B has %d (skew %d us)", i, onA, onB, set.Receipt.SkewUS)
		}
		tool.OK("umount", name)
		tool.OK("remove", name)
	}
	w.Stop(t)
}
