package ioctltest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// device is a block device of any kind.
type device struct {
	no       ioctl.DevNo
	name     string // as in /sys/block
	sectors  uint64 // of a device that is not device-mapper's
	logical  uint32
	physical uint32
	ro       bool
	present  bool // has a disk: node, sysfs directory, can be opened
	data     *sparse
	whole    *device // of a partition
	part     int
	start    uint64
	opens    int // openers, mounts and device-mapper tables
	claims   [claimKinds]int
	freezes  int         // bd_fsfreeze_count
	frozenSB *superblock // what freezes holds, where the kernel remembers it
	dm       *mapped
	loop     *loop
	attrs    map[string]string // files in sysfs that differ from the usual
	redirect *device           // where the interposer sends what is addressed here
	dead     bool              // its driver has removed it, and others still hold it
}

// claimKind is who may hold a device exclusively. All device-mapper tables
// count as one holder, and so do all mounts of one superblock.
type claimKind int

const (
	claimDM claimKind = iota
	claimFS
	claimOpen
	claimKinds
)

func (d *device) claimable(kind claimKind) bool {
	for other := range claimKinds {
		if d.claims[other] > 0 && (other != kind || kind != claimDM) {
			return false
		}
	}
	return true
}

// canClaim adds the rule between a disk and its partitions: whoever holds one
// keeps everybody, device-mapper included, from the other.
func (k *Kernel) canClaim(d *device, kind claimKind) bool {
	if d.whole != nil && d.whole.claimed() {
		return false
	}
	for _, p := range k.devices {
		if p.whole == d && p.claimed() {
			return false
		}
	}
	return d.claimable(kind)
}

func (d *device) claimed() bool          { return d.claims != [claimKinds]int{} }
func (d *device) claim(kind claimKind)   { d.claims[kind]++ }
func (d *device) unclaim(kind claimKind) { d.claims[kind]-- }

func (d *device) size() uint64 {
	if d.dm != nil {
		return d.dm.sectors()
	}
	return d.sectors
}

func (d *device) readOnly() bool { return d.ro || d.whole != nil && d.whole.ro }

// openDevice counts an opener of any kind.
func (k *Kernel) openDevice(d *device, kind claimKind) error {
	switch {
	case d == nil || !d.present || d.dm != nil && d.dm.removed:
		return unix.ENXIO
	case kind != claimKinds && !k.canClaim(d, kind):
		return unix.EBUSY
	}
	if kind != claimKinds {
		d.claim(kind)
	}
	d.opens++
	return nil
}

// closeDevice ends an open; the last one of a device with deferred removal
// removes it, the last one of a loop device with autoclear clears it.
func (k *Kernel) closeDevice(d *device) {
	d.opens--
	if d.opens > 0 {
		return
	}
	if d.dm != nil && d.dm.deferred && !d.dm.removed {
		k.destroy(d.dm, 0)
	}
	if d.loop != nil && d.loop.flags&loopAutoclear != 0 {
		k.clearLoop(d)
	}
}

// read reads bytes of a device through whatever it is made of.
func (k *Kernel) read(d *device, off uint64, b []byte) error {
	return k.direct(d.reached(), off, b, false)
}

func (k *Kernel) write(d *device, off uint64, b []byte) error {
	return k.direct(d.reached(), off, b, true)
}

// reached is the device that I/O addressed to d goes to.
func (d *device) reached() *device {
	if d.redirect != nil {
		return d.redirect
	}
	return d
}

// direct reads or writes the device itself.
func (k *Kernel) direct(d *device, off uint64, b []byte, write bool) error {
	if off+uint64(len(b)) > d.size()*sectorSize {
		return unix.EIO
	}
	switch {
	case d.dm != nil:
		return k.mappedIO(d.dm, off, b, write)
	case d.loop != nil && write:
		return k.writeLoop(d, off, b)
	case d.loop != nil:
		d.loop.n.data.read(int64(d.loop.offset+off), b)
	case d.whole != nil:
		return k.transfer(d.whole, off+d.start*sectorSize, b, write)
	case write:
		d.data.write(int64(off), b)
	default:
		d.data.read(int64(off), b)
	}
	return nil
}

// mappedIO sends bytes to the targets of the live table.
func (k *Kernel) mappedIO(md *mapped, off uint64, b []byte, write bool) error {
	if md.suspended {
		return k.hang("I/O to %s, which is suspended", md.name)
	}
	if md.live == nil {
		return unix.EIO
	}
	for _, t := range md.live.targets {
		begin, end := t.start*sectorSize, (t.start+t.length)*sectorSize
		if off >= end || off+uint64(len(b)) <= begin {
			continue
		}
		from, to := max(off, begin), min(off+uint64(len(b)), end)
		if err := t.impl.io(from, b[from-off:to-off], write); err != nil {
			return err
		}
	}
	return nil
}

// stuck returns a suspended device at or beneath d: I/O to d would wait for it.
func (k *Kernel) stuck(d *device) *mapped {
	for _, below := range k.closure(d) {
		if below.dm != nil && below.dm.suspended {
			return below.dm
		}
	}
	return nil
}

// closure is d and everything that its live tables lead to.
func (k *Kernel) closure(d *device) []*device {
	if d == nil {
		return nil
	}
	all := []*device{d}
	for i := 0; i < len(all); i++ {
		var next []*device
		if md := all[i].dm; md != nil && md.live != nil {
			for _, use := range md.live.uses {
				next = append(next, use.d)
			}
		}
		if all[i].redirect != nil {
			next = append(next, all[i].redirect)
		}
		if all[i].whole != nil {
			next = append(next, all[i].whole)
		}
		for _, n := range next {
			if !slices.Contains(all, n) {
				all = append(all, n)
			}
		}
	}
	return all
}

// addDevice gives a device its node and its place in sysfs.
func (k *Kernel) addDevice(d *device) {
	d.present = true
	n := k.newNode(unix.S_IFBLK | 0o660)
	n.rdev = unix.Mkdev(d.no.Major, d.no.Minor)
	k.place("/dev/"+d.name, n)
}

func (k *Kernel) removeDevice(d *device) {
	d.present = false
	delete(k.devices, d.no)
	k.erase("/dev/" + d.name)
}

func (k *Kernel) sortedDevices() []*device {
	return slices.SortedFunc(maps.Values(k.devices), func(a, b *device) int {
		return cmp.Or(cmp.Compare(a.no.Major, b.no.Major), cmp.Compare(a.no.Minor, b.no.Minor))
	})
}

func devText(no ioctl.DevNo) string { return fmt.Sprintf("%d:%d", no.Major, no.Minor) }
