package scenarios

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestRemovalInEveryOrder has three sets on one origin and takes them down in every order under load. Each image keeps
// what it had until it is removed itself, and nothing of ours stays after the last.
func TestRemovalInEveryOrder(t *testing.T) {
	lab.Wide(t)
	orders := [][]int{{2, 1, 0}, {1, 0, 2}, {0, 1, 2}, {0, 2, 1}, {1, 2, 0}, {2, 0, 1}}
	lab.Need(t)
	// The few are one that ends with the oldest, and one that ends with the newest.
	orders = orders[:lab.Rounds(t, 2, len(orders))]
	disks := lab.Disks(t, 2)
	v := lab.NewVolume(t, "many", "ext4", disks[0], disks[1], 0, 96)
	stores := []string{v.Store, lab.Store(t, "many-cow1", disks[1], 100, 96), lab.Store(t, "many-cow2", disks[1], 200, 96)}
	before := lab.Run(t, "dmsetup", "table")
	w := lab.StartWriter(t, slots, filepath.Join(v.Dir, "ring"))
	for _, order := range orders {
		removeIn(t, w, v, stores, order)
		if after := lab.Run(t, "dmsetup", "table"); after != before {
			t.Errorf("tables before:\n%safter:\n%s", before, after)
		}
	}
	w.Stop(t)
}

func removeIn(t *testing.T, w *lab.Writer, v lab.Volume, stores []string, order []int) {
	t.Helper()
	tool := lab.NewTool(t)
	held := make([]uint64, len(stores))
	for i, store := range stores {
		w.WaitFor(t, 5)
		v.Store = store
		tool.Create(setName(i), v)
		held[i] = records(t, tool, setName(i))
	}
	if !slices.IsSorted(held) || held[0] == held[2] {
		t.Errorf("the images hold %v records: the later ones must hold more", held)
	}
	left := []int{0, 1, 2}
	for _, gone := range order {
		w.WaitFor(t, slots/2)
		tool.OK("remove", setName(gone))
		left = slices.DeleteFunc(left, func(i int) bool { return i == gone })
		w.WaitFor(t, slots/2)
		for _, i := range left {
			if got := records(t, tool, setName(i)); got != held[i] {
				t.Errorf("order %v, after removing %d: image %d holds %d records, had %d", order, gone, i, got, held[i])
			}
		}
	}
}

func setName(i int) string { return fmt.Sprintf("s%d", i) }

func records(t *testing.T, tool *lab.Tool, name string) uint64 {
	t.Helper()
	dir := t.TempDir()
	tool.OK("mount", name, dir)
	defer tool.OK("umount", name)
	return lab.Check(t, filepath.Join(dir, "ring"), slots)
}

// TestBypassed has somebody reload the front's table behind our back, as lvresize or cryptsetup resize would. The set is
// called bypassed, is not mounted as good, and its removal leaves the foreign table alone.
func TestBypassed(t *testing.T) {
	lab.Need(t)
	disks := lab.Disks(t, 2)
	v := lab.NewVolume(t, "front", "ext4", disks[0], disks[1], 0, 64)
	tool := lab.NewTool(t)
	tool.Create("lost", v)
	foreign := fmt.Sprintf("0 %d linear %s 0", 64*lab.MiB, disks[0])
	lab.Run(t, "dmsetup", "reload", "front", "--table", foreign)
	lab.Run(t, "dmsetup", "resume", "front")
	set := tool.Show("lost")
	if set.State != "bypassed" || set.Volumes[0].Reason == "" {
		t.Errorf("the set is %q because %q, want bypassed with a reason", set.State, set.Volumes[0].Reason)
	}
	if _, stderr, code := tool.Try("mount", "lost", t.TempDir()); code == 0 || !strings.Contains(stderr, "bypassed") {
		t.Errorf("mount of a bypassed image: exit %d, %s", code, stderr)
	}
	if _, stderr, code := tool.Try("create", v.Device, "--name", "next", "--store", v.Store); code != 5 {
		t.Errorf("a cut of a bypassed origin: exit %d, %s", code, stderr)
	}
	tool.OK("remove", "lost")
	if table := lab.Run(t, "dmsetup", "table", "front"); !strings.Contains(table, " linear ") {
		t.Errorf("the foreign table is gone: %s", table)
	}
	if ls := lab.Run(t, "dmsetup", "ls"); strings.Contains(ls, "dmsnap-") {
		t.Errorf("left behind:\n%s", ls)
	}
}
