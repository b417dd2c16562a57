package ioctl

// Create makes a device with neither table nor disk: /dev/dm-N, its sysfs
// directory and the first uevent come with the first Load. Valid flags:
// PersistentDev, with the wanted minor in number (its major is not looked at);
// without the flag number must be zero. uuid may be empty and can then be set
// once. EBUSY: the name or the uuid is taken; ENXIO: the minor is. "control", "."
// and ".." are refused for every kernel. Does not block.
func (c *Control) Create(name, uuid string, flags Flags, number DevNo) (Info, error) {
	r := globalRequest("create device", reqDevCreate)
	r.subject = name
	r.opaque = true
	if err := checkNewName(name); err != nil {
		return Info{}, r.fail(err)
	}
	if err := checkUUID(uuid); err != nil {
		return Info{}, r.fail(err)
	}
	if flags&^PersistentDev != 0 {
		return Info{}, r.fail(ErrBadFlags)
	}
	if !number.Valid() || flags == 0 && number != (DevNo{}) {
		return Info{}, r.fail(ErrBadID)
	}
	r.head.flags = uint32(flags)
	r.head.name, r.head.uuid, r.head.dev = name, uuid, number.Huge()
	return c.call(r, nil)
}

// Suspend holds new requests back and waits for those in flight, however long
// they take. Without flags it first freezes the file system mounted directly on
// the device. Valid flags: SkipLockFS, NoFlush. A suspended device stays as it
// is, without an error. EINTR: nothing has changed. EBUSY: the file system is
// frozen by FIFREEZE (kernel 6.1).
func (c *Control) Suspend(id ID, flags Flags) (Info, error) {
	r, err := suspendRequest(id, flags)
	if err != nil {
		return Info{}, err
	}
	return c.call(r, nil)
}

func suspendRequest(id ID, flags Flags) (*request, error) {
	r, err := newRequest("suspend", reqDevSuspend, id, flags, SkipLockFS|NoFlush)
	if err == nil {
		r.head.flags |= flagSuspend
	}
	return r, err
}

// Resume lets requests pass. With a table in the inactive slot it makes that
// live, suspending first if need be with the flags of this call. Valid flags:
// SkipLockFS, NoFlush. A failed resume can leave the device suspended; so says
// its Status. EINVAL: the new table does not fit, or a target refuses. A running
// device without a new table stays as it is, without an error; every other resume
// makes a uevent.
func (c *Control) Resume(id ID, flags Flags, ev Event) (Info, error) {
	r, err := resumeRequest(id, flags, ev)
	if err != nil {
		return Info{}, err
	}
	return c.call(r, nil)
}

func resumeRequest(id ID, flags Flags, ev Event) (*request, error) {
	r, err := newRequest("resume", reqDevSuspend, id, flags, SkipLockFS|NoFlush)
	if err == nil {
		r.head.eventNr = ev.number()
	}
	return r, err
}

// Remove takes a device away with both its tables. Valid flags: DeferredRemove,
// with which a device in use goes later, without this call's cookie. EBUSY: in
// use. Of the reply only DeferredRemove and UeventGenerated are meant. Nothing
// guards an origin whose snapshots live: order is the caller's affair.
func (c *Control) Remove(id ID, flags Flags, ev Event) (Info, error) {
	r, err := removeRequest(id, flags, ev)
	if err != nil {
		return Info{}, err
	}
	return c.call(r, nil)
}

func removeRequest(id ID, flags Flags, ev Event) (*request, error) {
	r, err := newRequest("remove device", reqDevRemove, id, flags, DeferredRemove)
	if err == nil {
		r.head.eventNr = ev.number()
	}
	return r, err
}

// RemoveAll removes every unused device of the machine, whichever program made
// it. Valid flags: DeferredRemove, which takes those in use later.
func (c *Control) RemoveAll(flags Flags) error {
	r := globalRequest("remove all devices", reqRemoveAll)
	if flags&^DeferredRemove != 0 {
		return r.fail(ErrBadFlags)
	}
	r.head.flags = uint32(flags)
	_, err := c.call(r, nil)
	return err
}

// Rename gives a device another name, in use or not. The kernel looks it up by
// name only, and its reply has the old name and no uuid. EBUSY: the new name is
// taken.
func (c *Control) Rename(name, newName string, ev Event) (Info, error) {
	if err := checkNewName(newName); err != nil {
		return Info{}, wrap("rename device", name, err)
	}
	return c.rename("rename device", name, newName, 0, ev)
}

// SetUUID gives a device without a uuid its uuid. The kernel looks it up by name
// only, and its reply has the name and no uuid. EINVAL: it has one already; EBUSY:
// the uuid is taken. The uevent carries the PrimarySource flag and no cookie.
func (c *Control) SetUUID(name, uuid string) (Info, error) {
	if err := checkUUID(uuid); err != nil || uuid == "" {
		return Info{}, wrap("set uuid of", name, ErrBadName)
	}
	return c.rename("set uuid of", name, uuid, flagUUID, Event{})
}

func (c *Control) rename(op, name, text string, flags uint32, ev Event) (Info, error) {
	if name == "" {
		return Info{}, wrap(op, name, ErrBadName)
	}
	r, err := newRequest(op, reqDevRename, ID{Name: name}, 0, 0)
	if err != nil {
		return Info{}, err
	}
	r.head.flags |= flags
	r.head.eventNr = ev.number()
	r.body = append([]byte(text), 0)
	r.room = headerSize + padded(len(r.body))
	return c.call(r, nil)
}

// Status asks for the state of a device. It does not block, not even for a
// suspended device.
func (c *Control) Status(id ID) (Info, error) {
	r, err := statusRequest(id)
	if err != nil {
		return Info{}, err
	}
	return c.call(r, nil)
}

func statusRequest(id ID) (*request, error) {
	r, err := newRequest("status of", reqDevStatus, id, 0, 0)
	if err == nil {
		r.restart = true
	}
	return r, err
}

// SetGeometry sets what HDIO_GETGEO reports; start is the sector the device
// begins at, at most 32 bits. It needs a live table.
func (c *Control) SetGeometry(id ID, cylinders, heads, sectors, start uint64) error {
	r, err := newRequest("set geometry of", reqSetGeometry, id, 0, 0)
	if err != nil {
		return err
	}
	r.body = geometryText(cylinders, heads, sectors, start)
	r.room = headerSize + padded(len(r.body))
	_, err = c.call(r, nil)
	return err
}
