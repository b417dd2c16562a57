package ioctl

import (
	"strings"

	"golang.org/x/sys/unix"
)

// UdevFlags tell udev's device-mapper rules what to do with a uevent. They are the
// upper half of the cookie: DM_UDEV_* of libdevmapper.h.
type UdevFlags uint16

const (
	DisableDMRules         UdevFlags = 1 << 0 // no links in /dev/mapper
	DisableSubsystemRules  UdevFlags = 1 << 1 // no rules of LVM and others
	DisableDiskRules       UdevFlags = 1 << 2 // no blkid, no links in /dev/disk
	DisableOtherRules      UdevFlags = 1 << 3 // foreign rules and scanners keep off
	LowPriority            UdevFlags = 1 << 4 // links yield to those of other devices
	DisableLibraryFallback UdevFlags = 1 << 5 // a word among users of libdevmapper
	// PrimarySource marks an event caused on purpose. Without it the
	// rules take the event for a stray one. Every Event has it, asked for or not.
	PrimarySource UdevFlags = 1 << 6
	Subsystem0    UdevFlags = 1 << 8 // eight private flags from here; LVM: do not scan

	// Hidden is for devices that only their owner is to look at; lvm2 has the
	// same for its own.
	Hidden = DisableSubsystemRules | DisableDiskRules | DisableOtherRules
)

// Event is what a resume, a rename or a removal puts into its uevent: flags, and
// perhaps the cookie to complete. The zero value is PrimarySource and no cookie.
type Event struct {
	flags  UdevFlags
	cookie *Cookie
}

// FlagsOnly is an event without a cookie to wait for.
func FlagsOnly(flags UdevFlags) Event { return Event{flags: flags} }

// number is the event_nr of the request: flags above, cookie below. A lower half
// of zero is no cookie.
func (ev Event) number() uint32 {
	n := uint32(ev.flags|PrimarySource) << 16
	if ev.cookie != nil {
		n |= uint32(ev.cookie.low)
	}
	return n
}

// Settle must be called once with the outcome of the call that carried the event,
// whatever it was: if the call failed, or made no uevent, udev will not complete
// the cookie, so we do. For a prepared call use call.Info() and the error of Do.
func (ev Event) Settle(info Info, err error) error {
	if ev.cookie == nil || err == nil && info.UeventGenerated {
		return nil
	}
	return ev.cookie.complete()
}

// UdevRunning reports whether a udev daemon listens. Without one nothing completes
// cookies and makes links: use a nil *Cookie.
func (k *Kernel) UdevRunning() bool {
	_, err := k.t.Stat("/run/udev/control")
	return err == nil
}

// String names the flags: "DisableDMRules|LowPriority", "0" for none.
func (f UdevFlags) String() string {
	var names []string
	for i, name := range []string{
		"DisableDMRules", "DisableSubsystemRules", "DisableDiskRules", "DisableOtherRules",
		"LowPriority", "DisableLibraryFallback", "PrimarySource", "0x80",
		"Subsystem0", "Subsystem1", "Subsystem2", "Subsystem3",
		"Subsystem4", "Subsystem5", "Subsystem6", "Subsystem7",
	} {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if names == nil {
		return "0"
	}
	return strings.Join(names, "|")
}

// gone reports that a semaphore set was removed: during a call, or before it.
func gone(err error) bool { return err == unix.EIDRM || err == unix.EINVAL }
