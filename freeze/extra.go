package freeze

import (
	"path"
	"strconv"
	"strings"

	"github.com/dmsnap/dmsnap/ioctl"
)

// Extra is a device that a filesystem writes to besides those it lives on. A
// snapshot of the filesystem without it is not one instant.
type Extra struct {
	Role   string      // "journal" (ext3, ext4), "log", "realtime" (xfs)
	DevNo  ioctl.DevNo // zero if Source leads to no device here
	Source string      // what the kernel calls it
}

// extras finds the external devices of a filesystem. ext4 does not show its
// journal among the options; the name of its journal thread tells.
func (t *Table) extras(m Mount) []Extra {
	switch m.FSType {
	case "xfs":
		return append(t.optionExtra(m, "logdev", "log"), t.optionExtra(m, "rtdev", "realtime")...)
	case "ext3", "ext4":
		return t.journal(m.DevNo)
	}
	return nil
}

func (t *Table) optionExtra(m Mount, option, role string) []Extra {
	source, ok := m.option(option)
	if !ok {
		return nil
	}
	dev, _ := t.blockDevice(m, source)
	return []Extra{{Role: role, DevNo: dev, Source: source}}
}

// journal reads /sys/fs/ext4/<disk>/journal_task, a process id, and the name of
// that thread: "jbd2/<disk>-<inode>" for a journal inside the filesystem,
// "jbd2/<device>" for one outside. Anything unexpected is no external journal.
func (t *Table) journal(super ioctl.DevNo) []Extra {
	disk, ok := t.kernelName(super)
	if !ok {
		return nil
	}
	text, err := t.k.ReadFile(path.Join("/sys/fs/ext4", disk, "journal_task"))
	if err != nil {
		return nil
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return nil // "<none>": no journal
	}
	comm, err := t.k.ReadFile(path.Join("/proc", strconv.Itoa(pid), "comm"))
	if err != nil {
		return nil
	}
	name, ok := strings.CutPrefix(strings.TrimSpace(string(comm)), "jbd2/")
	if !ok || strings.HasPrefix(name, disk+"-") {
		return nil
	}
	dev, _ := t.sysfsNumber(path.Join("/sys/class/block", name))
	return []Extra{{Role: "journal", DevNo: dev, Source: name}}
}

// kernelName is the name in /sys/block, such as "dm-3", of a device.
func (t *Table) kernelName(dev ioctl.DevNo) (string, bool) {
	link, err := t.k.Readlink("/sys/dev/block/" + dev.String())
	return path.Base(link), err == nil
}
