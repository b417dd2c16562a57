package run_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/e2e/lab"
	"github.com/dmsnap/dmsnap/freeze"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
	"github.com/dmsnap/dmsnap/targets"
)

const mib = 1 << 20

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func disk(n int) ioctl.DevNo { return ioctl.DevNo{Major: 252, Minor: uint32(16 * n)} }

// rig is a host with the origins home (ext4), db (xfs, mounted inside home) and
// boot (vfat), and a disk for the store of each.
type rig struct {
	*ioctltest.Kernel
	t       *testing.T
	ctl     *ioctl.Control
	read    *stack.Reader
	devices map[string]ioctl.DevNo
	systems freeze.Plan
	held    *freeze.Set
	warned  *bytes.Buffer // what runners log as a warning: udev did not answer
}

func names() []string { return []string{"home", "db", "boot"} }

func newRig(t *testing.T, o ioctltest.Options) *rig {
	t.Helper()
	k := ioctltest.New(o)
	g := &rig{Kernel: k, t: t, devices: map[string]ioctl.DevNo{}, warned: &bytes.Buffer{}}
	for i, name := range names() {
		k.AddDisk("vd"+string(rune('a'+i)), disk(i), 16*mib)
		k.AddDisk("vd"+string(rune('k'+i)), disk(10+i), 16*mib)
		g.devices[name] = k.AddDM(name, "LVM-"+name, linear(disk(i)))
	}
	check(t, k.Write(g.devices["boot"], 82, []byte("FAT32   ")))
	k.Mount(g.devices["home"], "/home", "ext4")
	k.Mount(g.devices["db"], "/home/db", "xfs")
	k.Mount(g.devices["boot"], "/boot", "vfat")
	var err error
	g.ctl, err = k.Border().OpenControl()
	check(t, err)
	g.read = &stack.Reader{Kernel: k.Border(), Control: g.ctl}
	return g
}

func linear(d ioctl.DevNo) ioctltest.Row {
	return ioctltest.Row{Length: 16384, Type: "linear", Params: d.String() + " 0"}
}

// request asks for a set of some origins with the facts as they are, their
// filesystems opened.
func (g *rig) request(set string, origins ...string) plan.CreateRequest {
	g.t.Helper()
	r := plan.CreateRequest{Set: set, ID: fmt.Sprintf("1d%030x", set), Chunk: 16, Mode: targets.PersistentOverflow, Writable: true}
	table, err := freeze.Mounts(g.Border())
	check(g.t, err)
	var devices []freeze.Device
	for _, name := range origins {
		devices = append(devices, freeze.Device{DevNo: g.devices[name], Front: true})
	}
	g.systems = table.Plan(devices...)
	ours, err := g.read.Look()
	check(g.t, err)
	for i, name := range origins {
		v := plan.VolumeRequest{BaseID: "ba5e" + name}
		v.Origin, err = g.read.Origin(name, g.devices[name], ours)
		check(g.t, err)
		store := disk(10 + i)
		v.Store = plan.Store{Kind: "device", Path: "/dev/vd" + string(rune('k'+i)), Dev: store, Size: 14 * mib / 512, LogicalBlock: 512}
		for key, fs := range g.systems {
			if fs.Uses(g.devices[name]) {
				method := map[freeze.Method]plan.Method{freeze.Freeze: plan.ByFIFREEZE, freeze.LockFS: plan.ByLockFS}[fs.Method]
				v.Origin.Filesystems = append(v.Origin.Filesystems, plan.Filesystem{Type: fs.FSType, Mountpoints: []string{fs.Mountpoint()}, Method: method, Front: name, Key: key})
			}
		}
		r.Volumes = append(r.Volumes, v)
	}
	g.held, err = freeze.Open(g.Border(), g.systems)
	check(g.t, err)
	return r
}

// spare gives a request disks that no other set has its stores on.
func (g *rig) spare(r *plan.CreateRequest) {
	for i := range r.Volumes {
		g.AddDisk(fmt.Sprint("spare", i), disk(20+i), 16*mib)
		r.Volumes[i].Store.Path, r.Volumes[i].Store.Dev = fmt.Sprint("/dev/spare", i), disk(20+i)
	}
}

func (g *rig) plan(r plan.CreateRequest) *plan.Plan {
	g.t.Helper()
	p, err := plan.Create(r)
	check(g.t, err)
	return p
}

// runner carries out one plan.
func (g *rig) runner() *run.Runner {
	r := &run.Runner{
		Kernel: g.Border(), Control: g.ctl, Log: slog.New(slog.NewTextHandler(g.warned, &slog.HandlerOptions{Level: slog.LevelWarn})), Freezers: map[int]run.Freezer{},
		Deadline: time.Minute, BusyTimeout: time.Nanosecond, UdevTimeout: time.Second,
		Create: func(name, uuid string) error {
			_, err := g.ctl.Create(name, uuid, 0, ioctl.DevNo{})
			return err
		},
	}
	if g.held == nil {
		return r
	}
	for _, h := range g.held.Handles() {
		for key, fs := range g.systems {
			if fs.DevNo == h.Filesystem().DevNo {
				r.Freezers[key] = h
			}
		}
	}
	return r
}

// cut makes a set, and lets its filesystems go.
func (g *rig) cut(set string, origins ...string) *plan.Plan {
	g.t.Helper()
	p := g.plan(g.request(set, origins...))
	_, err := g.runner().Run(context.Background(), p)
	check(g.t, errors.Join(err, g.held.Close()))
	g.held = nil
	return p
}

// removal plans the teardown of a whole set.
func (g *rig) removal(p *plan.Plan) *plan.Plan {
	g.t.Helper()
	ours, err := g.read.Look()
	check(g.t, err)
	r := plan.RemoveRequest{Set: p.Set, ID: p.ID}
	for _, v := range p.Volumes {
		rv := plan.RemoveVolume{Image: v.Image, Store: v.Store, StoreSize: v.StoreSize}
		rv.Media = []plan.Medium{{Path: v.StoreFacts.Path, Dev: v.StoreFacts.Dev, Held: true, Label: v.Label(p.ID, p.Set)}}
		rv.Origin, err = g.read.Origin(v.Front, v.Origin.Dev, ours)
		check(g.t, err)
		rv.Last = len(rv.Origin.Base.Images) == 1
		r.Volumes = append(r.Volumes, rv)
	}
	return plan.Remove(r)
}

// same fails if the host is not as it was.
func (g *rig) same(what, before string) {
	g.t.Helper()
	if diff := difference(before, g.Snapshot()); diff != "" {
		g.t.Errorf("%s: the state differs\n%s", what, diff)
	}
	g.healthy(what)
}

// healthy fails if a call would never have returned.
func (g *rig) healthy(what string) {
	g.t.Helper()
	if hangs := g.Hangs(); len(hangs) > 0 {
		g.t.Errorf("%s: on a real kernel this hangs: %v", what, hangs)
	}
}

// difference lists the lines that only one side has.
func difference(before, after string) string {
	count := map[string]int{}
	for l := range strings.Lines(before) {
		count[l]++
	}
	for l := range strings.Lines(after) {
		count[l]--
	}
	var b strings.Builder
	for l := range strings.Lines(before + after) {
		switch n := count[l]; {
		case n > 0:
			b.WriteString("gone: " + l)
		case n < 0:
			b.WriteString("new:  " + l)
		}
		count[l] = 0
	}
	return b.String()
}

// running fails if a front is suspended or a filesystem frozen.
func (g *rig) running(what string) {
	g.t.Helper()
	for l := range strings.Lines(g.Snapshot()) {
		front := false
		for _, name := range names() {
			front = front || strings.HasPrefix(l, "dm "+name+" 254:")
		}
		if front && strings.Contains(l, " suspended") || strings.HasPrefix(l, "fs ") && !strings.Contains(l, "frozen=0") {
			g.t.Errorf("%s: %s", what, l)
		}
	}
}

// failAt makes the n-th call from now fail; what it was is in the result.
func (g *rig) failAt(n int, errno unix.Errno) *string {
	first, failed := g.Calls()+n, ""
	g.Fail(func(c ioctltest.Call) error {
		if c.N != first || c.Op == "semremove" { // a semaphore that cannot be removed is lost to everybody
			if c.N == first {
				failed = "nothing"
			}
			return nil
		}
		failed = fmt.Sprintf("%v of %s", errno, c)
		return errno
	})
	return &failed
}

// next is the next call to fail: every one at full length, else a part of them. Plans
// and fakes differ in length, so that together they look at nearly all.
func next(n int) int {
	switch {
	case n == 0, lab.Full():
		return n + 1
	case testing.Short():
		return n + 23
	}
	return n + 5
}

// kernels are the fakes everything is tested on; one in short runs.
func kernels(t *testing.T, f func(t *testing.T, o ioctltest.Options)) {
	t.Helper()
	releases := []string{"6.1.0", "6.12.0", "7.2.0"}
	if testing.Short() {
		releases = releases[:1]
	}
	for _, release := range releases {
		for _, udev := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s udev=%v", release, udev), func(t *testing.T) {
				f(t, ioctltest.Options{Release: release, Udev: udev})
			})
		}
	}
}
