package plan

import (
	"cmp"

	"github.com/dmsnap/dmsnap/targets"
)

// CreateRequest is a request with its facts looked up. IDs are made by the
// caller, so that planning stays pure.
type CreateRequest struct {
	Set, ID string
	// Chunk is the unit of copying where a volume has none of its own.
	Chunk targets.Sectors
	// Mode is Transient or PersistentOverflow.
	Mode     targets.Mode
	Writable bool
	// Apart: no other mode is chosen so that older sets can read through this one.
	Apart bool
	// Crash skips the freeze.
	Crash bool
	// Hooks are programs that quiesce applications, in order.
	Hooks   []string
	Volumes []VolumeRequest
}

// VolumeRequest is one origin with its store.
type VolumeRequest struct {
	Origin Origin
	Store  Store
	// StoreSize limits the store; zero means what is needed at most.
	StoreSize targets.Sectors
	// Limit is the most it may have without a size of its own; zero means none.
	Limit targets.Sectors
	// Chunk is the volume's own unit of copying; zero means the set's.
	Chunk targets.Sectors
	// Found is why the store must not begin with a chunk of the origin; empty if it
	// may.
	Found string
	// BaseID is used if the origin has no layer yet.
	BaseID string
	// Minor is the number that the image is to have, if it is free; zero for any.
	Minor uint32
}

// Create plans the cut of a set.
//
// The order is the kernel's (dm-snap.c, origin_resume computes how large writes
// are split from the snapshots it finds): every image is resumed while every
// front is suspended, and every front is resumed after its image. A front that
// ran through its image's resume would copy only the first chunk of each write.
func Create(r CreateRequest) (*Plan, error) {
	if err := CheckSetName(r.Set); err != nil {
		return nil, Refuse(Usage, "", "choose another --name", "%v", err)
	}
	p, asked := &Plan{Op: "create", Set: r.Set, ID: r.ID}, r.Mode
	r.Mode = r.mode()
	for i, vr := range r.Volumes {
		v, err := planVolume(r, i, vr)
		if err != nil {
			return nil, err
		}
		if r.Mode != asked {
			v.ModeWhy = "older sets can then read through it, and each write costs one copy"
		}
		p.Volumes = append(p.Volumes, v)
	}
	if err := checkDistinct(p.Volumes); err != nil {
		return nil, err
	}
	if err := checkApart(p.Volumes); err != nil {
		return nil, err
	}
	lock, unlock := lockGroups(originsOf(p.Volumes))
	p.Steps = append(p.Steps, prepare(r, p.Volumes, lock)...)
	p.Steps = append(p.Steps, window(r, p.Volumes)...)
	p.Steps = append(p.Steps, unlock...)
	p.Steps = append(p.Steps, runPostThaw(r.Hooks)...)
	p.Steps = append(p.Steps, finishCreate(p.Volumes)...)
	p.Steps = append(p.Steps, chains(p.Volumes)...)
	return p, nil
}

func planVolume(r CreateRequest, i int, vr VolumeRequest) (Volume, error) {
	o, s, asked := vr.Origin, vr.Store, cmp.Or(vr.Chunk, r.Chunk)
	chunk := cmp.Or(asked, UsualChunk)
	redirector, err := admit(o)
	if err != nil {
		return Volume{}, err
	}
	if err := checkChunk(chunk, o, s); err != nil {
		return Volume{}, err
	}
	size, err := storeSize(chunk, vr)
	for err == nil && asked == 0 && size/chunk > maxExceptions && chunk < targets.MaxChunk {
		chunk *= 2
		size, err = storeSize(chunk, vr)
	}
	if err != nil {
		return Volume{}, err
	}
	v := Volume{
		Index: i, Name: o.Volume, Front: o.front(), Base: BaseName(o.Volume),
		Store: StoreName(r.Set, o.Volume), Image: ImageName(r.Set, o.Volume),
		Origin: o, StoreFacts: s, StoreSize: size, Chunk: chunk, NewBase: o.Base == nil,
		Writable: r.Writable, Minor: vr.Minor, redirector: redirector,
	}
	v.Mode, v.ModeWhy = vr.headed(r.Mode)
	if o.Base != nil {
		v.Base = o.Base.Name
	}
	if carries(r.Mode, r.Writable) {
		v.Core = CoreName(r.Set, o.Volume)
	}
	v.ImageTable = targets.Table{{Length: o.Size, Target: targets.Snapshot{
		// Rule A: the same device as the front's snapshot-origin names.
		Origin: mapped(v.Base), Store: mapped(v.Store), Mode: v.Mode, Chunk: chunk,
	}}}
	return v, nil
}

// front is the dm name of the device that an origin's writers use or will use.
func (o Origin) front() string {
	if o.Plain != nil && o.Name == "" {
		return FrontName(o.Volume)
	}
	return o.Name
}

// CheckOrigin refuses what must not be cut.
func CheckOrigin(o Origin) error {
	_, err := admit(o)
	return err
}

// admit is CheckOrigin, and chooses the redirector of an origin without a base.
func admit(o Origin) (Redirector, error) {
	switch {
	case o.Role != "":
		return nil, Refuse(Usage, o.Path, "name the origin itself", "%s is dmsnap's own %s device", o.Path, o.Role)
	case o.StoreOf != "":
		return nil, Refuse(Usage, o.Path, "remove the set first", "%s is the exception store of %s", o.Path, o.StoreOf)
	case o.Suspended:
		return nil, Refuse(Busy, o.Path, "find out which program suspended it; dmsetup resume resumes it", "%s was suspended by another program", o.Path)
	case o.InactiveLoaded:
		return nil, Refuse(Busy, o.Path, "wait until that program has finished, or drop the table with dmsetup clear", "%s has a loaded table that is not live yet: another program is changing it", o.Path)
	case o.Size == 0:
		return nil, Refuse(Usage, o.Path, "name a device that holds data", "%s has no size", o.Path)
	case o.Base != nil && o.Plain != nil:
		return nil, checkRedirect(o)
	case o.Base != nil && !o.Base.Fronted:
		return nil, Refuse(Busy, o.Path, "remove its sets first; dmsnap list shows them", "snapshots of %s are bypassed: another program changed its table", o.Path)
	case o.Base == nil:
		return Redirect(o)
	}
	return nil, nil
}

func checkChunk(c targets.Sectors, o Origin, s Store) error {
	const hint = "use a power of two between 4k and 1g"
	switch {
	case c&(c-1) != 0:
		return Refuse(Usage, "", hint, "chunk size %d is not a power of two", c.Bytes())
	case c.Bytes() < headerBytes:
		return Refuse(Usage, "", hint, "chunk size %d is too small", c.Bytes())
	case c > targets.MaxChunk:
		return Refuse(Usage, "", hint, "chunk size %d is larger than the kernel allows (%d)", c.Bytes(), targets.MaxChunk.Bytes())
	case c.Bytes()%uint64(max(o.LogicalBlock, 512)) != 0:
		return Refuse(Usage, o.Path, hint, "chunk size %d is smaller than a sector of %s (%d)", c.Bytes(), o.Path, o.LogicalBlock)
	case s.LogicalBlock > max(o.LogicalBlock, 512):
		// The image, and at a merge the origin, would change their sector size.
		return Refuse(Unsupported, s.Path, "use a store with the origin's sector size", "sectors of store %s (%d bytes) are larger than those of %s (%d)", s.Path, s.LogicalBlock, o.Path, o.LogicalBlock)
	}
	return nil
}

// checkDistinct refuses two volumes that would share a device.
func checkDistinct(vs []Volume) error {
	origins, stores := map[targets.DevNo]string{}, map[string]string{}
	for _, v := range vs {
		if first, twice := origins[v.Origin.Dev]; twice {
			return Refuse(Usage, v.Origin.Path, "name each volume once", "%s and %s are the same volume", first, v.Origin.Spec)
		}
		origins[v.Origin.Dev] = v.Origin.Spec
		s := v.StoreFacts
		if s.Backing == Memory {
			continue // each is its own
		}
		if first, twice := stores[s.place()]; twice {
			return Refuse(Usage, s.Path, "give each volume its own store", "%s is given as the store of both %s and %s", s.Path, first, v.Origin.Spec)
		}
		stores[s.place()] = v.Origin.Spec
	}
	for _, v := range vs {
		if err := checkStoreApart(v, origins); err != nil {
			return err
		}
	}
	return nil
}

// checkStoreApart refuses a store whose writes would reach an origin of the set.
func checkStoreApart(v Volume, origins map[targets.DevNo]string) error {
	s := v.StoreFacts
	if o, clash := origins[s.Dev]; clash && s.Backing == Whole {
		return Refuse(Usage, s.Path, "use a device that is not part of the set", "store %s of %s is the origin %s", s.Path, v.Origin.Spec, o)
	}
	for _, d := range s.Beneath {
		if o, above := origins[d]; above {
			return Refuse(Usage, s.Path, "use a store that is not on an origin of the set", "store %s of %s is on the origin %s: copying a chunk would trigger another copy", s.Path, v.Origin.Spec, o)
		}
	}
	return nil
}

// prepare brings everything up to the edge of the window: files first, which
// have the most reasons to fail, then all bases, since a store may lie on the
// base of another volume. What touches an origin comes last, under the locks of lvm2:
// a table that waits in the slot of a front could be swapped in by anybody who resumes it.
func prepare(r CreateRequest, vs []Volume, lock []Step) []Step {
	bases := basesOf(vs)
	var steps, late []Step
	for i := range vs {
		vs[i].File = vs[i].file(r.ID, r.Set, bases)
		steps = append(steps, allocate(vs[i].File)...)
	}
	for i, v := range vs {
		if !v.NewBase {
			late = append(late, v.probe()...)
			continue
		}
		for _, step := range v.redirector.Attach(v.Origin, v.Base, BaseUUID(r.Volumes[i].BaseID)) {
			if step.Late {
				late = append(late, step)
			} else {
				steps = append(steps, step)
			}
		}
	}
	for i := range vs {
		steps = append(steps, vs[i].label(r.ID, r.Set)...)
		steps = append(steps, storeDevice(&vs[i], MemberUUID(r.ID, i, RoleStore))...)
		steps = append(steps, prepareImage(r, &vs[i])...)
	}
	steps = append(steps, runPreFreeze(r.Hooks)...)
	steps = append(steps, sync(r, vs)...)
	for i := range vs {
		steps = append(steps, recheck(&vs[i])...)
	}
	steps = append(append(steps, lock...), late...)
	for _, v := range vs {
		steps = append(steps, v.expectStep())
	}
	return steps
}

// probe has an older redirect proved again. A new one is proved when it is made.
func (v Volume) probe() []Step {
	if v.Origin.Plain == nil {
		return nil
	}
	role, name := v.Origin.Base.redirected()
	return []Step{{Phase: Prepare, Action: Probe, Role: role, Device: name, Front: v.Front, Late: true}}
}

// expectStep looks once more whether the front runs on the table that the base was
// made of, or on the base, and whether nothing but ours waits to take its place.
// The window looks again, when writers are held.
func (v Volume) expectStep() Step {
	s := Step{Phase: Prepare, Action: Expect, Role: RoleFront, Device: v.Front, Live: v.Origin.Table, Late: true}
	switch {
	case v.NewBase && v.Origin.Plain != nil:
		s.Live = frontTable(v.Origin.Size, v.Base)
	case v.NewBase:
		s.Table = frontTable(v.Origin.Size, v.Base)
	}
	return s
}

func basesOf(vs []Volume) map[targets.DevNo]string {
	bases := map[targets.DevNo]string{}
	for _, v := range vs {
		bases[v.Origin.Dev] = v.Base
	}
	return bases
}

func finishCreate(vs []Volume) []Step {
	var steps []Step
	for _, v := range vs {
		steps = append(steps, v.show()...)
	}
	steps = append(steps, Step{Phase: Finish, Action: Settle})
	for _, v := range vs {
		steps = append(steps, verifyFront(v)...)
		steps = append(steps, v.snapshot(Step{Phase: Finish, Action: Verify, Table: v.ImageTable}))
	}
	return steps
}

func numbered(d targets.DevNo) targets.Device { return targets.Device{DevNo: d} }

func verifyFront(v Volume) []Step {
	var steps []Step
	if v.Origin.Plain != nil {
		steps = v.verifyRedirect()
	}
	return append(steps, Step{Phase: Finish, Action: Verify, Role: RoleFront, Device: v.Front, Table: frontTable(v.Origin.Size, v.Base)})
}
