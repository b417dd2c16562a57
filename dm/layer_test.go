package dm

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestLayer: a set that is read through lives on without its name, which is free
// again, and cannot be removed itself.
func TestLayer(t *testing.T) {
	c := newChain(t, ioctltest.Options{Udev: true})
	c.cut(t, "a")
	id := c.cut(t, "b").UUID
	check(t, c.m.Remove(c.ctx, RemoveRequest{Name: "b"}))
	layer := plan.LayerName(id)
	set, err := c.m.Show(c.ctx, layer)
	check(t, err)
	if !set.Layer || set.State != StateActive || set.Volumes[0].Store.Path != "/dev/cow1" {
		t.Errorf("%+v", set)
	}
	if err := c.m.Remove(c.ctx, RemoveRequest{Name: layer}); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "still read by a") {
		t.Errorf("removing a layer: %v", err)
	}
	if _, err := c.m.OpenVolume(c.ctx, OpenRequest{Set: layer}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a layer has no image to read: %v", err)
	}
	if _, err := c.m.Mount(c.ctx, layer, "/mnt/layer"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a layer has no image to mount: %v", err)
	}
	c.cuts++ // another store
	c.cut(t, "b")
	c.right(t, "b anew")
	if a := c.set(t, "a"); a.ReadsThrough != layer || a.Depth != 2 {
		t.Errorf("%+v", a)
	}
	if _, err := c.m.Create(c.ctx, c.request(layer)); !errors.Is(err, ErrUsage) {
		t.Errorf("a set with a layer's name: %v", err)
	}
}

// TestLayersEndWithTheBoot: a reboot ends those that read through a layer.
func TestLayersEndWithTheBoot(t *testing.T) {
	hostOnly(t)
	c := newChain(t, ioctltest.Options{})
	c.cut(t, "a")
	c.cut(t, "b")
	check(t, c.m.Remove(c.ctx, RemoveRequest{Name: "b"}))
	c.Reboot()
	_, err := c.m.Recover(c.ctx)
	check(t, err)
	sets, err := c.m.List(c.ctx)
	check(t, err)
	if len(sets) != 1 || sets[0].Name != "a" {
		t.Errorf("%+v", sets)
	}
}

// TestLayerOfOneVolume: of a set with several volumes those stay that others read
// through, the rest goes at once.
func TestLayerOfOneVolume(t *testing.T) {
	c := newChain(t, ioctltest.Options{})
	before := c.Snapshot()
	c.cut(t, "a")
	r := both()
	r.Name, r.Persistent, r.Origins = "b", true, []string{"/var", "/home"}
	id := c.create(t, r).UUID
	c.taken(t, "b")
	c.write(t)
	check(t, c.m.Remove(c.ctx, RemoveRequest{Name: "b"}))
	c.right(t, "without b")
	set, err := c.m.Show(c.ctx, plan.LayerName(id))
	check(t, err)
	if len(set.Volumes) != 1 || set.Volumes[0].Name != "home" || !slices.Equal(set.Volumes[0].ReadBy, []string{"a"}) {
		t.Errorf("%+v", set)
	}
	if lines := dmLines(c.Snapshot()); strings.Contains(lines, "dmsnap-base-var") {
		t.Errorf("var has a layer still:\n%s", lines)
	}
	c.cut(t, "c")
	c.right(t, "with c")
	check(t, c.m.Remove(c.ctx, RemoveRequest{Name: "a"}))
	check(t, c.m.Remove(c.ctx, RemoveRequest{Name: "c"}))
	same(t, "after the removals", withoutData(before), withoutData(c.Snapshot()))
}

// TestLayerKeepsItsFile: the file of a set that others read through outlives it. Who
// asks for that name is told what has it, and what to remove.
func TestLayerKeepsItsFile(t *testing.T) {
	hostOnly(t)
	c := newChain(t, ioctltest.Options{})
	c.elsewhere(t)
	in := func(name, spec string) CreateRequest {
		r := c.request(name)
		r.Stores, r.StoreSize = map[string]string{"": spec}, Size{Bytes: 2 * mib}
		return r
	}
	c.cut(t, "a")
	b := c.create(t, in("b", "file:/srv/cow"))
	_, err := c.m.Create(c.ctx, in("c", "file:/srv/cow"))
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeUsage || !strings.Contains(e.Error(), "already used by set b") {
		t.Errorf("beside the set: %v", err)
	}
	check(t, c.m.Remove(c.ctx, RemoveRequest{Name: "b"}))
	_, err = c.m.Create(c.ctx, in("b", "file:/srv/cow"))
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeUsage || !strings.Contains(e.Error(), plan.LayerName(b.UUID)) || !strings.Contains(e.Hint, "remove a first") {
		t.Errorf("beside the layer: %v", err)
	}
}
