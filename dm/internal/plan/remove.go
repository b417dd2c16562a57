package plan

import (
	"slices"

	"github.com/dmsnap/dmsnap/targets"
)

// RemoveRequest is a set as the kernel has it, whole or in parts: removal after
// an interrupted operation is the same plan with less to do.
type RemoveRequest struct {
	Set, ID string
	Volumes []RemoveVolume
	// Names are devices the set is known to have had: what is left of them
	// outside the kernel goes too.
	Names []string
	// Unmade: the set did not come to be. What its stores' devices had stays where
	// nothing was written.
	Unmade bool
	// Adopted is a device that a plain one was put beneath.
	Adopted string
	// Lower are devices whose bases are gone, or never came.
	Lower []string
}

// RemoveVolume is what is left of one volume. An empty name means that the
// device does not exist.
type RemoveVolume struct {
	Number int    // of the volume in its set
	Name   string // of the volume; empty if no base tells it
	Origin Origin // with Base; Name is empty when no front leads to the base
	Image  string
	Core   string // the snapshot beneath the image, if the image is not
	Store  string
	// StoreSize is zero if the store has no table: it cannot be written to then.
	StoreSize targets.Sectors
	// Spill is where the store continues on further devices.
	Spill []targets.Sectors
	// Files are what the store is made of; none if it is a device.
	Files []*File
	// Media are the devices it is made of that may have our label.
	Media  []Medium
	unmade bool
	// Dead tells that the kernel gave the image up: its store may have failed.
	Dead bool
	// Last tells that no image of another set uses the base.
	Last bool
	// Chained: the snapshot reads through a newer one, and not from the base.
	Chained bool
	// ReadBy are the snapshots that read through this one: it stays until they are removed.
	ReadBy []string
}

// Remove plans the teardown of a set.
//
// The last image of an origin goes after the front has its own table back. An
// image that has siblings goes while the front is suspended, as the kernel's
// documentation demands for unloading a snapshot (admin-guide/device-mapper,
// snapshot.rst). The front never loses its snapshot-origin while an image that
// stays still depends on it.
func Remove(r RemoveRequest) *Plan {
	p := &Plan{Op: "remove", Set: r.Set, ID: r.ID, Final: true}
	var expect, suspend, bases, images, inside, resume []Step
	ordered := topDown(r.Volumes)
	for _, v := range ordered {
		p.Steps = append(p.Steps, v.claim()...)
	}
	var touched []Origin
	claims := len(p.Steps)
	for _, v := range ordered {
		o := v.Origin
		detach := v.detach()
		restoreFront := len(detach) > 0
		if v.clears() {
			touched = append(touched, o)
			p.Steps = append(p.Steps, Step{Phase: Prepare, Action: ClearTable, Role: RoleFront, Device: o.Name, Peer: o.Base.Name, Live: o.Base.Table})
		}
		p.Steps = append(p.Steps, detach...)
		if restoreFront {
			bases = append(bases, RedirectorOf(o).Disengage(o)...)
		}
		if removeInside := v.inside(); restoreFront || removeInside || o.Suspended {
			touched = append(touched, o)
			expect = append(expect, v.expectStep(restoreFront))
			suspend = append(suspend, Step{
				Phase: Window, Action: Suspend, Role: RoleFront, Device: o.Name,
				Undo: &Step{Action: Resume, Role: RoleFront, Device: o.Name},
			})
			resume = append([]Step{{Phase: Window, Action: Resume, Role: RoleFront, Device: o.Name}}, resume...)
			if removeInside {
				if v.Core != "" && v.Image != "" {
					images = append(images, Step{Phase: Window, Action: RemoveDevice, Role: RoleImage, Device: v.Image})
				}
				inside = append(inside, v.snapshot(Step{Phase: Window, Action: RemoveDevice}))
			}
		}
	}
	standing := stacked(ordered)
	lock, unlock := lockGroups(touched)
	p.Steps = slices.Insert(p.Steps, claims, lock...)
	p.Steps = slices.Concat(p.Steps, expect, together(suspend, standing), bases, together(images, never), together(inside, never), together(resume, standing), unlock)
	for _, drop := range []func(RemoveVolume) []Step{leave, dropImage, dropCore, dropStore, dropBase} {
		for _, v := range r.Volumes {
			if v.unmade = r.Unmade; len(v.ReadBy) == 0 {
				p.Steps = append(p.Steps, drop(v)...)
			}
		}
	}
	for _, v := range r.Volumes {
		if len(v.ReadBy) > 0 {
			p.Steps = append(p.Steps, drop(RoleImage, v.Image)...)
			p.Steps = append(p.Steps, v.keep(r.ID)...)
		}
	}
	p.Steps = append(p.Steps, drop(RoleAdopted, r.Adopted)...)
	for _, name := range r.Lower {
		p.Steps = append(p.Steps, drop(RoleLower, name)...)
	}
	p.Steps = append(p.Steps, Step{Phase: Finish, Action: Settle, Gone: r.Names})
	for _, v := range r.Volumes {
		if len(v.ReadBy) == 0 {
			p.Steps = append(p.Steps, dropFiles(v.Files)...)
		}
	}
	return p
}

// clears tells whether something of ours waits in the front, or did.
func (v RemoveVolume) clears() bool {
	b := v.Origin.Base
	return b != nil && (b.Pending || b.Own && v.Last && Reloadable(b.Table))
}

// claim keeps an image from being mounted while writers leave its front: from then on
// it changes with its origin. One that goes while they are held needs no claim.
func (v RemoveVolume) claim() []Step {
	if v.Image == "" || !v.Last || len(v.ReadBy) > 0 || !v.Origin.fronted() {
		return nil
	}
	return []Step{{Phase: Prepare, Action: Claim, Role: RoleImage, Device: v.Image}}
}

// expectStep is as in a create: what lvm2 loaded meanwhile is not ours to replace.
func (v RemoveVolume) expectStep(restored bool) Step {
	o := v.Origin
	s := Step{Phase: Prepare, Action: Expect, Role: RoleFront, Device: o.Name, Live: o.Table, Held: o.Suspended}
	if restored {
		s.Table = o.Base.Table
	}
	return s
}

// detach are the steps that give the front its own table back.
func (v RemoveVolume) detach() []Step {
	if !v.Last || len(v.ReadBy) > 0 || !v.Origin.fronted() {
		return nil
	}
	return RedirectorOf(v.Origin).Detach(v.Origin)
}

// inside tells whether the image goes while its front is suspended: the kernel
// copies for it, and continues to copy for its siblings.
func (v RemoveVolume) inside() bool {
	return !v.Last && !v.Chained && len(v.ReadBy) == 0 && v.Image+v.Core != "" && v.Origin.fronted()
}

// snapshot completes a step on the device that is the snapshot.
func (v RemoveVolume) snapshot(s Step) Step { return Volume{Image: v.Image, Core: v.Core}.snapshot(s) }

func (o Origin) fronted() bool { return o.Name != "" && o.Base != nil && o.Base.Fronted }

// What no front leads to any more goes from the top down, since each device
// holds the one beneath: all images, then their cores, then all stores, which may lie on the base
// of any volume, then the bases.

func drop(r Role, name string) []Step {
	if name == "" {
		return nil
	}
	return []Step{{Phase: Finish, Action: RemoveDevice, Role: r, Device: name}}
}

func leave(v RemoveVolume) []Step {
	if !v.Last || v.Origin.Base == nil {
		return nil
	}
	return RedirectorOf(v.Origin).Leave(v.Origin)
}

func dropImage(v RemoveVolume) []Step {
	if v.inside() {
		return nil // it went in the window
	}
	return drop(RoleImage, v.Image)
}

func dropCore(v RemoveVolume) []Step {
	if v.inside() {
		return nil
	}
	return drop(RoleCore, v.Core)
}

func dropStore(v RemoveVolume) []Step {
	var steps []Step
	if v.StoreSize != 0 {
		// The header goes while the store still has a name, so that old data
		// cannot be activated again. A transient store has no header but chunks of
		// the origin, and these may hold a superblock. A dead store cannot be wiped,
		// and must not keep the set from going; nor must a file whose blocks are
		// in use for something else by now.
		steps = append(steps, Step{
			Phase: Finish, Action: WipeHeader, Role: RoleStore, Device: v.Store, Optional: v.Dead || len(v.Files) > 0,
			File: v.first(), Bytes: min(wipeBytes, v.StoreSize.Bytes()), Discard: len(v.Files) == 0 && !v.unmade,
		})
	}
	for _, at := range v.Spill {
		steps = append(steps, Step{
			Phase: Finish, Action: WipeHeader, Role: RoleStore, Device: v.Store, Optional: v.Dead,
			At: at.Bytes(), Bytes: min(wipeBytes, (v.StoreSize - at).Bytes()),
		})
	}
	// While the store has them: no other program can use them yet.
	return append(append(steps, free(v.Media, v.Dead)...), drop(RoleStore, v.Store)...)
}

func dropBase(v RemoveVolume) []Step {
	if !v.Last || v.Origin.Base == nil {
		return nil
	}
	return RedirectorOf(v.Origin).Drop(v.Origin)
}

func (v RemoveVolume) first() *File {
	if len(v.Files) == 0 {
		return nil
	}
	return v.Files[0]
}

// dropFiles comes when nothing of ours uses the files any more, and the front
// beneath their filesystem runs.
func dropFiles(files []*File) (steps []Step) {
	for _, f := range files {
		if f.Path != "" {
			steps = append(steps, Step{Phase: Finish, Action: DropFile, Role: RoleStore, File: f})
		}
	}
	return steps
}
