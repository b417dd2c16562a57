package freeze

import (
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/dmsnap/dmsnap/ioctl"
)

// Mount is one mount of one mount namespace.
type Mount struct {
	ID           int         // the kernel's, unique among live mounts of all namespaces
	DevNo        ioctl.DevNo // of the superblock; anonymous (major 0) for btrfs
	Path         string      // mount point as processes of the namespace see it
	Root         string      // directory of the filesystem that is mounted there
	FSType       string      // "ext4", "fuse.sshfs"
	Source       string      // what was mounted, a path of the mounting process
	Options      string      // of the mount
	SuperOptions string      // of the superblock
	Namespace    string      // "mnt:[4026531841]"
	PID          int         // a process of a foreign namespace; 0 for our own
	Reach        string      // Path as we can open it
}

// reach is a path of a mount's namespace as we can open it. Reading a path
// through a process that has died gives ENOENT or ESRCH.
func reach(pid int, path string) string {
	if pid == 0 {
		return path
	}
	return "/proc/" + strconv.Itoa(pid) + "/root" + path
}

// parseMounts reads a mountinfo file. A line that is not understood comes back
// in odd and does not keep the others from being read.
func parseMounts(text string, pid int, namespace string) (mounts []Mount, odd []string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		m, ok := parseMount(line)
		if !ok {
			odd = append(odd, line)
			continue
		}
		m.PID, m.Namespace, m.Reach = pid, namespace, reach(pid, m.Path)
		mounts = append(mounts, m)
	}
	return mounts, odd
}

// parseMount checks the numbers itself: the library takes a bad one for 0.
func parseMount(line string) (Mount, bool) {
	fields := strings.SplitN(line, " ", 4)
	if len(fields) < 4 {
		return Mount{}, false
	}
	id, err := strconv.Atoi(fields[0])
	if err != nil {
		return Mount{}, false
	}
	dev, err := ioctl.ParseDevNo(fields[2])
	if err != nil {
		return Mount{}, false
	}
	infos, err := mountinfo.GetMountsFromReader(strings.NewReader(line), nil)
	if err != nil || len(infos) != 1 {
		return Mount{}, false
	}
	i := infos[0]
	return Mount{
		ID: id, DevNo: dev, Path: i.Mountpoint, Root: i.Root, FSType: i.FSType,
		Source: i.Source, Options: i.Options, SuperOptions: i.VFSOptions,
	}, true
}

// option is the value of a superblock option "name=value", unescaped.
func (m Mount) option(name string) (string, bool) {
	for _, o := range strings.Split(m.SuperOptions, ",") {
		if value, ok := strings.CutPrefix(o, name+"="); ok {
			return unescape(value), true
		}
	}
	return "", false
}

// DirectAccess says whether the filesystem may hand memory of its device to
// programs (DAX), if the device has any: by an option, or, with ext4 and xfs, for
// single files unless dax=never forbids it.
func (m Mount) DirectAccess() bool {
	way, given := m.option("dax")
	switch options := strings.Split(m.SuperOptions, ","); {
	case slices.Contains(options, "dax"):
		return true
	case given:
		return way != "never"
	}
	return m.FSType == "ext4" || m.FSType == "xfs"
}

// readOnly says of the superblock that nothing can be written through any of
// its mounts.
func (m Mount) readOnly() bool {
	return m.SuperOptions == "ro" || strings.HasPrefix(m.SuperOptions, "ro,")
}

// unescape undoes seq_escape of the kernel: backslash and three octal digits.
func unescape(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) {
			if n, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
