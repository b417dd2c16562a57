package inventory_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dmsnap/dmsnap/dm/internal/inventory"
	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

func at(minor uint32) targets.DevNo { return targets.DevNo{Major: 254, Minor: minor} }

func on(minor uint32) targets.Device { return targets.Device{DevNo: at(minor)} }

func base(minor uint32, name string) stack.Device {
	return stack.Device{Name: plan.BaseName(name), Dev: at(minor), ID: "base-" + name, Volume: -1, Role: plan.RoleBase}
}

// snapshot is a live snapshot over a device.
func snapshot(minor, lower uint32, role plan.Role, name, id string, volume int) stack.Device {
	return stack.Device{
		Name: name, Dev: at(minor), ID: id, Volume: volume, Role: role, Info: ioctl.Info{Live: true},
		Table: targets.Single(8, targets.Snapshot{Origin: on(lower)}), Status: targets.SnapshotStatus{State: targets.Active},
	}
}

func store(minor uint32, name, id string, volume int, rows ...uint32) stack.Device {
	d := stack.Device{Name: name, Dev: at(minor), ID: id, Volume: volume, Role: plan.RoleStore, Info: ioctl.Info{Live: true}}
	for i, lower := range rows {
		d.Table = append(d.Table, targets.Row{Start: targets.Sectors(8 * i), Length: 8, Target: targets.Linear{Dev: on(lower)}})
	}
	return d
}

// host has a set "a" of two volumes. Its volume on home is read through by set "b".
func host() *stack.View {
	image := stack.Device{
		Name: "image-a-home", Dev: at(4), ID: "a", Role: plan.RoleImage, Info: ioctl.Info{Live: true},
		Table: targets.Single(8, targets.Linear{Dev: on(3)}),
	}
	dead := snapshot(12, 11, plan.RoleImage, "image-a-var", "a", 1)
	dead.Status.State = targets.Invalid
	gone := store(13, "store-a-var", "a", 1)
	gone.Table = targets.Single(8, targets.Error{})
	return stack.NewView([]stack.Device{
		base(1, "home"), base(11, "var"), base(21, "idle"),
		image, snapshot(3, 1, plan.RoleCore, "core-a-home", "a", 0), store(2, "store-a-home", "a", 0, 90, 90, 91),
		dead, gone,
		snapshot(5, 3, plan.RoleCore, "core-b-home", "b", 0),
	})
}

func TestVolumes(t *testing.T) {
	got := inventory.Set{Name: "a", ID: "a", View: host()}.Volumes()
	want := map[int]plan.RemoveVolume{
		0: {
			Number: 0, Name: "home", Image: "image-a-home", Core: "core-a-home", Store: "store-a-home",
			StoreSize: 24, Spill: []targets.Sectors{16}, ReadBy: []string{"core-b-home"},
		},
		1: {Number: 1, Name: "var", Image: "image-a-var", Store: "store-a-var", Dead: true},
	}
	if len(got) != len(want) {
		t.Fatalf("volumes %v", slices.Collect(maps.Keys(got)))
	}
	for n, w := range want {
		if diff := cmp.Diff(w, got[n].RemoveVolume, cmpopts.IgnoreUnexported(plan.RemoveVolume{})); diff != "" {
			t.Errorf("volume %d: %s", n, diff)
		}
		if got[n].Base == nil || got[n].Base.Name != plan.BaseName(w.Name) {
			t.Errorf("volume %d stands on %v", n, got[n].Base)
		}
	}
	above := inventory.Set{Name: "b", ID: "b", View: host()}.Volumes()[0]
	if !above.Chained || above.Base == nil || above.Name != "home" {
		t.Errorf("what reads through another set: %+v", above)
	}
}

func TestWithoutDevices(t *testing.T) {
	file, other := &plan.File{Path: "/srv/store"}, &plan.File{Path: "/srv/other"}
	for name, row := range map[string]struct {
		record  *journal.Set
		intents []journal.Intent
		nodes   []string
		orphans []string
		files   map[int][]*plan.File
		media   []journal.Medium
	}{
		"nothing": {files: map[int][]*plan.File{}},
		"another set's intent": {
			intents: []journal.Intent{{ID: "x", Bases: []string{plan.BaseName("idle")}, Files: []*plan.File{file}, Media: []journal.Medium{{Path: "/dev/x"}}}},
			files:   map[int][]*plan.File{},
		},
		"an intent": {
			intents: []journal.Intent{{
				ID: "a", Bases: []string{"", plan.BaseName("idle"), plan.BaseName("gone")},
				Files: []*plan.File{nil, file}, Media: []journal.Medium{{Path: "/dev/vdc", Volume: 1}},
			}},
			nodes:   []string{plan.FrontName("idle"), plan.LowerName("idle"), plan.BaseName("gone"), plan.FrontName("gone"), plan.LowerName("gone")},
			orphans: []string{plan.BaseName("idle")},
			files:   map[int][]*plan.File{1: {file}},
			media:   []journal.Medium{{Path: "/dev/vdc", Volume: 1}},
		},
		"a record": {
			record: &journal.Set{ID: "a", Volumes: []journal.Volume{
				{Name: "idle", StoreKind: "device", StorePath: "/dev/vdd", Spill: []string{"/dev/vde"}},
				{Name: "home", StoreKind: "file", StorePath: "/srv", StoreFile: other},
			}},
			nodes: []string{
				plan.ImageName("a", "idle"), plan.CoreName("a", "idle"), plan.StoreName("a", "idle"),
				plan.ImageName("a", "home"), plan.CoreName("a", "home"), plan.StoreName("a", "home"),
				plan.FrontName("idle"), plan.LowerName("idle"), plan.FrontName("home"), plan.LowerName("home"),
			},
			orphans: []string{plan.BaseName("idle")}, // home's carries images
			files:   map[int][]*plan.File{1: {other}},
			media:   []journal.Medium{{Path: "/dev/vdd"}, {Path: "/dev/vde"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := inventory.Set{Name: "a", ID: "a", View: host(), Record: row.record, Intents: row.intents}
			var orphans []string
			for _, d := range s.OrphanBases() {
				orphans = append(orphans, d.Name)
			}
			for what, diff := range map[string]string{
				"nodes": cmp.Diff(row.nodes, s.Nodes()), "orphans": cmp.Diff(row.orphans, orphans),
				"files": cmp.Diff(row.files, s.Files()), "media": cmp.Diff(row.media, s.Media()),
			} {
				if diff != "" {
					t.Errorf("%s: %s", what, diff)
				}
			}
		})
	}
}

// TestLast: a base stays for as long as another set's image stands on it.
func TestLast(t *testing.T) {
	v := host()
	home, variable := v.PlanBase(*v.At(at(1))), v.PlanBase(*v.At(at(11)))
	for id, row := range map[string]struct{ home, variable bool }{"a": {true, true}, "b": {false, false}, "": {false, false}} {
		s := inventory.Set{ID: id, View: v}
		if s.Last(home) != row.home || s.Last(variable) != row.variable {
			t.Errorf("set %q: home %v, var %v", id, s.Last(home), s.Last(variable))
		}
	}
}

func TestAdopted(t *testing.T) {
	v := stack.NewView([]stack.Device{{Name: "dmsnap-front-vdb", Dev: at(1), ID: "a", Volume: -1, Role: plan.RoleAdopted}})
	for id, want := range map[string]string{"a": "dmsnap-front-vdb", "b": ""} {
		if got := (inventory.Set{ID: id, View: v}).Adopted(); got != want {
			t.Errorf("%s: %q", id, got)
		}
	}
}

func TestHasGrown(t *testing.T) {
	v := stack.NewView([]stack.Device{store(2, "store", "a", 0, 90, 91)}) // of 16 sectors
	for name, row := range map[string]struct {
		record *journal.Set
		want   bool
	}{
		"no record":      {nil, false},
		"as recorded":    {&journal.Set{Volumes: []journal.Volume{{StoreBytes: 16 * 512}}}, false},
		"larger":         {&journal.Set{Volumes: []journal.Volume{{StoreBytes: 8 * 512}}}, true},
		"other volume's": {&journal.Set{}, false},
	} {
		if got := (inventory.Set{ID: "a", View: v, Record: row.record}).HasGrown(); got != row.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
