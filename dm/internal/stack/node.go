package stack

import (
	"path"
	"strconv"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// Node is what sysfs and the tables say of one device.
type Node struct {
	Dev       targets.DevNo
	Name      string // its device-mapper name, or else the kernel's
	UUID      string // device-mapper devices only
	Targets   string // types of the live table's targets; "" for a plain device
	Size      targets.Sectors
	Suspended bool
	File      string // what a loop device stands on
	Lower     []targets.DevNo
}

// Describe reads one device without opening it. Of a device that is gone by now only
// the number is known.
func (r *Reader) Describe(d targets.DevNo) (n Node, err error) {
	n.Dev = d
	dir := sysBlock(d)
	link, err := r.Kernel.Readlink(dir)
	if err != nil {
		return n, nil
	}
	text := map[string]string{}
	for _, name := range []string{"size", "dm/name", "dm/uuid", "dm/suspended", "loop/backing_file"} {
		if text[name], err = r.attr(path.Join(dir, name)); err != nil {
			return n, err
		}
	}
	size, err := strconv.ParseUint(text["size"], 10, 64)
	if err != nil {
		return n, err
	}
	n.Size, n.UUID, n.File = targets.Sectors(size), text["dm/uuid"], text["loop/backing_file"]
	n.Suspended = text["dm/suspended"] == "1"
	if n.Name = text["dm/name"]; n.Name == "" {
		n.Name = path.Base(link)
	} else {
		_, table, err := r.Table(ioctl.ID{Dev: d}, 0)
		if err != nil {
			return n, err
		}
		n.Targets = types(table)
		for _, d := range table.Devices() {
			if n.Targets == "interpose" { // it holds its device without a claim, which sysfs does not show
				n.Lower = append(n.Lower, d.DevNo)
			}
		}
	}
	claimed, err := r.links(dir + "/slaves")
	n.Lower = append(n.Lower, claimed...)
	return n, err
}

// types lists the target types of a table, each once, in order of first use.
func types(t targets.Table) string {
	text, seen := "", map[string]bool{}
	for _, row := range t {
		if typ := row.Target.Type(); !seen[typ] {
			seen[typ] = true
			if text != "" {
				text += "+"
			}
			text += typ
		}
	}
	return text
}
