package scenarios

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// chained are persistent sets of one origin under a verifying writer, and what each image held when it was cut.
type chained struct {
	t    *testing.T
	tool *lab.Tool
	v    lab.Volume
	w    *lab.Writer
	rand *rand.Rand
	more []string // arguments of create
	past map[string][]uint32
	dev  map[string]string // images
}

const (
	chainedMiB = 20 // the origin
	chainedGap = 36 // from one store to the next
)

func newChained(t *testing.T, fstype string, sizeMiB int) *chained {
	t.Helper()
	lab.Need(t)
	disks := lab.Disks(t, 2)
	c := &chained{
		t: t, tool: lab.NewTool(t), rand: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0)), past: map[string][]uint32{}, dev: map[string]string{},
		v: lab.Volume{Name: "chain", Device: lab.Linear(t, "chain", disks[0], 0, sizeMiB)},
	}
	lab.Format(t, fstype, c.v.Device)
	c.v.Dir = lab.Mount(t, c.v.Device)
	lab.Run(t, "sh", "-c", "head -c 4M /dev/urandom > "+c.data()+" && sync -f "+c.v.Dir)
	c.w = lab.StartWriter(t, slots, filepath.Join(c.v.Dir, "ring"))
	return c
}

func (c *chained) data() string { return filepath.Join(c.v.Dir, "data") }

// write changes a part of the data file: now the first half of a chunk, now several.
func (c *chained) write() {
	c.t.Helper()
	for range 4 {
		lab.Run(c.t, "dd", "if=/dev/urandom", "of="+c.data(), "bs=16k", fmt.Sprint("count=", 1+c.rand.IntN(24)),
			fmt.Sprint("seek=", c.rand.IntN(230)), "conv=notrunc,fsync", "status=none")
	}
}

// cut takes a set with a store and a chunk size of its own, and checks the image against what is known of the origin: the
// data file, and how many records the writer had put where.
func (c *chained) cut(name, store string) {
	c.t.Helper()
	c.write()
	data := fileSum(c.t, c.data())
	c.w.WaitFor(c.t, 3)
	v := c.v
	v.Store = store
	chunk := []string{"64k", "16k", "256k", "4k"}[len(c.past)%4]
	set := c.tool.CreateWith(name, append([]string{"--persistent", "--chunk", chunk}, c.more...), v)
	c.dev[name] = set.Volumes[0].Device
	c.past[name] = blockSums(c.t, c.dev[name])
	dir := c.t.TempDir()
	c.tool.OK("mount", name, dir)
	if got := fileSum(c.t, filepath.Join(dir, "data")); got != data {
		c.t.Errorf("%s has another file than the origin had", name)
	}
	got := lab.Check(c.t, filepath.Join(dir, "ring"), slots)
	c.w.Expect(c.t, name, set.Receipt, got)
	c.tool.OK("umount", name)
}

// right compares images with what they held when they were cut: all, or some of very many.
func (c *chained) right(when string, some int) {
	c.t.Helper()
	names := slices.Sorted(maps.Keys(c.past))
	c.rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names[:min(some, len(names))] {
		if !slices.Equal(blockSums(c.t, c.dev[name]), c.past[name]) {
			c.t.Errorf("%s: the image of %s has changed", when, name)
		}
	}
}

// active expects that all sets there are have no fault.
func (c *chained) active(when string) {
	c.t.Helper()
	for name := range c.past {
		if set := c.tool.Show(name); set.State != "active" {
			c.t.Errorf("%s: %s is %s: %s", when, name, set.State, set.Volumes[0].Reason)
		}
	}
}

func (c *chained) remove(name string) {
	c.t.Helper()
	c.tool.OK("remove", name)
	delete(c.past, name)
	delete(c.dev, name)
}

// stores are places for n of them.
func (c *chained) stores(n, gap int) (stores []string) {
	disk := lab.Disks(c.t, 2)[1]
	for i := range n {
		stores = append(stores, lab.Store(c.t, fmt.Sprintf("chain-cow%d", i), disk, i*gap, gap-8))
	}
	return stores
}

// TestChainedSets cuts many persistent sets of one origin under load. Each image is right at its cut, in chunks of any
// size, and stays so bit for bit while later sets are cut and others removed or flattened in any order; the oldest is mounted for as
// long as it lives. Only the newest set's store grows.
func TestChainedSets(t *testing.T) {
	lab.Wide(t)
	c := newChained(t, "ext4", chainedMiB)
	n := lab.Rounds(t, 4, 30)
	stores := c.stores(n, chainedGap)
	for i, store := range stores {
		c.cut(setName(i), store)
		if i == 0 {
			c.tool.OK("mount", setName(0), t.TempDir())
		}
		if lab.Full() {
			c.right(fmt.Sprint("after cut ", i), 4)
		}
	}
	used := c.used()
	c.write()
	for name, now := range c.used() {
		if grew := now > used[name]; grew != (name == setName(n-1)) {
			t.Errorf("the store of %s had %d bytes and has %d", name, used[name], now)
		}
	}
	c.right("all cut", n)
	c.active("all cut")
	if table := lab.Run(t, "dmsetup", "deps", "-o", "devname", "dmsnap-core-s0-chain"); !strings.Contains(table, "(dmsnap-core-s1-chain)") {
		t.Errorf("the oldest snapshot does not read through the next: %s", table)
	}
	c.tool.OK("umount", setName(0))
	for _, i := range c.rand.Perm(n) {
		if lab.Full() && c.rand.IntN(2) == 0 {
			c.flatten(setName(i))
		} else {
			c.remove(setName(i))
		}
		c.write()
		c.right(fmt.Sprint("without ", setName(i)), 4)
	}
	c.w.Stop(t)
	checkFilesystem(t, "ext4", c.v.Device, c.v.Dir)
}

func (c *chained) used() map[string]uint64 {
	c.t.Helper()
	used := map[string]uint64{}
	for name := range c.past {
		used[name] = c.tool.Show(name).Volumes[0].Store.UsedBytes
	}
	return used
}

// TestChainsKilled kills dmsnap at random moments while it cuts, chains and removes, and once throws all it has written
// down away. Every image of a set that is left is right.
func TestChainsKilled(t *testing.T) {
	lab.Long(t)
	c := newChained(t, "ext4", chainedMiB)
	rounds := lab.Rounds(t, 3, 20)
	stores := c.stores(4, chainedGap)
	for i := range 3 {
		c.cut(setName(i), stores[i])
	}
	began := time.Now()
	c.cut("timed", stores[3])
	took := time.Since(began)
	c.remove("timed")
	for round := range rounds {
		c.killed(took, "create", c.v.Device, "--store", stores[3], "--persistent", "--name", "new")
		c.tool.OK("recover")
		c.write()
		c.right(fmt.Sprint("create killed in round ", round), 3)
		c.killed(took/2, "remove", "new")
		c.tool.OK("recover")
		if _, _, code := c.tool.Try("remove", "new"); code != 0 && code != 4 {
			t.Errorf("round %d: removing the new set after all: exit %d", round, code)
		}
		c.write()
		c.right(fmt.Sprint("remove killed in round ", round), 3)
		oldest := setName(round)
		c.remove(oldest)
		c.cut(setName(round+3), stores[round%3]) // free again, with the layers on it
		c.right(fmt.Sprint("round ", round), 3)
		c.active(fmt.Sprint("round ", round))
	}
	lab.Run(t, "rm", "-rf", c.tool.State)
	c.right("records lost", 3)
	c.active("records lost")
	for i := range 3 {
		c.remove(setName(rounds + (i+1)%3))
		c.right("records lost", 3)
	}
	c.w.Stop(t)
	checkFilesystem(t, "ext4", c.v.Device, c.v.Dir)
}

// killed starts dmsnap and kills it after some part of a time.
func (c *chained) killed(most time.Duration, args ...string) {
	c.t.Helper()
	cmd := c.tool.Command(args...)
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	wait := time.AfterFunc(time.Duration(c.rand.Int64N(int64(most))), func() { _ = cmd.Process.Kill() })
	defer wait.Stop()
	if _, ended := cmd.Wait().(*exec.ExitError); !ended {
		c.t.Logf("%s came through", args[0])
	}
}
