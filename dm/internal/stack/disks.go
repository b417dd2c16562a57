package stack

import (
	"math"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/targets"
)

// Disk is a device that stands on no other, and what its driver says of it.
type Disk struct {
	Name      string // as in /sys/block
	Dev       targets.DevNo
	Removable bool
	USB       bool
	Remote    bool // its blocks are on another machine
	Slow      bool // rotational
	// Timeout is when the driver gives up a request: nil if it does not say, 0 if
	// never.
	Timeout *time.Duration
}

// Disks are what a device stands on in the end, beneath the files of loop devices
// too. A loop device is one itself if its file's filesystem does not tell its device.
func (r *Reader) Disks(d targets.DevNo) ([]Disk, error) {
	beneath, err := r.Beneath(d)
	if err != nil {
		return nil, err
	}
	var out []Disk
	for _, b := range beneath {
		lower, err := r.links(sysBlock(b) + "/slaves")
		if err != nil {
			return nil, err
		}
		if len(lower) > 0 {
			continue
		}
		if under, found := r.loopHost(b); found {
			more, err := r.Disks(under)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
			continue
		}
		disk, err := r.disk(b)
		if err != nil {
			return nil, err
		}
		out = append(out, disk)
	}
	return out, nil
}

// loopHost is the device that the file of a loop device lies on.
func (r *Reader) loopHost(d targets.DevNo) (targets.DevNo, bool) {
	name, err := r.LoopFile(d)
	if err != nil || name == "" {
		return targets.DevNo{}, false
	}
	st, err := r.Kernel.Stat(name)
	return st.Dev, err == nil && st.Dev.Major != 0
}

// remote are parts of a disk's place in sysfs, or of its name: sessions of iSCSI,
// NVMe over a network, and drivers whose blocks lie elsewhere.
var remote = regexp.MustCompile(`/session[0-9]+/|/nvme-fabrics/|/(nbd|drbd|rbd)[0-9]+(/|$)`)

func (r *Reader) disk(d targets.DevNo) (Disk, error) {
	place, err := r.Kernel.Readlink(sysBlock(d))
	if err != nil {
		return Disk{}, err
	}
	out := Disk{Name: path.Base(place), Dev: d, USB: strings.Contains(place, "/usb"), Remote: remote.MatchString(place)}
	for name, flag := range map[string]*bool{"removable": &out.Removable, "queue/rotational": &out.Slow} {
		text, err := r.diskAttr(d, name)
		if err != nil {
			return out, err
		}
		*flag = text == "1"
	}
	out.Timeout, err = r.timeout(d, place)
	return out, err
}

// timeout reads what SCSI and NVMe have: in seconds, and in milliseconds. Other
// drivers show the block layer's usual 30 seconds and need not act on it.
func (r *Reader) timeout(d targets.DevNo, place string) (*time.Duration, error) {
	text, err := r.diskAttr(d, "device/timeout")
	unit := time.Second
	if text == "" && err == nil && strings.Contains(place, "/nvme") {
		text, err = r.diskAttr(d, "queue/io_timeout")
		unit = time.Millisecond
	}
	n, bad := strconv.ParseUint(text, 10, 64)
	if err != nil || bad != nil {
		return nil, err
	}
	t := time.Duration(min(n, math.MaxUint32)) * unit
	if t >= time.Hour { // cloud images set the largest number there is, and mean "never"
		t = 0
	}
	return &t, nil
}
