package ioctltest

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// mapped is one device-mapper device.
type mapped struct {
	k         *Kernel
	dev       *device
	name      string
	uuid      string
	live      *table
	inactive  *table
	suspended bool
	lockedFS  bool // DMF_FROZEN
	deferred  bool
	removed   bool
	event     uint32
	resumed   int // order of the last resume, for Protected
	described aliased
	uses      map[use]int
}

func (md *mapped) sectors() uint64 {
	if md.live == nil {
		return 0
	}
	return md.live.sectors()
}

// command is one row of lookup_ioctl.
type command struct {
	name      string
	run       func(*Kernel, *message) error
	noPayload bool // only the header is copied in and out
	announce  bool // wakes pollers of the control device
}

// commands is made by a function because LIST_VERSIONS and others lead back
// to it.
func commands() []command {
	return []command{
		cmdVersion:       {name: "DM_VERSION"},
		cmdRemoveAll:     {"DM_REMOVE_ALL", (*Kernel).dmRemoveAll, true, true},
		cmdListDevices:   {"DM_LIST_DEVICES", (*Kernel).dmList, false, false},
		cmdCreate:        {"DM_DEV_CREATE", (*Kernel).dmCreate, true, true},
		cmdRemove:        {"DM_DEV_REMOVE", (*Kernel).dmRemove, true, true},
		cmdRename:        {"DM_DEV_RENAME", (*Kernel).dmRename, false, true},
		cmdSuspend:       {"DM_DEV_SUSPEND", (*Kernel).dmSuspend, true, false},
		cmdStatus:        {"DM_DEV_STATUS", (*Kernel).dmStatus, true, false},
		cmdWait:          {"DM_DEV_WAIT", (*Kernel).dmWait, false, false},
		cmdLoad:          {"DM_TABLE_LOAD", (*Kernel).dmLoad, false, false},
		cmdClear:         {"DM_TABLE_CLEAR", (*Kernel).dmClear, true, false},
		cmdDeps:          {"DM_TABLE_DEPS", (*Kernel).dmDeps, false, false},
		cmdTableStatus:   {"DM_TABLE_STATUS", (*Kernel).dmTableStatus, false, false},
		cmdListVersions:  {"DM_LIST_VERSIONS", (*Kernel).dmListVersions, false, false},
		cmdMessage:       {"DM_TARGET_MSG", (*Kernel).dmMessage, false, false},
		cmdGeometry:      {"DM_DEV_SET_GEOMETRY", (*Kernel).dmGeometry, false, false},
		cmdArmPoll:       {name: "DM_DEV_ARM_POLL", noPayload: true},
		cmdTargetVersion: {"DM_GET_TARGET_VERSION", (*Kernel).dmTargetVersion, false, false},
	}
}

const dmIoctlType = 0xfd

// dmInterface is the version of the ioctl interface.
func (k *Kernel) dmInterface() [3]uint32 {
	switch {
	case k.ver.atLeast(7, 2):
		return [3]uint32{4, 50, 0}
	case k.ver.atLeast(6, 12):
		return [3]uint32{4, 48, 0}
	}
	return [3]uint32{4, 47, 0}
}

// controlIoctl is ctl_ioctl. The result is positive in one case only: a
// message to a device without a live table, before 6.12.
func (k *Kernel) controlIoctl(f *file, request uint32, arg []byte) (int, error) {
	if k.euid != 0 {
		return 0, unix.EACCES
	}
	if request>>8&0xff != dmIoctlType {
		return 0, unix.ENOTTY
	}
	nr := int(request & 0xff)
	if len(arg) < offData {
		return 0, unix.EFAULT
	}
	theirs := [3]uint32{u32(arg, 0), u32(arg, 4), u32(arg, 8)}
	ours := k.dmInterface()
	for i, v := range ours {
		put32(arg, offVersion+4*i, v)
	}
	if theirs[0] != ours[0] || theirs[1] > ours[1] {
		return 0, unix.EINVAL
	}
	if nr == cmdVersion {
		return 0, nil
	}
	table := commands()
	if nr >= len(table) {
		return 0, unix.ENOTTY
	}
	return k.runCommand(f, nr, table[nr], arg)
}

func (k *Kernel) runCommand(f *file, nr int, cmd command, arg []byte) (int, error) {
	size := u32(arg, offDataSize)
	if size < offData || size > maxParam {
		return 0, unix.EINVAL
	}
	if cmd.noPayload {
		size = offData
	}
	if int(size) > len(arg) {
		return 0, unix.EFAULT // a real kernel would read past the caller's buffer
	}
	m := decode(slices.Clone(arg[:size]))
	if err := k.validate(nr, m); err != nil {
		return 0, err
	}
	if nr == cmdArmPoll {
		f.armed = k.globalEvent
	} else if err := cmd.run(k, m); err != nil {
		return 0, err
	}
	if cmd.announce {
		k.announce()
	}
	if m.stale {
		return 2, nil
	}
	opens := int32(u32(m.b, offOpens))
	if md := k.devices[devFromHuge(m.dev)]; md != nil && md.dm != nil && !md.dm.removed {
		opens = int32(md.opens)
	}
	m.reply(opens)
	copy(arg[:m.used], m.b)
	return 0, nil
}

// validate is validate_params.
func (k *Kernel) validate(nr int, m *message) error {
	m.flags &^= flagBufferFull | flagUevent | flagSecureData | flagDataOut
	switch nr {
	case cmdRemoveAll, cmdListDevices, cmdListVersions:
		return nil
	case cmdCreate:
		if m.name == "" {
			return unix.EINVAL
		}
	default:
		if m.name != "" && m.uuid != "" {
			return unix.EINVAL
		}
	}
	return nil
}

// find is __find_device_hash_cell: exactly one of the three keys counts, and
// name and uuid are filled in.
func (k *Kernel) find(m *message) (*mapped, error) {
	var md *mapped
	switch {
	case m.uuid != "":
		if m.name == "" && m.dev == 0 {
			md = k.byUUID(m.uuid)
		}
	case m.name != "":
		if m.dev == 0 {
			md = k.byName(m.name)
		}
	case m.dev != 0:
		md = k.mapped[devFromHuge(m.dev)]
	}
	if md == nil {
		return nil, unix.ENXIO
	}
	m.name, m.uuid = md.name, md.uuid
	m.mark(flagInactive, md.inactive != nil)
	return md, nil
}

func (k *Kernel) byName(name string) *mapped {
	for _, md := range k.mapped {
		if md.name == name {
			return md
		}
	}
	return nil
}

func (k *Kernel) byUUID(uuid string) *mapped {
	for _, md := range k.mapped {
		if uuid != "" && md.uuid == uuid {
			return md
		}
	}
	return nil
}

// status is __dev_status.
func (k *Kernel) status(md *mapped, m *message) {
	m.mark(flagSuspend, md.suspended)
	m.mark(flagInternal, false)
	m.mark(flagDeferredRemove, md.deferred)
	m.mark(flagReadOnly, false)
	m.mark(flagActive, md.live != nil)
	m.dev = hugeDev(md.dev.no)
	m.eventNr = md.event
	m.targets = 0
	shown := md.live
	if m.has(flagQueryInactive) {
		shown = md.inactive
		m.mark(flagReadOnly, shown != nil && shown.ro)
	} else if md.live != nil {
		m.mark(flagReadOnly, md.dev.ro)
	}
	if shown != nil {
		m.targets = uint32(len(shown.targets))
	}
}

func (k *Kernel) dmCreate(m *message) error {
	if err := k.checkName(m.name); err != nil {
		return err
	}
	no := ioctl.DevNo{Major: DMMajor}
	if m.has(flagPersistent) {
		no.Minor = devFromHuge(m.dev).Minor
	} else {
		for k.devices[no] != nil {
			no.Minor++
		}
	}
	if k.devices[no] != nil {
		return unix.ENXIO
	}
	if k.byName(m.name) != nil || k.byUUID(m.uuid) != nil {
		return unix.EBUSY
	}
	md := &mapped{k: k, name: m.name, uuid: m.uuid, uses: map[use]int{}}
	md.dev = &device{no: no, name: "dm-" + itoa(no.Minor), logical: sectorSize, physical: sectorSize, dm: md}
	k.devices[no], k.mapped[no] = md.dev, md
	m.mark(flagInactive, false)
	k.status(md, m)
	return nil
}

// checkName is check_name.
func (k *Kernel) checkName(name string) error {
	if strings.Contains(name, "/") {
		return unix.EINVAL
	}
	if k.ver.atLeast(6, 12) && slices.Contains([]string{".", "..", "control"}, name) {
		return unix.EINVAL
	}
	return nil
}

func (k *Kernel) dmRemove(m *message) error {
	deferred := m.has(flagDeferredRemove)
	md, err := k.find(m)
	if err != nil {
		return err
	}
	if md.dev.opens > 0 {
		if !deferred {
			return unix.EBUSY
		}
		md.deferred = true
		return nil
	}
	m.mark(flagDeferredRemove, false)
	m.mark(flagUevent, md.dev.present)
	k.destroy(md, m.eventNr)
	return nil
}

// destroy takes a device down: the table last, as dm_destroy does, so that
// devices beneath with deferred removal go after it.
func (k *Kernel) destroy(md *mapped, eventNr uint32) {
	k.freeAgain(md, "DM_DEV_REMOVE")
	md.removed = true
	delete(k.mapped, md.dev.no)
	k.tableEvent(md)
	if md.dev.present {
		k.uevent(md, "remove", eventNr)
	}
	k.removeDevice(md.dev)
	k.thawFor(md)
	for _, t := range []*table{md.live, md.inactive} {
		k.release(t)
	}
	md.live, md.inactive = nil, nil
}

func (k *Kernel) dmRemoveAll(m *message) error {
	deferred := m.has(flagDeferredRemove)
	for again := true; again; {
		again = false
		for _, md := range k.sortedMapped() {
			if md.dev.opens == 0 && !md.removed {
				k.destroy(md, 0)
				again = true
			} else if deferred {
				md.deferred = true
			}
		}
	}
	return nil
}

func (k *Kernel) dmStatus(m *message) error {
	md, err := k.find(m)
	if err != nil {
		return err
	}
	k.status(md, m)
	return nil
}

func (k *Kernel) sortedMapped() []*mapped {
	var all []*mapped
	for _, md := range k.mapped {
		all = append(all, md)
	}
	slices.SortFunc(all, func(a, b *mapped) int { return strings.Compare(a.name, b.name) })
	return all
}
