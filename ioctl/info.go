package ioctl

import "github.com/dmsnap/dmsnap/internal/devno"

// Info is what the kernel tells about a device in the header of its replies.
type Info struct {
	Name, UUID string
	Dev        DevNo
	OpenCount  int32  // openers: processes, mounts, devices above
	EventNr    uint32 // goes up with each event: target events, table swaps, rename, remove
	// TargetCount counts the targets of the live table, or of the inactive one
	// when the call asked for that.
	TargetCount     uint32
	Suspended       bool // new requests wait
	ReadOnly        bool // the device refuses writes
	Live            bool // it has a live table
	Inactive        bool // it has a loaded table that is not live
	DeferredRemove  bool // it goes when its last user closes it
	InternalSuspend bool // suspended by the kernel itself
	// UeventGenerated is set when the call made a uevent that carries the cookie;
	// if it is unset only we can complete the cookie.
	UeventGenerated bool
}

func (h *header) info() Info {
	has := func(bit uint32) bool { return h.flags&bit != 0 }
	return Info{
		Name:            h.name,
		UUID:            h.uuid,
		Dev:             devno.FromHuge(h.dev),
		OpenCount:       h.openCount,
		EventNr:         h.eventNr,
		TargetCount:     h.targetCount,
		Suspended:       has(flagSuspend),
		ReadOnly:        has(flagReadOnly),
		Live:            has(flagActivePresent),
		Inactive:        has(flagInactivePresent),
		DeferredRemove:  has(flagDeferredRemove),
		InternalSuspend: has(flagInternalSuspend),
		UeventGenerated: has(flagUeventGenerated),
	}
}
