package scenarios

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// listedExtents reads the text of a list, which must have its end, and the unit in it.
func listedExtents(t *testing.T, text string) (list []extent, unit int64) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for _, line := range lines[:len(lines)-1] {
		var e extent
		if _, err := fmt.Sscan(line, &e.start, &e.length); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if n := len(list); e.length <= 0 || n > 0 && list[n-1].start+list[n-1].length >= e.start {
			t.Fatalf("%q comes after %v", line, list)
		}
		list = append(list, e)
	}
	var count, length, size int64
	last := lines[len(lines)-1]
	if _, err := fmt.Sscanf(last, "end: %d extents, %d of %d bytes, in units of %d", &count, &length, &size, &unit); err != nil || count != int64(len(list)) {
		t.Fatalf("%d extents, and at last %q: %v", len(list), last, err)
	}
	return list, unit
}

// inList tells of each block whether all of it is in a list.
func inList(list []extent, blocks int) []bool {
	in := make([]bool, blocks)
	for _, e := range list {
		for n := (e.start + blockSize - 1) / blockSize; n < (e.start+e.length)/blockSize && n < int64(blocks); n++ {
			in[n] = true
		}
	}
	return in
}

// compareList expects all blocks that differ in a list. If it is to be exact too, each chunk that it touches
// has a block that differs.
func compareList(t *testing.T, what string, list []extent, unit int64, one, other []uint32, exact bool) {
	t.Helper()
	in := inList(list, len(one))
	per := int(unit / blockSize)
	for from := 0; from < len(one); from += per {
		differs, listed := false, false
		for n := from; n < min(from+per, len(one)); n++ {
			if one[n] != other[n] && !in[n] {
				t.Errorf("%s: block %d differs and is not listed", what, n)
				return
			}
			differs, listed = differs || one[n] != other[n], listed || in[n]
		}
		if exact && listed && !differs {
			t.Errorf("%s: nothing differs in chunk %d of %d bytes, which is listed", what, from/per, unit)
			return
		}
	}
}

const largestChunk = 256 << 10 // of generations

// generations are persistent sets of a device that is written to at random, none of it twice the same.
type generations struct {
	t      *testing.T
	tool   *lab.Tool
	rand   *rand.Rand
	origin lab.Volume
	free   []string // stores
	store  map[string]string
	sums   map[string][]uint32 // of the images
	cuts   int
}

func (g *generations) write() {
	g.t.Helper()
	for range 1 + g.rand.IntN(5) {
		count := 1 + g.rand.IntN(60)
		lab.Run(g.t, "dd", "if=/dev/urandom", "of="+g.origin.Device, "bs=4k", fmt.Sprint("count=", count),
			fmt.Sprint("seek=", g.rand.IntN(chainedMiB*256-count)), "conv=notrunc", "oflag=direct", "status=none")
	}
}

func (g *generations) cut() {
	g.t.Helper()
	name := setName(g.cuts)
	v := g.origin
	v.Store, g.free = g.free[0], g.free[1:]
	chunk := []string{"64k", "16k", "4k", "256k"}[g.rand.IntN(4)]
	set := g.tool.CreateWith(name, []string{"--persistent", "--chunk", chunk, "--size", "18m"}, v)
	g.cuts++
	g.store[name], g.sums[name] = v.Store, blockSums(g.t, set.Volumes[0].Device)
}

func (g *generations) names() []string { return slices.Sorted(maps.Keys(g.sums)) }

func (g *generations) some() string { return g.names()[g.rand.IntN(len(g.sums))] }

// check compares some lists with the images.
func (g *generations) check(when string, pairs int) {
	g.t.Helper()
	for range min(pairs, len(g.sums)) {
		set, since := g.some(), g.some()
		list, _ := listedExtents(g.t, g.tool.OK("changed", set, "--since", since))
		// What was flattened was recorded in the chunks of a set that is gone.
		compareList(g.t, when+": "+set+" since "+since, list, largestChunk, g.sums[since], g.sums[set], true)
	}
}

// remove takes any set away. Its store is free again when it is no layer any more.
func (g *generations) remove() {
	g.t.Helper()
	name := g.some()
	args := []string{"remove", name}
	if newest := setName(g.cuts - 1); name != newest && g.rand.IntN(2) == 0 {
		args = append(args, "--flatten")
	}
	g.tool.OK(args...)
	delete(g.sums, name)
	if !strings.Contains(lab.Run(g.t, "dmsetup", "ls"), "dmsnap-store-layer-") {
		for name, store := range g.store {
			if g.sums[name] == nil {
				g.free = append(g.free, store)
				delete(g.store, name)
			}
		}
	}
}

// TestChanged: between any two of many sets of one origin, in both directions, dmsnap lists what differs, and at most a
// chunk more at each end: with chunks of several sizes, sets removed in the middle, their layers flattened, and stores extended.
func TestChanged(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	cuts := lab.Rounds(t, 6, 20)
	for round := range lab.Rounds(t, 1, 3) {
		g := &generations{
			t: t, tool: lab.NewTool(t), rand: rand.New(rand.NewPCG(seed, uint64(round))), store: map[string]string{}, sums: map[string][]uint32{},
			origin: lab.Volume{Name: "gen", Device: lab.Linear(t, fmt.Sprint("gen", round), disks[0], 64*round, chainedMiB)},
		}
		for i := range 8 {
			g.free = append(g.free, lab.Store(t, fmt.Sprintf("gen%d-cow%d", round, i), disks[1], i*40, 38))
		}
		lab.Run(t, "dd", "if=/dev/urandom", "of="+g.origin.Device, "bs=1M", fmt.Sprint("count=", chainedMiB), "oflag=direct", "status=none")
		for g.cuts < cuts {
			if len(g.free) == 0 || len(g.sums) > 3 && g.rand.IntN(2) == 0 {
				g.remove()
			} else {
				g.cut()
			}
			g.write()
			if len(g.sums) > 0 && g.rand.IntN(4) == 0 {
				if _, stderr, code := g.tool.Try("extend", g.some(), "+2m"); code != 0 && !strings.Contains(stderr, "enough for every block") {
					t.Fatalf("extend: exit %d: %s", code, stderr)
				}
			}
			g.check(fmt.Sprintf("round %d, %d cuts", round, g.cuts), 3)
		}
		if len(g.sums) == 0 {
			g.cut()
		}
		g.refused()
		for len(g.sums) > 0 {
			g.remove()
		}
	}
}

// refused asks for what is not recorded.
func (g *generations) refused() {
	g.t.Helper()
	v := g.origin
	v.Store = "ram"
	name := g.some()
	g.tool.CreateWith("transient", []string{"--transient", "--size", "24m"}, v)
	stdout, stderr, code := g.tool.Try("changed", "transient", "--since", name)
	if code != 12 || stdout != "" || !strings.Contains(stderr, "hint: copy the whole image") {
		g.t.Errorf("since a set, to a transient one: exit %d: %s%s", code, stdout, stderr)
	}
	g.tool.OK("remove", "transient")
}

// TestChangedLive: a filesystem is written to all the time. A list may have more then than what differs, but never less,
// while it is made beside cuts, removals and flattenings too.
func TestChangedLive(t *testing.T) {
	lab.Long(t)
	for fstype, sizeMiB := range map[string]int{"ext4": chainedMiB, "xfs": 320} {
		t.Run(fstype, func(t *testing.T) {
			c := newChained(t, fstype, sizeMiB)
			stores := c.stores(7, 360)
			sums := map[string][]uint32{}
			check := func(when string) {
				t.Helper()
				for since := range sums {
					for set := range sums {
						list, unit := listedExtents(t, c.tool.OK("changed", set, "--since", since))
						compareList(t, when+": "+set+" since "+since, list, unit, sums[since], sums[set], false)
					}
				}
			}
			for i, store := range stores[:5] {
				c.cut(setName(i), store)
				sums[setName(i)] = blockSums(t, c.dev[setName(i)])
				check(fmt.Sprint("cut ", i))
			}
			delete(sums, setName(2))
			slow := c.tool.Command("remove", "--flatten", "--rate", "256k", setName(2))
			if err := slow.Start(); err != nil {
				t.Fatal(err)
			}
			for range 5 {
				c.write()
				check("being flattened")
			}
			_ = slow.Process.Kill()
			_ = slow.Wait()
			delete(c.past, setName(2))
			delete(sums, setName(1))
			c.flatten(setName(1))
			check("flattened")
			for _, name := range slices.Sorted(maps.Keys(sums)) {
				c.remove(name)
				delete(sums, name)
			}
			c.w.Stop(t)
			checkFilesystem(t, fstype, c.v.Device, c.v.Dir)
		})
	}
}

// TestAllocated copies what is listed as in use, and nothing else, over garbage: a filesystem without a fault, with the
// same files.
func TestAllocated(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	for fstype, sizeMiB := range map[string]int{"ext4": 64, "xfs": 320} {
		t.Run(fstype, func(t *testing.T) {
			tool := lab.NewTool(t)
			v := lab.Volume{Name: "used", Device: lab.Linear(t, "used", disks[0], 0, sizeMiB), Store: lab.Store(t, "used-cow", disks[1], 0, 100)}
			lab.Format(t, fstype, v.Device)
			v.Dir = lab.Mount(t, v.Device)
			for i := range 12 {
				lab.Run(t, "sh", "-c", fmt.Sprintf("head -c %dk /dev/urandom > %s/f%d", 37*i*i, v.Dir, i))
			}
			lab.Run(t, "sh", "-c", "rm "+v.Dir+"/f3 "+v.Dir+"/f7 "+v.Dir+"/f9")
			set := tool.CreateWith("u", []string{"--persistent"}, v)
			lab.Run(t, "sh", "-c", "rm "+v.Dir+"/f11 && head -c 5M /dev/urandom > "+v.Dir+"/late && sync -f "+v.Dir)
			text := tool.OK("allocated", "u")
			list, _ := listedExtents(t, text)
			listed := int64(0)
			for _, e := range list {
				listed += e.length
			}
			if whole := int64(sizeMiB) << 20; strings.Contains(text, "everything") || listed > whole*2/3 || listed < 4<<20 {
				t.Errorf("%d of %d bytes are in use:\n%s", listed, whole, text)
			}
			copied := lab.Linear(t, "used-copy", disks[1], 120, sizeMiB)
			copyListed(t, copied, set.Volumes[0].Device, int64(sizeMiB)<<20, list)
			dir := t.TempDir()
			tool.OK("mount", "u", dir)
			again, options := t.TempDir(), map[string]string{"ext4": "ro", "xfs": "nouuid"}[fstype]
			lab.Run(t, "mount", "-o", options, copied, again)
			for i := range 12 {
				name := fmt.Sprint("f", i)
				if i == 3 || i == 7 || i == 9 {
					continue
				}
				if fileSum(t, filepath.Join(dir, name)) != fileSum(t, filepath.Join(again, name)) {
					t.Errorf("%s is not the same", name)
				}
			}
			lab.Run(t, "umount", again)
			check := map[string][]string{"ext4": {"e2fsck", "-fn"}, "xfs": {"xfs_repair", "-n"}}[fstype]
			lab.Run(t, check[0], check[1], copied)
			tool.OK("umount", "u")
			tool.OK("remove", "u")
		})
	}
}

// copyListed fills a device with garbage, and copies some extents to it.
func copyListed(t *testing.T, to, from string, size int64, list []extent) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	garbage := bytes.Repeat([]byte{0xa5}, 1<<20)
	for at := int64(0); at < size; at += int64(len(garbage)) {
		_, err = out.WriteAt(garbage, at)
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range list {
		if _, err := io.Copy(io.NewOffsetWriter(out, e.start), io.NewSectionReader(in, e.start, e.length)); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Sync(); err != nil {
		t.Fatal(err)
	}
}
