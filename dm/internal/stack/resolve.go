package stack

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// tags are what udev makes links for below /dev/disk.
var tags = map[string]string{
	"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel",
}

// Mounts tells which device's filesystem is mounted on a path.
type Mounts interface {
	At(path string) (ioctl.DevNo, bool)
}

// Resolve finds the block device that a user named by path, mount point or tag.
// Without mounts no mount point is known.
func (r *Reader) Resolve(spec string, mounts Mounts) (targets.DevNo, error) {
	name := spec
	if tag, value, ok := strings.Cut(spec, "="); ok && tags[tag] != "" {
		name = "/dev/disk/" + tags[tag] + "/" + udevEncode(value)
	}
	st, err := r.Kernel.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && name != spec:
		return targets.DevNo{}, &plan.Refusal{
			Kind: plan.NotFound, Device: spec, Why: "no device has " + spec,
			Hint: "blkid shows existing tags; without udev, name the device or its mount point",
		}
	case errors.Is(err, fs.ErrNotExist):
		return targets.DevNo{}, &plan.Refusal{
			Kind: plan.NotFound, Device: spec, Why: spec + " does not exist", Hint: "lsblk shows devices and mount points",
		}
	case err != nil:
		return targets.DevNo{}, err
	case st.Is(unix.S_IFBLK):
		return st.Rdev, nil
	case st.Is(unix.S_IFDIR):
		return r.mountPoint(spec, mounts)
	}
	return targets.DevNo{}, &plan.Refusal{
		Kind: plan.Usage, Device: spec, Why: spec + " is neither a block device nor a mount point",
		Hint: "name the device, the mount point, or UUID=, LABEL=, PARTUUID=, PARTLABEL=",
	}
}

func (r *Reader) mountPoint(spec string, mounts Mounts) (targets.DevNo, error) {
	clean, err := r.RealPath(spec)
	if err != nil {
		return targets.DevNo{}, err
	}
	var d ioctl.DevNo
	found := false
	if mounts != nil {
		d, found = mounts.At(clean)
	}
	if !found {
		return targets.DevNo{}, &plan.Refusal{
			Kind: plan.Usage, Device: spec, Why: spec + " is a directory, but no block device is mounted there",
			Hint: "findmnt --target " + spec + " shows the filesystem it is on",
		}
	}
	return d, nil
}

// maxLinks is the kernel's own limit (MAXSYMLINKS, include/linux/namei.h).
const maxLinks = 40

// RealPath resolves every symbolic link on the way, so that a path compares
// with what mountinfo says. A ".." goes up from where a link led to, as in the
// kernel: cleaning the text first would name another directory.
func (r *Reader) RealPath(p string) (string, error) {
	if !path.IsAbs(p) {
		return "", &plan.Refusal{Kind: plan.Usage, Device: p, Why: p + " is not an absolute path", Hint: "use an absolute path"}
	}
	done, rest, links := "/", p, 0
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		next := path.Join(done, name)
		st, err := r.Kernel.Lstat(next)
		if err != nil {
			return "", err
		}
		if !st.Is(unix.S_IFLNK) {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("%s: %w", p, unix.ELOOP)
		}
		target, err := r.Kernel.Readlink(next)
		if err != nil {
			return "", err
		}
		if path.IsAbs(target) {
			done = "/"
		}
		rest = target + "/" + rest
	}
	return done, nil
}

// udevEncode is how udev puts a tag's value into a link's name
// (encode_devnode_name: everything outside a small set becomes \xNN).
func udevEncode(value string) string {
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c >= 0x80, strings.IndexByte("#+-.:=@_", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "\\x%02x", c)
		}
	}
	return b.String()
}
