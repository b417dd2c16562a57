package scenarios

import (
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// TestFlattenedChains flattens sets in the middle of a chain into older ones while a writer runs and both the oldest image and
// one of another filesystem's are mounted: at once, slowly and killed, with other sets cut meanwhile, and the newest one
// when it is not the newest any more. Every image keeps what it held at its cut, bit for bit.
func TestFlattenedChains(t *testing.T) {
	lab.Long(t)
	for fstype, sizeMiB := range map[string]int{"ext4": chainedMiB, "xfs": 320} {
		t.Run(fstype, func(t *testing.T) {
			c := newChained(t, fstype, sizeMiB)
			stores := c.stores(7, 200)
			for i := range 5 {
				c.cut(setName(i), stores[i])
			}
			c.tool.OK("mount", setName(0), t.TempDir())
			text := c.tool.OK("remove", "--flatten", "--dry-run", setName(2))
			if !strings.Contains(text, "fold dmsnap-core-s1-chain") {
				t.Errorf("the plan copies nothing:\n%s", text)
			}
			c.flatten(setName(2))
			c.right("s2 flattened into s1", 4)
			c.killedFlatten(setName(1), stores[5])
			c.right("s1 flattened into s0", 5)
			layer := "layer-" + c.tool.Show(setName(4)).UUID
			c.more = []string{"--size", "12m"}
			c.cut("s6", stores[6])
			c.tool.OK("extend", "s6", "+8m")
			c.write()
			c.right("newest store grown", 5)
			c.remove("s6")
			c.flatten(setName(4))
			c.right("s4 flattened into s3", 4)
			if _, _, code := c.tool.Try("show", layer); code != 4 {
				t.Errorf("showing what is left of s4: exit %d", code)
			}
			c.active("flattened")
			c.tool.OK("umount", setName(0))
			for _, name := range []string{setName(3), setName(0), setName(5)} {
				c.flatten(name)
				c.write()
				c.right("without "+name, 4)
			}
			if left := lab.Run(t, "dmsetup", "ls"); strings.Contains(left, "dmsnap") {
				t.Errorf("left over:\n%s", left)
			}
			c.w.Stop(t)
			checkFilesystem(t, fstype, c.v.Device, c.v.Dir)
		})
	}
}

// flatten removes a set that way; other chunks are written before, so that there is something to copy.
func (c *chained) flatten(name string) {
	c.t.Helper()
	c.write()
	c.tool.OK("remove", "--flatten", name)
	delete(c.past, name)
	delete(c.dev, name)
}

// killedFlatten kills a slow flattening again and again, cuts another set meanwhile, and then lets it come to its end.
func (c *chained) killedFlatten(name, store string) {
	c.t.Helper()
	layer := "layer-" + c.tool.Show(name).UUID
	slow := c.tool.Command("remove", "--flatten", "--rate", "256k", name)
	if err := slow.Start(); err != nil {
		c.t.Fatal(err)
	}
	for {
		if _, _, code := c.tool.Try("show", layer); code == 0 {
			break
		}
	}
	delete(c.past, name)
	delete(c.dev, name)
	c.cut(setName(5), store)
	if err := slow.Process.Kill(); err == nil {
		_ = slow.Wait()
	}
	c.right("flatten killed", 5)
	for range 3 {
		c.killed(time.Second, "remove", "--flatten", "--rate", "1m", layer)
		c.tool.OK("recover")
		c.write()
		c.right("flatten killed", 5)
	}
	if _, _, code := c.tool.Try("remove", "--flatten", layer); code != 0 && code != 4 {
		c.t.Errorf("the flattening does not go on: exit %d", code)
	}
}
