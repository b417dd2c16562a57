package run_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
	"github.com/dmsnap/dmsnap/targets"
)

// TestVerifyUndoes: an image that is no good after the window is taken back.
func TestVerifyUndoes(t *testing.T) {
	for name, row := range map[string]struct {
		role plan.Role
		harm func(g *rig)
		says string
	}{
		"invalid":         {plan.RoleImage, func(g *rig) { g.Invalidate("dmsnap-nightly-boot") }, "is Invalid"},
		"overflow":        {plan.RoleImage, func(g *rig) { g.Overflow("dmsnap-nightly-boot") }, "is Overflow"},
		"image suspended": {plan.RoleImage, func(g *rig) { g.Kernel.Suspend("dmsnap-nightly-boot", true) }, "dmsnap-nightly-boot is suspended"},
		"front suspended": {plan.RoleFront, func(g *rig) { g.Kernel.Suspend("boot", true) }, "boot is suspended"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, ioctltest.Options{Udev: true})
			p := g.plan(g.request("nightly", "boot", "home"))
			before := g.Snapshot()
			r := g.runner()
			r.Fail = func(s plan.Step) error {
				if s.Phase == plan.Finish && s.Action == plan.Verify && s.Role == row.role && strings.HasSuffix(s.Device, "boot") {
					row.harm(g)
				}
				return nil
			}
			_, err := r.Run(background, p)
			if err == nil || !strings.Contains(err.Error(), row.says) {
				t.Error(err)
			}
			g.same(name, before)
			cookies := 0
			for _, c := range g.Log() {
				if c.Op == "semget" {
					cookies++
				}
			}
			if cookies != 2 {
				t.Errorf("%d times waited for udev, not once for the set and once for its end", cookies)
			}
		})
	}
}

// nodes are what is in /dev/mapper.
func (g *rig) nodes() string {
	g.t.Helper()
	found, err := g.Border().ReadDir("/dev/mapper")
	check(g.t, err)
	return strings.Join(found, " ")
}

// TestNodesWithoutUdev: somebody has to make them, and to remove them.
func TestNodesWithoutUdev(t *testing.T) {
	g := newRig(t, ioctltest.Options{})
	before := g.nodes()
	p := g.cut("nightly", "home")
	for _, name := range []string{p.Volumes[0].Image, p.Volumes[0].Store, p.Volumes[0].Base} {
		st, err := g.Border().Stat("/dev/mapper/" + name)
		if err != nil || st.Mode != unix.S_IFBLK|0o600 || st.Rdev != g.number(name) {
			t.Errorf("%s: %+v, %v", name, st, err)
		}
	}
	_, err := g.runner().Run(background, g.removal(p))
	check(t, err)
	if got := g.nodes(); got != before {
		t.Errorf("left: %s", got)
	}
}

// TestNodesWithUdev are udev's own links.
func TestNodesWithUdev(t *testing.T) {
	g := newRig(t, ioctltest.Options{Udev: true})
	p := g.cut("nightly", "home")
	if st, err := g.Border().Lstat("/dev/mapper/" + p.Volumes[0].Image); err != nil || !st.Is(unix.S_IFLNK) {
		t.Errorf("%+v, %v", st, err)
	}
	for _, hidden := range []string{p.Volumes[0].Store, p.Volumes[0].Base} {
		if st, err := g.Border().Lstat("/dev/mapper/" + hidden); err != nil || st.Mode != unix.S_IFBLK|0o600 {
			t.Errorf("%+v, %v", st, err)
		}
	}
	for _, c := range g.Log() {
		if (c.Op == "mknod" || c.Op == "unlink") && strings.HasSuffix(c.Path, "/"+p.Volumes[0].Image) {
			t.Errorf("udev runs, and we do %s", c)
		}
	}
}

// TestWrongNode: one that an earlier device left gives way.
func TestWrongNode(t *testing.T) {
	for name, place := range map[string]func(g *rig, node string){
		"other number":  func(g *rig, node string) { check(g.t, g.Border().Mknod(node, unix.S_IFBLK|0o600, disk(0))) },
		"file":          func(g *rig, node string) { g.WriteFile(node, "x") },
		"dangling link": func(g *rig, node string) { g.Symlink("../nowhere", node) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, ioctltest.Options{})
			node := "/dev/mapper/dmsnap-nightly-home"
			place(g, node)
			p := g.cut("nightly", "home")
			if st, err := g.Border().Stat(node); err != nil || !st.Is(unix.S_IFBLK) || st.Rdev != g.number(p.Volumes[0].Image) {
				t.Errorf("%+v, %v", st, err)
			}
		})
	}
}

// TestGoneNodes: those of devices that went without us.
func TestGoneNodes(t *testing.T) {
	g := newRig(t, ioctltest.Options{})
	before := g.Snapshot()
	check(t, g.Border().Mknod("/dev/mapper/dmsnap-nightly-home", unix.S_IFBLK|0o600, disk(0)))
	p := plan.Remove(plan.RemoveRequest{Set: "nightly", Names: []string{"dmsnap-nightly-home", "dmsnap-store-nightly-home"}})
	_, err := g.runner().Run(background, p)
	check(t, err)
	g.same("nodes of nothing", before)
}

// TestProcessorsGoBack: a plan that holds nobody leaves the process as any other.
func TestProcessorsGoBack(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	g := newRig(t, ioctltest.Options{})
	_, err := g.runner().Run(background, plan.Remove(plan.RemoveRequest{Set: "nightly", Names: []string{"dmsnap-nightly-home"}}))
	check(t, err)
	g.cut("nightly", names()...)
	if n := runtime.GOMAXPROCS(0); n != 1 {
		t.Errorf("%d processors after a window, 1 before", n)
	}
}

// TestNameTaken: a device of somebody else's that has our name stays, and so does
// what it holds.
func TestNameTaken(t *testing.T) {
	for _, name := range []string{"dmsnap-base-home", "dmsnap-store-nightly-home", "dmsnap-nightly-home"} {
		for _, udev := range []bool{true, false} {
			g := newRig(t, ioctltest.Options{Udev: udev})
			g.AddDM(name, "SOMEBODY-ELSE", ioctltest.Row{Length: 8, Type: "zero"})
			p := g.plan(g.request("nightly", "home"))
			before := g.Snapshot()
			_, err := g.runner().Run(background, p)
			if _, stuck := errors.AsType[*run.UndoError](err); stuck || !errors.Is(err, unix.EBUSY) {
				t.Error(err)
			}
			g.same(name+" is taken", before)
		}
	}
}

// TestWipe: a header of an earlier use is not taken for this set's, and none is
// left for a later one.
func TestWipe(t *testing.T) {
	for _, mode := range []targets.Mode{targets.Transient, targets.PersistentOverflow} {
		g := newRig(t, ioctltest.Options{})
		check(t, g.Write(disk(10), layout.Lead, []byte("SnAp\x01\x00\x00\x00\x01\x00\x00\x00\x10\x00\x00\x00")))
		r := g.request("nightly", "home")
		r.Mode = mode
		p := g.plan(r)
		_, err := g.runner().Run(background, p)
		check(t, errors.Join(err, g.held.Close()))
		g.held = nil
		if g.OldExceptions(p.Volumes[0].Image) {
			t.Errorf("%v: exceptions of an earlier use were loaded", mode)
		}
		_, err = g.runner().Run(background, g.removal(p))
		check(t, err)
		head := make([]byte, layout.Lead+4096)
		check(t, g.Read(disk(10), 0, head))
		if strings.Trim(string(head), "\x00") != "" {
			t.Errorf("%v: a header is left on the store", mode)
		}
	}
}

// TestReadOnlyImage: only the image is.
func TestReadOnlyImage(t *testing.T) {
	g := newRig(t, ioctltest.Options{})
	r := g.request("nightly", "home")
	r.Writable = false
	_, err := g.runner().Run(background, g.plan(r))
	check(t, err)
	for name, ro := range map[string]bool{"dmsnap-nightly-home": true, "home": false, "dmsnap-base-home": false, "dmsnap-store-nightly-home": false} {
		if info, err := g.ctl.Status(ioctl.ID{Name: name}); err != nil || info.ReadOnly != ro {
			t.Errorf("%s: read-only %v, %v", name, info.ReadOnly, err)
		}
	}
}
