package ioctltest

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// use is one lower device as one device-mapper device holds it.
type use struct {
	d  *device
	ro bool
}

// table is a set of targets in the live or in the inactive slot.
type table struct {
	md      *mapped
	targets []*target
	ro      bool
	uses    []use
}

// target is one row of a table.
type target struct {
	table  *table
	typ    targetType
	start  uint64
	length uint64
	impl   mapping
}

// mapping is what a target type does with its sectors. Targets may also have
// preresume, resume, suspended, message and destroy.
type mapping interface {
	line() string // STATUS_TABLE
	status() string
	areas() []area
	// io reads or writes at a byte offset of the whole device.
	io(off uint64, b []byte, write bool) error
}

// area is a part of a lower device that must exist.
type area struct {
	d             *device
	start, length uint64
}

func (t *table) sectors() uint64 {
	last := t.targets[len(t.targets)-1]
	return last.start + last.length
}

// blockSizes stacks the limits of the lower devices.
func (t *table) blockSizes() (logical, physical uint32) {
	logical, physical = sectorSize, sectorSize
	for _, u := range t.uses {
		logical, physical = max(logical, u.d.logical), max(physical, u.d.physical)
	}
	return logical, physical
}

func (k *Kernel) dmLoad(m *message) error {
	md, err := k.find(m)
	if err != nil {
		return err
	}
	t := &table{md: md, ro: m.has(flagReadOnly)}
	if err := k.populate(t, m); err != nil {
		k.release(t)
		return err
	}
	if !md.dev.present {
		if err := k.fits(t); err != nil {
			k.release(t)
			return err
		}
		k.addDevice(md.dev)
		k.uevent(md, "add", 0)
	}
	k.loaded(md)
	k.release(md.inactive)
	md.inactive = t
	m.mark(flagInactive, true)
	k.status(md, m)
	return nil
}

// populate reads the rows. Their next fields are relative to their own start.
func (k *Kernel) populate(t *table, m *message) error {
	if m.targets == 0 {
		return unix.EINVAL
	}
	at, next := int(m.start), 0
	for range m.targets {
		at += next
		if err := k.checkSpec(m, at, next); err != nil {
			return err
		}
		spec := m.b[at:]
		params, ok := terminated(spec[specSize:])
		if !ok {
			return unix.EINVAL
		}
		row := Row{
			Start:  binary.NativeEndian.Uint64(spec),
			Length: binary.NativeEndian.Uint64(spec[8:]),
			Type:   cstring(spec[24:specSize]),
			Params: params,
		}
		if err := k.addTarget(t, row); err != nil {
			return err
		}
		next = int(u32(spec, 20))
	}
	return nil
}

func (k *Kernel) checkSpec(m *message, at, next int) error {
	if at+specSize > len(m.b) {
		return unix.EINVAL
	}
	if k.ver.atLeast(6, 12) && (at%8 != 0 || at < headerSize || next != 0 && next < specSize) {
		return unix.EINVAL
	}
	return nil
}

// addTarget is dm_table_add_target.
func (k *Kernel) addTarget(t *table, row Row) error {
	typ, ok := k.targetType(row.Type)
	if !ok || row.Length == 0 {
		return unix.EINVAL
	}
	end := uint64(0)
	if n := len(t.targets); n > 0 {
		end = t.targets[n-1].start + t.targets[n-1].length
	}
	if row.Start != end { // "Gap in table"
		return unix.EINVAL
	}
	tg := &target{table: t, typ: typ, start: row.Start, length: row.Length}
	impl, err := typ.make(k, tg, splitArgs(row.Params))
	if err != nil {
		return err
	}
	tg.impl = impl
	t.targets = append(t.targets, tg)
	return nil
}

// splitArgs is dm_split_args: white space separates, a backslash escapes.
func splitArgs(params string) []string {
	var args []string
	var word strings.Builder
	in := false
	for i := 0; i < len(params); i++ {
		switch c := params[i]; {
		case c == '\\' && i+1 < len(params):
			i++
			word.WriteByte(params[i])
			in = true
		case strings.IndexByte(" \t\n\v\f\r", c) >= 0:
			if in {
				args = append(args, word.String())
			}
			word.Reset()
			in = false
		default:
			word.WriteByte(c)
			in = true
		}
	}
	if in {
		args = append(args, word.String())
	}
	return args
}

// hold is dm_get_device: it opens a lower device exclusively for all of
// device-mapper, once per mode and upper device.
func (k *Kernel) hold(t *table, path string, ro bool) (*device, error) {
	d, err := k.lowerDevice(path)
	if err != nil {
		return nil, err
	}
	if d == t.md.dev && k.ver.atLeast(6, 12) {
		return nil, unix.EINVAL
	}
	u := use{d, ro}
	if slices.Contains(t.uses, u) {
		return d, nil
	}
	if t.md.uses[u] == 0 {
		if err := k.openDevice(d, claimDM); err != nil {
			return nil, err
		}
	}
	t.md.uses[u]++
	t.uses = append(t.uses, u)
	return d, nil
}

// lowerDevice takes "major:minor" or a path.
func (k *Kernel) lowerDevice(path string) (*device, error) {
	if no, ok := parseDev(path); ok {
		if d := k.devices[no]; d != nil {
			return d, nil
		}
		return nil, unix.ENXIO
	}
	w, err := k.walk(path, true)
	if err == nil && !w.at.n.is(unix.S_IFBLK) {
		err = unix.ENOTBLK
	}
	if err != nil {
		if !k.ver.atLeast(6, 12) {
			err = unix.ENODEV
		}
		return nil, err
	}
	if d := k.devices[fromRdev(w.at.n.rdev)]; d != nil {
		return d, nil
	}
	return nil, unix.ENXIO
}

// release destroys a table and lets its devices go.
func (k *Kernel) release(t *table) {
	if t == nil {
		return
	}
	for _, tg := range t.targets {
		if d, ok := tg.impl.(interface{ destroy() }); ok {
			d.destroy()
		}
	}
	for _, u := range t.uses {
		t.md.uses[u]--
		if t.md.uses[u] == 0 {
			delete(t.md.uses, u)
			u.d.unclaim(claimDM)
			k.closeDevice(u.d)
		}
	}
	t.uses = nil
}

// fits is the check of dm_calculate_queue_limits: every area lies inside its
// device and on its block boundaries.
func (k *Kernel) fits(t *table) error {
	for _, tg := range t.targets {
		for _, a := range tg.impl.areas() {
			size, block := a.d.size(), uint64(a.d.logical/sectorSize)
			if size == 0 {
				continue
			}
			if a.start >= size || a.start+a.length > size || a.start%block != 0 || a.length%block != 0 {
				return unix.EINVAL
			}
		}
	}
	logical, _ := t.blockSizes()
	for _, tg := range t.targets {
		if block := uint64(logical / sectorSize); tg.start%block != 0 || tg.length%block != 0 {
			return unix.EINVAL
		}
	}
	return nil
}

func (k *Kernel) dmClear(m *message) error {
	md, err := k.find(m)
	if err != nil {
		return err
	}
	if md.inactive != nil {
		k.cleared(md)
	}
	k.release(md.inactive)
	md.inactive = nil
	m.mark(flagInactive, false)
	k.status(md, m)
	return nil
}

// lowers lists the distinct lower devices, the last opened first.
func (t *table) lowers() []ioctl.DevNo {
	seen := map[ioctl.DevNo]bool{}
	var nos []ioctl.DevNo
	for _, u := range slices.Backward(t.uses) {
		if !seen[u.d.no] {
			seen[u.d.no] = true
			nos = append(nos, u.d.no)
		}
	}
	return nos
}

// below collects the lower devices of both tables, for sysfs.
func (md *mapped) below() []*device {
	set := map[*device]bool{}
	for u := range md.uses {
		set[u.d] = true
	}
	return slices.Collect(maps.Keys(set))
}
