package inventory_test

import (
	"slices"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/inventory"
	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
)

func TestUnused(t *testing.T) {
	v := stack.NewView([]stack.Device{
		base(1, "home"), base(2, "var"), base(3, "srv"), base(4, "idle"),
		snapshot(11, 1, plan.RoleImage, "image", "a", 0), store(12, "store", "a", 0, 2),
	})
	intents := []journal.Intent{{ID: "x", Bases: []string{plan.BaseName("srv")}}}
	want := map[string]bool{plan.BaseName("idle"): true} // home has an image, var carries a store, srv is named
	for d := range v.Devices() {
		if got := (inventory.Host{View: v, Intents: intents}).Unused(d); got != want[d.Name] {
			t.Errorf("%s: %v", d.Name, got)
		}
	}
}

func TestKnows(t *testing.T) {
	h := inventory.Host{
		View:    stack.NewView([]stack.Device{snapshot(11, 1, plan.RoleImage, "image", "device", 0)}),
		Intents: []journal.Intent{{ID: "intent"}}, Records: []journal.Set{{ID: "record"}},
	}
	for id, want := range map[string]bool{"device": true, "intent": true, "record": true, "other": false, "": false} {
		if h.Knows(id) != want {
			t.Errorf("%q: %v", id, !want)
		}
	}
}

// TestLayers: what is left of a removed set is known by its core's name, or by its
// record after a reboot.
func TestLayers(t *testing.T) {
	h := inventory.Host{
		View: stack.NewView([]stack.Device{
			snapshot(3, 1, plan.RoleCore, plan.CoreName(plan.LayerName("left"), "home"), "left", 0),
			snapshot(4, 3, plan.RoleCore, plan.CoreName("nightly", "home"), "lives", 0),
		}),
		Records: []journal.Set{{Name: plan.LayerName("ended"), ID: "ended"}, {Name: "nightly", ID: "lives"}},
	}
	if got := h.Layers(); !slices.Equal(got, []string{"left", "ended"}) {
		t.Error(got)
	}
	for id, want := range map[string]bool{"left": true, "lives": false, "ended": false} {
		if inventory.HasReaders(h.View, id) != want {
			t.Errorf("%s is read: %v", id, !want)
		}
	}
}

func TestSharesBase(t *testing.T) {
	v := host()
	for _, row := range []struct {
		minor uint32
		id    string
		want  bool
	}{{5, "a", true}, {3, "b", true}, {12, "b", false}, {12, "a", true}} {
		if got := inventory.SharesBase(v, *v.At(at(row.minor)), row.id); got != row.want {
			t.Errorf("%d with %s: %v", row.minor, row.id, got)
		}
	}
}

// TestRebuild: what cannot be read is taken from the record and the devices.
func TestRebuild(t *testing.T) {
	known := inventory.Set{Name: "nightly", ID: "a", Record: &journal.Set{Volumes: []journal.Volume{{Name: "home"}}}}
	removal := plan.RemoveRequest{Volumes: []plan.RemoveVolume{{Origin: plan.Origin{Dev: at(7), Name: "home", Base: &plan.Base{Name: "other"}}}, {}}}
	for op, freezes := range map[string]bool{"create": true, "remove": false} {
		got := inventory.Rebuild(journal.Intent{ID: "a", Op: op}, known, removal)
		if got.Set != "nightly" || got.Freezes != freezes || !slices.Equal(got.Bases, []string{plan.BaseName("home"), "other"}) || !slices.Equal(got.Origins, []string{"254:7"}) {
			t.Errorf("%s: %+v", op, got)
		}
	}
}

// TestNames: without a record the devices' names tell.
func TestNames(t *testing.T) {
	v := stack.NewView([]stack.Device{
		base(1, "my-home"),
		snapshot(2, 1, plan.RoleCore, plan.CoreName("nightly", "my-home"), "a", 0), store(3, "store", "a", 0, 90), store(6, "store", "a", 1, 91),
		snapshot(4, 2, plan.RoleImage, plan.ImageName("hourly-2", "my-home"), "b", 0),
		snapshot(5, 99, plan.RoleImage, plan.ImageName("lost", "x"), "c", 0),
	})
	for minor, want := range map[uint32]string{2: "nightly", 4: "hourly-2", 5: "c"} {
		if got := inventory.SetOf(v, *v.At(at(minor))); got != want {
			t.Errorf("%d: %s, want %s", minor, got, want)
		}
	}
	for name, want := range map[string]int{"nightly": 2, "hourly-2": 0, "other": 0} {
		if got := inventory.Stores(v, name); len(got) != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
