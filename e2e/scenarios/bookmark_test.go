package scenarios

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestBookmark: sets become bookmarks while their origin is written to. What changed since each of them is listed, no less
// and no more, though chunks were copied before, while and after they did; older bookmarks read through newer ones.
func TestBookmark(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	disks := lab.Disks(t, 2)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	g := &generations{
		t: t, tool: lab.NewTool(t), rand: rand.New(rand.NewPCG(seed, 0)), store: map[string]string{}, sums: map[string][]uint32{},
		origin: lab.Volume{Name: "mark", Device: lab.Linear(t, "mark", disks[0], 0, chainedMiB)},
	}
	cuts := lab.Rounds(t, 3, 10)
	for i := range cuts {
		g.free = append(g.free, lab.Store(t, fmt.Sprint("mark-cow", i), disks[1], i*40, 38))
	}
	lab.Run(t, "dd", "if=/dev/urandom", "of="+g.origin.Device, "bs=1M", fmt.Sprint("count=", chainedMiB), "oflag=direct", "status=none")
	before := lab.Run(t, "dmsetup", "table", "mark")
	for n := range cuts {
		g.cut()
		name := setName(n)
		for i := range n {
			list, unit := listedExtents(t, g.tool.OK("changed", name, "--since", setName(i)))
			exact := i == n-1 // chunks of others have other sizes
			compareList(t, name+" since "+setName(i), list, max(unit, largestChunk), g.sums[setName(i)], g.sums[name], exact)
		}
		g.write()
		written := make(chan struct{})
		go func() {
			defer close(written)
			g.write()
		}()
		g.tool.OK("bookmark", name)
		<-written
		g.write()
	}
	table := lab.Run(t, "dmsetup", "table", "dmsnap-store-"+setName(0)+"-mark")
	if !strings.Contains(table, " zero") {
		t.Errorf("its data is kept: %s", table)
	}
	for n := range cuts { // the oldest first, then the newest, which others read through
		g.tool.OK("remove", setName((n*(cuts-1))%cuts))
	}
	if after := lab.Run(t, "dmsetup", "table", "mark"); after != before {
		t.Errorf("the origin has the table %s, not %s", after, before)
	}
}

// TestBookmarkInAFile: a bookmark whose store is a file on its own origin, with a writer that verifies what it reads.
func TestBookmarkInAFile(t *testing.T) {
	lab.Long(t)
	c := newChained(t, "ext4", 160)
	c.more = []string{"--size", "24m"}
	c.cut("a", "file:"+filepath.Join(c.v.Dir, "store"))
	a := blockSums(t, c.dev["a"])
	c.write()
	c.tool.OK("bookmark", "a")
	c.write()
	if text := c.tool.OK("list"); !strings.Contains(text, "bookmark") {
		t.Error(text)
	}
	c.cut("b", "file:"+filepath.Join(c.v.Dir, "store2"))
	list, unit := listedExtents(t, c.tool.OK("changed", "b", "--since", "a"))
	b := blockSums(t, c.dev["b"])
	in, left := inList(list, len(a)), 0
	for n := range a {
		if a[n] != b[n] && !in[n] {
			left++
		}
	}
	if inStores := 2 * 26 << 20 / blockSize; left > inStores {
		t.Errorf("%d blocks of %d differ and are not listed; the stores have %d", left, unit, inStores)
	}
	c.tool.OK("remove", "a")
	c.tool.OK("remove", "b")
	c.w.Stop(t)
	checkFilesystem(t, "ext4", c.v.Device, c.v.Dir)
}
