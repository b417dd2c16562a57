package ioctltest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Snapshot writes down all state in a fixed order, one fact per line: devices
// with their tables, flags, open counts and a hash of their contents, mounts,
// freezes, nodes, files, semaphores and open descriptors. Equal states give
// equal texts. Event numbers, inode numbers and loaded modules are left out:
// they do not go back.
func (k *Kernel) Snapshot() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var b strings.Builder
	for _, md := range k.sortedMapped() {
		k.dumpMapped(&b, md)
	}
	for _, d := range k.sortedDevices() {
		if d.dm == nil && !d.spare() {
			k.dumpDevice(&b, d)
		}
	}
	k.dumpSupers(&b)
	for _, id := range slices.Sorted(maps.Keys(k.spaces)) {
		for _, m := range k.spaces[id].mounts {
			fmt.Fprintf(&b, "mount %d %s %s %s %s%s %s\n", id, m.at, devText(m.sb.dev), m.sb.fstype, rw(m.ro), commaed(m.sb.opts), m.sub)
		}
	}
	for _, sb := range k.supers {
		k.dumpTree(&b, fmt.Sprintf("file %s ", devText(sb.dev)), "", sb.root)
	}
	k.dumpIPC(&b)
	return b.String()
}

// spare tells whether a device is a loop device without a file: the kernel keeps
// those it once made.
func (d *device) spare() bool { return d.no.Major == loopMajor && d.loop == nil }

func commaed(opts string) string {
	if opts == "" {
		return ""
	}
	return "," + opts
}

func (k *Kernel) dumpMapped(b *strings.Builder, md *mapped) {
	fmt.Fprintf(b, "dm %s %s uuid=%s open=%d%s\n", md.name, devText(md.dev.no), md.uuid, md.dev.opens, words(map[string]bool{
		"suspended": md.suspended, "ro": md.dev.ro, "deferred-remove": md.deferred,
		"no-disk": !md.dev.present, "not-to-be-renamed": md.described != apart, "frozen-by-suspend": md.lockedFS,
	})+freezes(md.dev))
	for _, slot := range []struct {
		name string
		t    *table
	}{{"live", md.live}, {"inactive", md.inactive}} {
		if slot.t == nil {
			continue
		}
		for _, tg := range slot.t.targets {
			fmt.Fprintf(b, "dm %s %s %d %d %s %s%s\n", md.name, slot.name, tg.start, tg.length, tg.typ.name, tg.impl.line(), words(map[string]bool{"ro": slot.t.ro}))
			k.dumpStore(b, md, slot.name, tg)
		}
	}
}

func (k *Kernel) dumpStore(b *strings.Builder, md *mapped, slot string, tg *target) {
	s, ok := tg.impl.(*snapshot)
	if !ok {
		return
	}
	fmt.Fprintf(b, "dm %s %s store next=%d exceptions=%d%s\n", md.name, slot, s.store.next, len(s.store.exceptions), words(map[string]bool{
		"invalid": !s.valid, "overflow": s.overflowed, "merge-failed": s.mergeFailed, "active": s.active,
	}))
}

func (k *Kernel) dumpDevice(b *strings.Builder, d *device) {
	fmt.Fprintf(b, "disk %s %s sectors=%d open=%d%s%s", d.name, devText(d.no), d.sectors, d.opens, words(map[string]bool{
		"ro": d.ro, "for-dm": d.claims[claimDM] > 0, "for-fs": d.claims[claimFS] > 0, "exclusive": d.claims[claimOpen] > 0,
	}), freezes(d))
	if d.loop != nil {
		fmt.Fprintf(b, " loop=%s flags=%d", d.loop.path, d.loop.flags)
	}
	if d.data != nil {
		fmt.Fprintf(b, " data=%s", d.data.hash())
	}
	b.WriteByte('\n')
}

func (k *Kernel) dumpSupers(b *strings.Builder) {
	for _, sb := range k.supers {
		if sb.bdev != nil {
			fmt.Fprintf(b, "fs %s %s on %s frozen=%d\n", devText(sb.dev), sb.fstype, sb.bdev.name, sb.frozen)
		}
	}
}

func (k *Kernel) dumpTree(b *strings.Builder, prefix, path string, n *node) {
	if n.list != nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(n.kids)) {
		kid, at := n.kids[name], path+"/"+name
		if d := k.devices[fromRdev(kid.rdev)]; kid.is(unix.S_IFBLK) && d != nil && d.spare() {
			continue
		}
		fmt.Fprintf(b, "%s%s %#o", prefix, at, kid.mode)
		switch kid.mode & unix.S_IFMT {
		case unix.S_IFLNK:
			fmt.Fprintf(b, " -> %s", kid.link)
		case unix.S_IFBLK, unix.S_IFCHR:
			fmt.Fprintf(b, " %s", devText(fromRdev(kid.rdev)))
		case unix.S_IFREG:
			fmt.Fprintf(b, " size=%d data=%s attrs=%#x", kid.size, kid.data.hash(), kid.attrs)
		}
		b.WriteByte('\n')
		k.dumpTree(b, prefix, at, kid)
	}
}

func (k *Kernel) dumpIPC(b *strings.Builder) {
	for _, id := range slices.Sorted(maps.Keys(k.sems)) {
		fmt.Fprintf(b, "sem %#x %v\n", uint32(k.sems[id].key), k.sems[id].values)
	}
	for _, fd := range slices.Sorted(maps.Keys(k.fds)) {
		f := k.fds[fd]
		fmt.Fprintf(b, "fd %d %s%s\n", fd, f.path, words(map[string]bool{"locked": slices.Contains(f.n.locks, f)}))
	}
	for _, pid := range slices.Sorted(maps.Keys(k.procs)) {
		if pid != k.pid {
			fmt.Fprintf(b, "process %d %s\n", pid, k.procs[pid].comm)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(k.knobs)) {
		fmt.Fprintf(b, "knob %s %s\n", path, strconv.Quote(k.knobs[path]))
	}
}

func freezes(d *device) string {
	if d.freezes == 0 {
		return ""
	}
	return " freezes=" + strconv.Itoa(d.freezes)
}

// words are the names that are true, sorted, each with a space before it.
func words(on map[string]bool) string {
	text := ""
	for _, name := range slices.Sorted(maps.Keys(on)) {
		if on[name] {
			text += " " + name
		}
	}
	return text
}
