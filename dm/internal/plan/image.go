package plan

import "github.com/dmsnap/dmsnap/targets"

// snapshot completes a step on the device of a volume that is the snapshot.
func (v Volume) snapshot(s Step) Step {
	s.Role, s.Device = RoleImage, v.Image
	if v.Core != "" {
		s.Role, s.Device = RoleCore, v.Core
	}
	return s
}

func prepareImage(r CreateRequest, v *Volume) []Step {
	make := v.snapshot(Step{Phase: Prepare, Action: CreateDevice})
	make.UUID = MemberUUID(r.ID, v.Index, make.Role)
	make.Undo = &Step{Action: RemoveDevice, Role: make.Role, Device: make.Device, UUID: make.UUID}
	steps := []Step{
		// A valid header left by an earlier use would be taken for this set's
		// exceptions, so it goes before the kernel can read it.
		{Phase: Prepare, Action: WipeHeader, Role: RoleStore, Device: v.Store, Bytes: headerBytes},
		make,
		// Suspended before its first resume, so that the resume inside the window
		// need not suspend it first: that would wait for a grace period.
		v.snapshot(Step{Phase: Prepare, Action: Suspend}),
		// A persistent store gets its header now; a later set must not find it.
		v.snapshot(Step{
			Phase: Prepare, Action: LoadTable, Table: v.ImageTable, ReadOnly: !v.Writable, Why: v.ModeWhy,
			Undo: &Step{Action: WipeHeader, Role: RoleStore, Device: v.Store, Bytes: headerBytes},
		}),
	}
	if v.Core == "" {
		steps[1].Minor = v.Minor
		return steps
	}
	uuid := MemberUUID(r.ID, v.Index, RoleImage)
	return append(steps, Step{
		Phase: Prepare, Action: CreateDevice, Role: RoleImage, Device: v.Image, UUID: uuid, Minor: v.Minor,
		Undo: &Step{Action: RemoveDevice, Role: RoleImage, Device: v.Image, UUID: uuid},
	})
}

// show are the steps that let users see a core, which has no size before its
// table is live.
func (v Volume) show() []Step {
	if v.Core == "" {
		return nil
	}
	return []Step{
		{
			Phase: Finish, Action: LoadTable, Role: RoleImage, Device: v.Image, ReadOnly: true,
			Table: targets.Single(v.Origin.Size, targets.Linear{Dev: mapped(v.Core)}),
		},
		{Phase: Finish, Action: Resume, Role: RoleImage, Device: v.Image},
	}
}
