package ioctltest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

func (k *Kernel) sysRoot() map[string]*node {
	return map[string]*node{
		"block":   dir(func() map[string]*node { return k.blockLinks("../devices/virtual/block/", false) }),
		"class":   dir(k.sysClass),
		"dev":     fixedDir(map[string]*node{"block": dir(k.devLinks)}),
		"devices": fixedDir(map[string]*node{"virtual": fixedDir(map[string]*node{"block": dir(k.diskDirs)})}),
		"fs":      dir(k.sysFS),
		"kernel":  fixedDir(map[string]*node{"rcu_expedited": k.knob("/sys/kernel/rcu_expedited", "0\n")}),
		"module":  dir(k.sysModules),
	}
}

func (k *Kernel) sysClass() map[string]*node {
	misc := map[string]*node{"device-mapper": fixedDir(map[string]*node{
		"dev": fixedText(fmt.Sprintf("%d:%d\n", miscMajor, controlMinor)),
	})}
	return map[string]*node{
		"block": dir(func() map[string]*node { return k.blockLinks("../../devices/virtual/block/", true) }),
		"misc":  fixedDir(misc),
	}
}

// diskPath is where a device lies beneath /sys/devices/virtual/block.
func (d *device) diskPath() string {
	if d.whole != nil {
		return d.whole.name + "/" + d.name
	}
	return d.name
}

func (k *Kernel) present() []*device {
	var all []*device
	for _, d := range k.sortedDevices() {
		if d.present {
			all = append(all, d)
		}
	}
	return all
}

func (k *Kernel) blockLinks(prefix string, parts bool) map[string]*node {
	kids := map[string]*node{}
	for _, d := range k.present() {
		if d.whole == nil || parts {
			kids[d.name] = symlink(prefix + d.diskPath())
		}
	}
	return kids
}

func (k *Kernel) devLinks() map[string]*node {
	kids := map[string]*node{}
	for _, d := range k.present() {
		kids[devText(d.no)] = symlink("../../devices/virtual/block/" + d.diskPath())
	}
	return kids
}

func (k *Kernel) diskDirs() map[string]*node {
	kids := map[string]*node{}
	for _, d := range k.present() {
		if d.whole == nil {
			kids[d.name] = dir(func() map[string]*node { return k.diskDir(d) })
		}
	}
	return kids
}

func (k *Kernel) diskDir(d *device) map[string]*node {
	kids := map[string]*node{
		"dev":     fixedText(devText(d.no) + "\n"),
		"size":    textFile(func() string { return fmt.Sprintf("%d\n", d.size()) }),
		"ro":      textFile(func() string { return flagText(d.readOnly()) }),
		"uevent":  fixedText(fmt.Sprintf("MAJOR=%d\nMINOR=%d\nDEVNAME=%s\nDEVTYPE=disk\n", d.no.Major, d.no.Minor, d.name)),
		"slaves":  dir(func() map[string]*node { return k.slaves(d) }),
		"holders": dir(func() map[string]*node { return k.holders(d) }),
	}
	if d.whole != nil {
		kids["partition"] = fixedText(strconv.Itoa(d.part) + "\n")
		kids["start"] = fixedText(fmt.Sprintf("%d\n", d.start))
		return kids
	}
	kids["removable"] = fixedText(d.attribute("removable") + "\n")
	kids["queue"] = fixedDir(map[string]*node{
		"dax":                 fixedText(d.attribute("queue/dax") + "\n"),
		"rotational":          fixedText(d.attribute("queue/rotational") + "\n"),
		"logical_block_size":  fixedText(fmt.Sprintf("%d\n", d.logical)),
		"physical_block_size": fixedText(fmt.Sprintf("%d\n", d.physical)),
		"minimum_io_size":     fixedText(fmt.Sprintf("%d\n", d.physical)),
		"discard_max_bytes":   fixedText("2147483648\n"),

		"atomic_write_unit_max_bytes": fixedText(d.attribute("queue/atomic_write_unit_max_bytes") + "\n"),
	})
	if timeout := d.attribute("device/timeout"); timeout != "0" {
		kids["device"] = fixedDir(map[string]*node{"timeout": fixedText(timeout + "\n")})
	}
	for _, p := range k.present() {
		if p.whole == d {
			kids[p.name] = dir(func() map[string]*node { return k.diskDir(p) })
		}
	}
	if md := d.dm; md != nil {
		kids["dm"] = fixedDir(map[string]*node{
			"name":      fixedText(md.name + "\n"),
			"uuid":      fixedText(md.uuid + "\n"),
			"suspended": textFile(func() string { return flagText(md.suspended) }),
		})
	}
	if d.loop != nil {
		kids["loop"] = fixedDir(map[string]*node{
			"backing_file": fixedText(k.nameOf(d.loop) + "\n"),
			"offset":       fixedText(fmt.Sprintf("%d\n", d.loop.offset)),
		})
	}
	return kids
}

// attribute is a file of a disk; a stacked device has DAX if all beneath it have,
// and is rotational if one is.
func (d *device) attribute(name string) string {
	if d.dm == nil {
		return cmp.Or(d.attrs[name], "0")
	}
	below := d.dm.below()
	is := func(low *device) bool { return cmp.Or(low.whole, low).attribute(name) == "1" }
	switch {
	case name == "queue/dax" && len(below) > 0 && !slices.ContainsFunc(below, func(low *device) bool { return !is(low) }):
		return "1"
	case name == "queue/rotational" && slices.ContainsFunc(below, is):
		return "1"
	}
	return "0"
}

func flagText(on bool) string {
	if on {
		return "1\n"
	}
	return "0\n"
}

func (k *Kernel) slaves(d *device) map[string]*node {
	kids := map[string]*node{}
	if d.dm != nil {
		for _, low := range d.dm.below() {
			kids[low.name] = symlink("../../" + low.diskPath())
		}
	}
	return kids
}

func (k *Kernel) holders(d *device) map[string]*node {
	up := "../../"
	if d.whole != nil {
		up = "../../../"
	}
	kids := map[string]*node{}
	for _, md := range k.mapped {
		for _, low := range md.below() {
			if low == d && md.dev.present {
				kids[md.dev.name] = symlink(up + md.dev.name)
			}
		}
	}
	return kids
}

// sysFS has the members of each btrfs and the journal thread of each ext4.
func (k *Kernel) sysFS() map[string]*node {
	btrfs, ext4 := map[string]*node{}, map[string]*node{}
	for _, sb := range k.supers {
		switch {
		case sb.bdev == nil:
		case sb.fstype == "btrfs":
			btrfs[sb.uuid] = fixedDir(map[string]*node{"devices": fixedDir(map[string]*node{
				sb.bdev.name: symlink("../../../../devices/virtual/block/" + sb.bdev.diskPath()),
			})})
		case sb.fstype == "ext4":
			ext4[sb.bdev.name] = fixedDir(map[string]*node{"journal_task": fixedText("<none>\n")})
		}
	}
	return map[string]*node{"btrfs": fixedDir(btrfs), "ext4": fixedDir(ext4)}
}

func (k *Kernel) sysModules() map[string]*node {
	kids := map[string]*node{"dm_mod": fixedDir(nil)}
	for name := range k.modules {
		kids[name] = fixedDir(nil)
	}
	if k.modules["dm_snapshot"] {
		at := "/sys/module/dm_snapshot/parameters/"
		kids["dm_snapshot"] = fixedDir(map[string]*node{"parameters": fixedDir(map[string]*node{
			"snapshot_copy_throttle": k.knob(at+"snapshot_copy_throttle", "100\n"),
			"snapshot_cow_threshold": k.knob(at+"snapshot_cow_threshold", "2048\n"),
		})})
	}
	return kids
}

// knob is a value that can be written.
func (k *Kernel) knob(path, preset string) *node {
	if n := k.knobFiles[path]; n != nil {
		return n
	}
	n := textFile(func() string {
		if v, ok := k.knobs[path]; ok {
			return v
		}
		return preset
	})
	n.mode = unix.S_IFREG | 0o644
	n.set = func(v string) {
		if v == "" || v[len(v)-1] != '\n' {
			v += "\n"
		}
		delete(k.knobs, path)
		if v != preset {
			k.knobs[path] = v
		}
	}
	k.knobFiles[path] = n
	return n
}
