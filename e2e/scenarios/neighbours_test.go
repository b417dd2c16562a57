package scenarios

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// neighbour is what another program of root's does beside a live set. docs/neighbours.md has a row for each.
type neighbour struct {
	name    string
	fstype  string // ext4 if it says nothing
	format  string // the line that makes the filesystem, unless it is to be made as usual
	store   string // the block device beside the origin if it says nothing; "$dir" is where the origin is mounted
	idle    bool   // the filesystem is unmounted meanwhile
	quiet   bool   // nobody has a file open meanwhile
	does    string // lines of shell, each of which must succeed; $dev, $dir, $image, $store and $disk0 to $disk5 are set
	refused bool   // the last line is refused, and changes nothing
	state   string // of the set afterwards
	reason  string // words of why it is not active
	rewrote bool   // what was on the origin is gone as the neighbour wanted it
	moved   string // the name that the origin has afterwards
	again   string // lines that bring the origin back when the set is gone
	often   bool   // a normal run has it, too: on its first kernel
}

// beside is a host on which neighbours live: an origin with a filesystem and a writer, and a set of it.
type beside struct {
	neighbour
	v     lab.Volume
	tool  *lab.Tool
	disks []string
	image string
	kept  uint64 // records that the image holds
}

// live has each neighbour do its work beside a set of its own. The origin is never harmed, the image is right or said to be
// lost, the set goes, and nothing of ours is left.
func live(t *testing.T, all []neighbour, origin func(t *testing.T, disks []string) string) {
	t.Helper()
	for _, n := range all {
		t.Run(n.name, func(t *testing.T) {
			lab.Wide(t)
			if !n.often {
				lab.Long(t)
			}
			lab.Need(t)
			b := &beside{neighbour: n, tool: lab.NewTool(t), disks: lab.Disks(t, 6)}
			b.v = lab.Volume{Name: "beside", Device: origin(t, b.disks), Store: b.disks[5]}
			if b.fstype == "" {
				b.fstype = "ext4"
			}
			if n.format == "" {
				lab.Format(t, b.fstype, b.v.Device)
			} else {
				lab.Run(t, "sh", "-c", os.Expand(n.format, b.variable))
			}
			b.v.Dir = lab.Mount(t, b.v.Device)
			if b.store != "" {
				b.v.Store = os.Expand(b.store, b.variable)
			}
			b.run(t)
		})
	}
}

func (b *beside) run(t *testing.T) {
	t.Helper()
	ring := filepath.Join(b.v.Dir, "ring")
	w := lab.StartWriter(t, slots, ring)
	w.WaitFor(t, 5)
	b.image = b.tool.CreateWith("beside", []string{"--size", "64m"}, b.v).Volumes[0].Device
	b.kept = records(t, b.tool, "beside")
	w.WaitFor(t, slots)
	if b.idle || b.quiet {
		w.Stop(t)
	}
	if b.idle {
		lab.Run(t, "umount", b.v.Dir)
	}
	before := lab.Run(t, "dmsetup", "table")
	b.act(t, b.does)
	if after := lab.Run(t, "dmsetup", "table"); b.refused && after != before {
		t.Errorf("it was refused and changed tables:\n%s%s", before, after)
	}
	if !b.idle && !b.quiet {
		w.WaitFor(t, slots)
	}
	b.judge(t)
	b.tool.OK("remove", "beside")
	if !b.idle && !b.quiet {
		w.WaitFor(t, slots/4)
	}
	w.Stop(t)
	if !b.idle {
		lab.Run(t, "umount", b.v.Dir)
	}
	if b.again != "" {
		b.refused = false
		b.act(t, b.again)
	}
	b.whole(t, ring)
}

func (b *beside) variable(name string) string {
	if i := strings.TrimPrefix(name, "disk"); i != name {
		return b.disks[i[0]-'0']
	}
	return map[string]string{"dev": b.v.Device, "dir": b.v.Dir, "store": b.v.Store, "image": b.image}[name]
}

// act runs the neighbour's lines.
func (b *beside) act(t *testing.T, does string) {
	t.Helper()
	lines := slices.Collect(strings.Lines(strings.TrimSpace(does)))
	for i, l := range lines {
		cmd := exec.Command("sh", "-c", l)
		cmd.Env = os.Environ()
		for _, name := range []string{"dev", "dir", "store", "image", "disk0", "disk1", "disk2", "disk3", "disk4", "disk5"} {
			cmd.Env = append(cmd.Env, name+"="+b.variable(name))
		}
		out, err := cmd.CombinedOutput()
		t.Logf("%s: %v\n%s", strings.TrimSpace(l), err, out)
		if no := b.refused && i == len(lines)-1; (err != nil) != no {
			t.Errorf("%s: %v, to be refused: %v", l, err, no)
		}
	}
}

// judge compares what the set claims with what its image holds.
func (b *beside) judge(t *testing.T) {
	t.Helper()
	set := b.tool.Show("beside")
	t.Logf("the set is %s: %s", set.State, set.Volumes[0].Reason)
	if set.State != b.state || !strings.Contains(set.Volumes[0].Reason, b.reason) {
		t.Errorf("the set is %s because %q, want %s because %q", set.State, set.Volumes[0].Reason, b.state, b.reason)
	}
	if set.State == "active" {
		dropCaches(t)
		if got := records(t, b.tool, "beside"); got != b.kept {
			t.Errorf("the image holds %d records, and held %d", got, b.kept)
		}
		return
	}
	if out, stderr, code := b.tool.Try("mount", "beside", t.TempDir()); code == 0 {
		b.tool.OK("umount", "beside")
		t.Errorf("a set that is %s was mounted: %s%s", set.State, out, stderr)
	}
}

// whole looks at the origin when the set is gone.
func (b *beside) whole(t *testing.T, ring string) {
	t.Helper()
	if left := lab.Run(t, "dmsetup", "ls"); strings.Contains(left, "dmsnap") {
		t.Errorf("left:\n%s", left)
	}
	if b.moved != "" {
		b.v.Device = b.moved
	}
	if b.rewrote {
		lab.Format(t, b.fstype, b.v.Device) // to be mounted like the others at the end of the test
	} else {
		check(t, b.fstype, b.v.Device)
	}
	lab.Run(t, "mount", b.v.Device, b.v.Dir)
	if !b.rewrote {
		lab.Check(t, ring, slots)
	}
}
