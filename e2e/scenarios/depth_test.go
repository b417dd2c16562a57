package scenarios

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestChainOfManyLayers cuts sets until the oldest image reads through as many as are allowed, and two more. It prints
// how long a read of the oldest image takes at each depth; its contents and those of a middle one never change.
func TestChainOfManyLayers(t *testing.T) {
	lab.Long(t)
	const deepest, gap = 64, 24
	c := newChained(t, "ext4", chainedMiB)
	disk := lab.Disks(t, 2)[1]
	past := map[string][]uint32{}
	for n := range deepest + 3 {
		name := setName(n)
		v := c.v
		v.Store = lab.Store(t, fmt.Sprintf("deep-cow%d", n), disk, n*gap, gap-2)
		set := c.tool.CreateWith(name, []string{"--persistent", "--chunk", "16k"}, v)
		c.dev[name] = set.Volumes[0].Device
		if n == 0 || n == deepest/2 {
			past[name] = blockSums(t, c.dev[name])
		}
		lab.Run(t, "dd", "if=/dev/urandom", "of="+c.data(), "bs=16k", "count=4", fmt.Sprint("seek=", c.rand.IntN(230)), "conv=notrunc,fsync", "status=none")
		if depth := n; depth == 0 || depth&(depth-1) == 0 {
			each := readLatency(t, c.dev[setName(0)], 200)
			t.Logf("%d sets between: a read of 4 KiB of the oldest image takes %v, the slowest of 100 %v", depth, each[len(each)/2], each[len(each)*99/100])
		}
	}
	c.w.Stop(t)
	for name, want := range past {
		if !slices.Equal(blockSums(t, c.dev[name]), want) {
			t.Errorf("the image of %s has changed", name)
		}
	}
	text := c.tool.OK("show", setName(deepest+2))
	if !strings.Contains(text, fmt.Sprint(deepest, " stacked sets already read through it")) {
		t.Errorf("nothing tells that no more sets read through one another:\n%s", text)
	}
	for n := range deepest + 3 {
		c.tool.OK("remove", setName(n))
	}
}

// readLatency reads that many blocks all over a device, beneath the page cache, and sorts how long each took.
func readLatency(t *testing.T, dev string, count int) (took []time.Duration) {
	t.Helper()
	fd, err := unix.Open(dev, unix.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(&os.PathError{Op: "open", Path: dev, Err: err})
	}
	defer unix.Close(fd)
	buf := lab.Aligned(4096)
	defer lab.Free(buf)
	for n := range count {
		began := time.Now()
		if _, err := unix.Pread(fd, buf, int64(n*7919%(chainedMiB<<8))<<12); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took
}
