package ioctl

import (
	"strconv"
	"strings"
)

// Flags change what a verb does. Each verb accepts only those it documents.
type Flags uint32

// Input flags of include/uapi/linux/dm-ioctl.h.
const (
	// ReadOnly (load): open the lower devices read-only; the device itself turns
	// read-only when the table goes live.
	ReadOnly Flags = 1 << 0
	// PersistentDev (create): the minor number is the caller's choice.
	PersistentDev Flags = 1 << 3
	// SkipLockFS (suspend, and a resume that swaps tables): do not freeze the file
	// system on the device.
	SkipLockFS Flags = 1 << 10
	// NoFlush (suspend, resume): for bio-based targets only "do not freeze";
	// requests in flight are waited for all the same. (TargetStatus): report what is
	// in memory without committing first; thin pools do.
	NoFlush Flags = 1 << 11
	// QueryInactive (table, status, dependencies): ask the table that is loaded but
	// not live.
	QueryInactive Flags = 1 << 12
	// SecureData (load, table, status): the kernel wipes its copy of the call, we
	// wipe ours. Go strings made of the reply, or given by the caller, stay.
	SecureData Flags = 1 << 15
	// DeferredRemove (remove): a device in use goes when its last user closes it.
	DeferredRemove Flags = 1 << 17
)

// Bits of dm_ioctl.flags that the verbs set or read themselves.
const (
	flagReadOnly        = uint32(ReadOnly)
	flagSuspend         = 1 << 1
	flagStatusTable     = 1 << 4
	flagActivePresent   = 1 << 5
	flagInactivePresent = 1 << 6
	flagBufferFull      = 1 << 8
	flagUeventGenerated = 1 << 13
	flagUUID            = 1 << 14
	flagSecureData      = uint32(SecureData)
	flagDataOut         = 1 << 16
	flagDeferredRemove  = uint32(DeferredRemove)
	flagInternalSuspend = 1 << 18
)

// String names the flags: "SkipLockFS|NoFlush", "0" for none.
func (f Flags) String() string {
	var names []string
	for _, n := range []struct {
		bit  Flags
		name string
	}{
		{ReadOnly, "ReadOnly"},
		{PersistentDev, "PersistentDev"},
		{SkipLockFS, "SkipLockFS"},
		{NoFlush, "NoFlush"},
		{QueryInactive, "QueryInactive"},
		{SecureData, "SecureData"},
		{DeferredRemove, "DeferredRemove"},
	} {
		if f&n.bit != 0 {
			names = append(names, n.name)
			f &^= n.bit
		}
	}
	if f != 0 {
		names = append(names, "0x"+strconv.FormatUint(uint64(f), 16))
	}
	if names == nil {
		return "0"
	}
	return strings.Join(names, "|")
}
