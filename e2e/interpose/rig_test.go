package interpose

import (
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// rig is a plain device with a base and a front, as the controller would make them.
type rig struct {
	t           *testing.T
	plain       string
	base, front string // names
	top         string // of the device that front and images stand on
	sectors     string
	attached    bool
}

func newRig(t *testing.T, name, plain string) *rig {
	t.Helper()
	r := newBase(t, name, plain)
	r.createFront()
	return r
}

// newTrackedRig has a tracker between base and front, and its metadata on a device.
func newTrackedRig(t *testing.T, name, plain, meta string, block int) *rig {
	t.Helper()
	r := newBase(t, name, plain)
	r.top = name + "-tracker"
	r.create(r.top, fmt.Sprintf("0 %s era %s /dev/mapper/%s %d", r.sectors, meta, r.base, block))
	r.createFront()
	return r
}

func newBase(t *testing.T, name, plain string) *rig {
	t.Helper()
	r := &rig{t: t, plain: plain, base: name + "-base", front: name + "-front", top: name + "-base"}
	r.sectors = strings.TrimSpace(lab.Run(t, "blockdev", "--getsz", plain))
	r.create(r.base, r.table(r.base))
	return r
}

// createFront also sees to it that a test that fails leaves nothing attached.
func (r *rig) createFront() {
	r.t.Helper()
	r.create(r.front, r.table(r.front))
	r.t.Cleanup(func() {
		if r.attached {
			r.detach()
		}
	})
}

func (r *rig) table(name string) string {
	if name == r.base {
		return "0 " + r.sectors + " interpose " + r.plain
	}
	return "0 " + r.sectors + " snapshot-origin /dev/mapper/" + r.top
}

func (r *rig) create(name, table string) {
	r.t.Helper()
	lab.Run(r.t, "dmsetup", "create", name, "--table", table)
	r.t.Cleanup(func() { lab.Run(r.t, "dmsetup", "remove", "--retry", name) })
}

func (r *rig) attach() {
	r.t.Helper()
	begun := time.Now()
	lab.Run(r.t, "dmsetup", "message", r.base, "0", "attach", "/dev/mapper/"+r.front)
	r.t.Logf("attached %s in %v", r.plain, time.Since(begun))
	r.attached = true
}

func (r *rig) detach() {
	r.t.Helper()
	begun := time.Now()
	lab.Run(r.t, "dmsetup", "message", r.base, "0", "detach")
	r.t.Logf("detached %s in %v", r.plain, time.Since(begun))
	r.attached = false
}

// status is what the module says: the front's number or "-", and the number of writes that went past it.
func (r *rig) status() (front string, bypassed int) {
	r.t.Helper()
	front, bypassed, _ = r.fullStatus()
	return front, bypassed
}

// fullStatus has the word behind them too, "" where there is none.
func (r *rig) fullStatus() (front string, bypassed int, state string) {
	r.t.Helper()
	fields := append(strings.Fields(lab.Run(r.t, "dmsetup", "status", r.base)), "")
	if len(fields) != 6 && len(fields) != 7 {
		r.t.Fatalf("status is %q", fields)
	}
	bypassed, err := strconv.Atoi(fields[4])
	if err != nil {
		r.t.Fatal(err)
	}
	return fields[3], bypassed, fields[5]
}

// waitFor polls the status: nothing tells when a worker of the module has ended.
func (r *rig) waitFor(front, state string) {
	r.t.Helper()
	var f, s string
	for range 600 {
		if f, _, s = r.fullStatus(); f == front && s == state {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.t.Fatalf("front %s %s, want %s %s", f, s, front, state)
}

// number is the front's, as the status has it.
func (r *rig) number() string {
	r.t.Helper()
	return strings.TrimSpace(lab.Run(r.t, "dmsetup", "info", "--columns", "--noheadings", "--separator", ":", "--options", "major,minor", r.front))
}

// frontDevice is the front's name for the kernel.
func (r *rig) frontDevice() string {
	r.t.Helper()
	return r.kernelName(r.front)
}

func (r *rig) kernelName(name string) string {
	r.t.Helper()
	return strings.TrimSpace(lab.Run(r.t, "dmsetup", "info", "--columns", "--noheadings", "--options", "blkdevname", name))
}

// written is how many bytes have been written to a device.
func written(t *testing.T, name string) int {
	t.Helper()
	return 512 * stat(t, name, 7)
}

// stat is a field of Documentation/block/stat.rst.
func stat(t *testing.T, name string, field int) int {
	t.Helper()
	fields := strings.Fields(lab.Run(t, "cat", "/sys/class/block/"+name+"/stat"))
	n, err := strconv.Atoi(fields[field-1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// image is a snapshot of a rig.
type image struct {
	*rig
	name, store string
	removed     bool
}

// cut makes an image. Without ruleB the front is left running, which the kernel does not forbid.
func (r *rig) cut(name, store, mountpoint string, ruleB bool) *image {
	r.t.Helper()
	i := &image{rig: r, name: name, store: store}
	lab.Run(r.t, "dd", "if=/dev/zero", "of="+store, "bs=4k", "count=1", "oflag=direct", "status=none")
	lab.Run(r.t, "dmsetup", "create", name, "--notable")
	r.t.Cleanup(func() {
		if !i.removed {
			i.remove()
		}
	})
	lab.Run(r.t, "dmsetup", "load", name, "--table", fmt.Sprintf("0 %s snapshot /dev/mapper/%s %s P 16", r.sectors, r.top, store))
	if mountpoint != "" {
		lab.Run(r.t, "fsfreeze", "-f", mountpoint)
	}
	if ruleB {
		lab.Run(r.t, "dmsetup", "suspend", "--nolockfs", r.front)
	}
	lab.Run(r.t, "dmsetup", "resume", name)
	if ruleB {
		lab.Run(r.t, "dmsetup", "resume", r.front)
	}
	if mountpoint != "" {
		lab.Run(r.t, "fsfreeze", "-u", mountpoint)
	}
	return i
}

func (i *image) remove() {
	i.t.Helper()
	lab.Run(i.t, "dmsetup", "remove", "--retry", i.name)
	i.removed = true
}

func (i *image) path() string { return "/dev/mapper/" + i.name }

func (i *image) sum() uint32 { return sum(i.t, i.path()) }

// sum reads a whole device past the page cache.
func sum(t *testing.T, path string) uint32 {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{f}, lab.Aligned(1<<20)); err != nil {
		t.Fatal(err)
	}
	return h.Sum32()
}

// refused runs a command that must fail, and returns what it said.
func refused(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err == nil {
		t.Errorf("%s %s: succeeded", name, strings.Join(args, " "))
	}
	return string(out)
}
