package ioctl

import "strconv"

// Load puts a table into the inactive slot, replacing one that is there; Resume
// makes it live. Valid flags: ReadOnly, SecureData. Lower devices are opened and
// claimed at once, and modules loaded, so it may block and must not be called
// while a device that modprobe needs is suspended. EBUSY: a lower device is
// mounted or otherwise claimed; EINVAL: the target refused, or the table
// has gaps. ENXIO of a target is not mistaken for a missing device: after ENXIO
// the device is looked up once more.
func (c *Control) Load(id ID, flags Flags, specs []Spec) error {
	r, err := loadRequest(id, flags, ReadOnly|SecureData, specs)
	if err != nil {
		return err
	}
	if flags&SecureData != 0 {
		defer clear(r.body)
	}
	r.room = headerSize + len(r.body)
	_, err = c.call(r, nil)
	return c.orNotFound(id, err)
}

func loadRequest(id ID, flags, valid Flags, specs []Spec) (*request, error) {
	r, err := newRequest("load table", reqTableLoad, id, flags, valid)
	if err != nil {
		return nil, err
	}
	r.opaque = true
	r.head.targetCount = uint32(len(specs))
	if r.body, err = encodeSpecs(specs); err != nil {
		return nil, r.fail(err)
	}
	return r, nil
}

// Clear empties the inactive slot. No table there is no error.
func (c *Control) Clear(id ID) error {
	r, err := clearRequest(id)
	if err != nil {
		return err
	}
	_, err = c.call(r, nil)
	return err
}

func clearRequest(id ID) (*request, error) {
	return newRequest("clear inactive table of", reqTableClear, id, 0, 0)
}

// Table returns the live table, as it could be loaded again. Valid flags:
// QueryInactive (the inactive table instead), SecureData (tables of dm-crypt hold
// keys). No table is an empty result. Safe while the device is suspended.
func (c *Control) Table(id ID, flags Flags) (Info, []Spec, error) {
	r, err := tableRequest(id, flags, QueryInactive|SecureData)
	if err != nil {
		return Info{}, nil, err
	}
	return c.specs(r)
}

func tableRequest(id ID, flags, valid Flags) (*request, error) {
	r, err := newRequest("table of", reqTableStatus, id, flags, valid)
	if err != nil {
		return nil, err
	}
	r.head.flags |= flagStatusTable
	r.restart = true
	return r, nil
}

// TargetStatus returns the status line of each target. Valid flags:
// QueryInactive, NoFlush, SecureData. A target may wait for its own I/O here: a
// suspended dm-era blocks the caller until resume, and dead-locks with a resume
// that swaps a table.
func (c *Control) TargetStatus(id ID, flags Flags) (Info, []Spec, error) {
	r, err := newRequest("target status of", reqTableStatus, id, flags, QueryInactive|NoFlush|SecureData)
	if err != nil {
		return Info{}, nil, err
	}
	r.restart = true
	return c.specs(r)
}

// Wait blocks until the device's event number differs from eventNr, then replies
// like TargetStatus. Take eventNr from Status before looking at the state that is
// waited for. Rename and remove wake it too. EINTR surfaces; nothing else ends
// the wait, so prefer Poll where a deadline or a cancellation matters.
func (c *Control) Wait(id ID, eventNr uint32) (Info, []Spec, error) {
	r, err := newRequest("wait for event of", reqDevWait, id, 0, 0)
	if err != nil {
		return Info{}, nil, err
	}
	r.head.eventNr = eventNr
	return c.specs(r)
}

func (c *Control) specs(r *request) (info Info, specs []Spec, err error) {
	r.room = firstBuffer
	info, err = c.call(r, func(h *header, b []byte) error {
		if h.targetCount == 0 {
			return nil
		}
		payload, err := h.payload(b)
		if err == nil {
			specs, err = parseSpecs(payload, h.targetCount)
		}
		return err
	})
	if err != nil {
		return Info{}, nil, err
	}
	return info, specs, nil
}

// Deps returns the devices a live table has open. Valid flags: QueryInactive. No
// table is an empty result.
func (c *Control) Deps(id ID, flags Flags) ([]DevNo, error) {
	r, err := depsRequest(id, flags)
	if err != nil {
		return nil, err
	}
	var deps []DevNo
	_, err = c.call(r, func(h *header, b []byte) error {
		payload, err := h.payload(b)
		if err == nil {
			deps, err = parseDeps(payload)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return deps, nil
}

func depsRequest(id ID, flags Flags) (*request, error) {
	r, err := newRequest("dependencies of", reqTableDeps, id, flags, QueryInactive)
	if err != nil {
		return nil, err
	}
	r.restart = true
	r.room = firstBuffer
	return r, nil
}

// messageBuffer is the room for the reply to a message: a message must not be
// sent twice, so it cannot grow.
const messageBuffer = 64 << 10

// Message sends a text to the target at a sector of the live table and returns
// its reply, mostly empty. A text that starts with @ is for device-mapper itself.
// EINVAL: no live table, no target there, or the target does not understand.
// ErrTooBig: the message has run, but its reply is longer than 64 KiB. It blocks
// for as long as the target works.
func (c *Control) Message(id ID, sector uint64, text string) (reply string, err error) {
	r, err := newRequest("message to", reqTargetMsg, id, 0, 0)
	if err != nil {
		return "", err
	}
	r.body, err = messageBody(sector, text)
	if err != nil {
		return "", r.fail(err)
	}
	r.room, r.once = max(messageBuffer, headerSize+len(r.body)), true
	r.opaque = true
	_, err = c.call(r, func(h *header, b []byte) (err error) {
		if h.flags&flagDataOut != 0 {
			reply, err = replyText(h, b)
		}
		return err
	})
	return reply, c.orNotFound(id, err)
}

// geometryText is the payload of DEV_SET_GEOMETRY.
func geometryText(cylinders, heads, sectors, start uint64) []byte {
	var b []byte
	for i, n := range []uint64{cylinders, heads, sectors, start} {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendUint(b, n, 10)
	}
	return append(b, 0)
}
