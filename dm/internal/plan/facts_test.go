package plan_test

import (
	"fmt"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/targets"
)

const gib = targets.Sectors(1 << 21)

func linear(major, minor uint32, start, length targets.Sectors) targets.Table {
	return targets.Table{{Length: length, Target: targets.Linear{Dev: targets.Numbered(major, minor), Offset: start}}}
}

func originTable(major, minor uint32, length targets.Sectors) targets.Table {
	return targets.Table{{Length: length, Target: targets.Origin{Dev: targets.Numbered(major, minor)}}}
}

// volume is a device-mapper origin of 1 GiB without a layer, named vg-NAME, with
// number 254:minor, and an unused disk of 300 MiB as its store.
func volume(name string, minor uint32, mods ...func(*plan.VolumeRequest)) plan.VolumeRequest {
	v := plan.VolumeRequest{
		Origin: plan.Origin{
			Spec: "/dev/vg/" + name, Path: "/dev/mapper/vg-" + name, Volume: plan.VolumeName("vg-" + name),
			Dev: targets.DevNo{Major: 254, Minor: minor}, Name: "vg-" + name, UUID: "LVM-" + name,
			Table: linear(252, 0, targets.Sectors(2048*(minor+1)), gib), Size: gib, LogicalBlock: 512, Depth: 1,
		},
		Store: plan.Store{
			Kind: "device", Path: fmt.Sprintf("/dev/vd%c", 'c'+minor), Dev: targets.DevNo{Major: 252, Minor: 32 + 16*minor},
			Size: 600 << 10, LogicalBlock: 512,
		},
		BaseID: "ba5e" + name,
	}
	for _, mod := range mods {
		mod(&v)
	}
	return v
}

// plain makes a volume a partition on a kernel that has the interposer.
func plain(v *plan.VolumeRequest) {
	o := &v.Origin
	name := fmt.Sprintf("vda%d", o.Dev.Minor+1)
	o.Spec, o.Path, o.Volume, o.Dev = "/dev/"+name, "/dev/"+name, name, targets.DevNo{Major: 252, Minor: o.Dev.Minor + 1}
	o.Name, o.UUID, o.Table, o.Depth = "", "", nil, 0
	o.Plain = &plan.Plain{Interposer: true}
}

// attached gives a partition its layer.
func attached(v *plan.VolumeRequest) {
	plain(v)
	o := &v.Origin
	o.Name, o.UUID, o.Table = plan.FrontName(o.Volume), plan.FrontUUID("01d"), originTable(254, 100, o.Size)
	o.Base = &plan.Base{
		Name: plan.BaseName(o.Volume), UUID: plan.BaseUUID("01d"), Dev: targets.DevNo{Major: 254, Minor: 100},
		Table:   targets.Table{{Length: o.Size, Target: targets.Interpose{Dev: targets.Device{DevNo: o.Dev}}}},
		Fronted: true, Redirect: targets.InterposeStatus{Front: targets.DevNo{Major: 254, Minor: 101}},
	}
}

// leftPlain is what remains of a whole volume of a set on a partition.
func leftPlain(mods ...func(*plan.RemoveVolume)) plan.RemoveVolume {
	return left("", 0, append([]func(*plan.RemoveVolume){func(v *plan.RemoveVolume) {
		vr := volume("", 0, attached)
		v.Origin = vr.Origin
		v.Image, v.Store = plan.ImageName("nightly", vr.Origin.Volume), plan.StoreName("nightly", vr.Origin.Volume)
	}}, mods...)...)
}

// with puts a filesystem on a volume.
func with(key int, fstype string, method plan.Method, mountpoints ...string) func(*plan.VolumeRequest) {
	return func(v *plan.VolumeRequest) {
		v.Origin.Filesystems = append(v.Origin.Filesystems, plan.Filesystem{
			Type: fstype, Mountpoints: mountpoints, Method: method, Front: v.Origin.Name, Key: key,
		})
	}
}

// copied makes a volume a whole raid1: its table is handed over.
func copied(v *plan.VolumeRequest) {
	o := &v.Origin
	o.Table = targets.Single(o.Size, targets.Raw{Kind: "raid", Text: "raid1 3 0 region_size 4096 2 254:90 254:91 254:92 254:93"})
	o.Status = "raid1 2 AA 2097152/2097152 idle 0 0 -"
}

// layered gives a volume the layer of an older set.
func layered(v *plan.VolumeRequest) {
	o := &v.Origin
	o.Base = &plan.Base{
		Name: plan.BaseName(o.Volume), UUID: "DMSNAP-01d-base", Dev: targets.DevNo{Major: 254, Minor: 100 + o.Dev.Minor},
		Table: o.Table, ReadOnly: o.ReadOnly, Images: []string{"dmsnap-older-" + o.Volume}, Fronted: true,
	}
	o.Table = originTable(254, 100+o.Dev.Minor, o.Size)
}

// beside gives a layered volume a live snapshot of an older set.
func beside(set string, mode targets.Mode, readOnly, valid bool) func(*plan.VolumeRequest) {
	return func(v *plan.VolumeRequest) {
		b := v.Origin.Base
		b.Older = append(b.Older, plan.Older{
			Name: plan.CoreName(set, v.Origin.Volume), Role: plan.RoleCore, ReadOnly: readOnly, Valid: valid,
			Table: targets.Single(v.Origin.Size, targets.Snapshot{
				Origin: targets.Device{DevNo: b.Dev}, Store: targets.Numbered(254, uint32(200+len(b.Older))), Mode: mode, Chunk: 32,
			}),
		})
	}
}

func request(vs ...plan.VolumeRequest) plan.CreateRequest {
	return plan.CreateRequest{Set: "nightly", ID: "5e7", Chunk: 128, Mode: targets.Transient, Volumes: vs}
}

// left is what remains of a whole volume of a set.
func left(name string, minor uint32, mods ...func(*plan.RemoveVolume)) plan.RemoveVolume {
	vr := volume(name, minor, layered)
	v := plan.RemoveVolume{
		Origin: vr.Origin, Image: plan.ImageName("nightly", vr.Origin.Volume),
		Store: plan.StoreName("nightly", vr.Origin.Volume), StoreSize: 1 << 15, Last: true,
	}
	for _, mod := range mods {
		mod(&v)
	}
	return v
}

// handedOver: the base is a raid.
func handedOver(v *plan.RemoveVolume) {
	vr := volume("x", 0, copied)
	v.Origin.Base.Table = vr.Origin.Table
}

// bypassed: somebody reloaded the front, so that nothing leads to the base.
func bypassed(v *plan.RemoveVolume) {
	b := *v.Origin.Base
	b.Fronted = false
	v.Origin = plan.Origin{Base: &b}
}

// pending: a create ended before its window. The front still has its own table,
// ours waits in the inactive slot.
func pending(v *plan.RemoveVolume) {
	v.Origin.Table = v.Origin.Base.Table
	v.Origin.InactiveLoaded = true
	v.Origin.Base.Fronted, v.Origin.Base.Pending = false, true
}

// cleared: a window ended early. The front has its own table, and nothing waits.
func cleared(v *plan.RemoveVolume) {
	v.Origin.Table = v.Origin.Base.Table
	v.Origin.Base.Fronted, v.Origin.Base.Own = false, true
}

// cored: the image shows a core.
func cored(v *plan.RemoveVolume) {
	v.Core, v.Name = plan.CoreName("nightly", v.Origin.Volume), v.Origin.Volume
}

// chainedOn: it reads through a newer set's core; readBy: older ones read through it.
func chainedOn(v *plan.RemoveVolume) { v.Last, v.Chained = false, true }

func readBy(v *plan.RemoveVolume) { v.ReadBy = []string{plan.CoreName("older", v.Origin.Volume)} }

func notLast(v *plan.RemoveVolume)   { v.Last = false }
func suspended(v *plan.RemoveVolume) { v.Origin.Suspended = true }
func deadStore(v *plan.RemoveVolume) { v.StoreSize = 0 }
func noDevices(v *plan.RemoveVolume) { v.Image, v.Store, v.StoreSize = "", "", 0 }

func removal(vs ...plan.RemoveVolume) plan.RemoveRequest {
	return plan.RemoveRequest{Set: "nightly", ID: "5e7", Volumes: vs}
}

// grow is a volume whose 300 MiB store may grow on a disk of 400 MiB.
func grow(name string, minor uint32, want targets.Sectors, mods ...func(*plan.ExtendVolume)) plan.ExtendVolume {
	v := plan.ExtendVolume{
		Name: "vg-" + name, Store: plan.StoreName("nightly", "vg-"+name), Path: "/dev/vdc", Table: linear(252, 32+16*minor, 0, 600<<10),
		Room: 800 << 10, LogicalBlock: 512, Origin: gib, Chunk: 128, Want: want, Label: layout.Label{Piece: 1},
	}
	for _, mod := range mods {
		mod(&v)
	}
	return v
}

// spilling lets a store go on with a further disk of 1 GiB.
func spilling(v *plan.ExtendVolume) {
	v.Further = &plan.Store{Kind: "device", Path: "/dev/vdx", Dev: targets.DevNo{Major: 252, Minor: 160}, Size: gib, LogicalBlock: 512}
}

func relative(v *plan.ExtendVolume) { v.Relative = true }

// enough: the store can take every chunk already.
func enough(v *plan.ExtendVolume) { v.Table = linear(252, 32, 0, plan.NeverFull(gib, 128)) }

// ofFile has the store made of a file that can have 100 MiB more.
func ofFile(b plan.Backing) func(*plan.ExtendVolume) {
	return func(v *plan.ExtendVolume) {
		v.Path, v.Room = "/srv/cow", 0
		v.File = &plan.File{Path: "/srv/.dmsnap/5e7.0.1", Backing: b, Lead: layout.Lead, Room: 102 << 20}
		switch b {
		case plan.Extents:
			v.File.Over, v.File.Pasts = plan.BaseName("vg-home"), []plan.Past{{Image: plan.ImageName("nightly", "vg-home"), FSType: "ext4", Options: []string{"ro"}}}
		case plan.Memory:
			v.Path, v.File.Path = "", ""
		}
	}
}

func extension(vs ...plan.ExtendVolume) plan.ExtendRequest {
	return plan.ExtendRequest{Set: "nightly", ID: "5e7", Volumes: vs}
}

// inFile puts a store into a file on an origin's filesystem.
func inFile(path string, host uint32, fill ...string) func(*plan.VolumeRequest) {
	return func(v *plan.VolumeRequest) {
		v.Store = plan.Store{
			Kind: "file", Path: path, Backing: plan.Extents, Why: "no other filesystem has room for it",
			Size: gib, LogicalBlock: 512, Host: targets.DevNo{Major: 254, Minor: host}, Way: []plan.Stretch{{Length: gib}}, FillFor: fill,
		}
	}
}

// elsewhere puts a store into a file on another filesystem.
func elsewhere(v *plan.VolumeRequest) {
	v.Store = plan.Store{
		Kind: "file", Path: "/srv/cow", Backing: plan.Loop, Size: gib, LogicalBlock: 512, Dev: targets.DevNo{Major: 252, Minor: 240},
	}
}

func inMemory(v *plan.VolumeRequest) {
	v.Store = plan.Store{Kind: "ram", Backing: plan.Memory, Size: gib, LogicalBlock: 512}
}

// filed has the store of what is left in a file.
func filed(v *plan.RemoveVolume) {
	v.Files = []*plan.File{
		{Path: "/home/cow", Bytes: v.StoreSize.Bytes() - 1<<20, Backing: plan.Extents, Over: "dmsnap-base-vg-home"},
		{Path: "/home/.dmsnap/5e7.0.1", At: v.StoreSize.Bytes() - 1<<20, Bytes: 1 << 20, Backing: plan.Extents, Over: "dmsnap-base-vg-home"},
	}
}
