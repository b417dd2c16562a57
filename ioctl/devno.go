package ioctl

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// DevNo is the number of a device. Devices are compared by it, never by path.
// The zero value is no device.
type DevNo struct{ Major, Minor uint32 }

// String is "254:3", the form of device-mapper tables and of sysfs.
func (d DevNo) String() string {
	return strconv.FormatUint(uint64(d.Major), 10) + ":" + strconv.FormatUint(uint64(d.Minor), 10)
}

// ParseDevNo reads what String writes: two decimal numbers and a colon, nothing
// else. A trailing newline, as sysfs has it, must be cut off before.
func ParseDevNo(s string) (DevNo, error) {
	major, minor, ok := strings.Cut(s, ":")
	a, err1 := strconv.ParseUint(major, 10, 12)
	b, err2 := strconv.ParseUint(minor, 10, 20)
	if !ok || err1 != nil || err2 != nil {
		return DevNo{}, fmt.Errorf("device number %q: want MAJOR:MINOR, at most %d:%d", s, maxMajor, maxMinor)
	}
	return DevNo{Major: uint32(a), Minor: uint32(b)}, nil
}

// DevNoOf takes the number of a struct stat apart (st_dev, st_rdev).
func DevNoOf(rdev uint64) DevNo { return DevNo{Major: unix.Major(rdev), Minor: unix.Minor(rdev)} }

// Rdev puts the number together as in struct stat, and as mknod(2) takes it.
func (d DevNo) Rdev() uint64 { return unix.Mkdev(d.Major, d.Minor) }

// The kernel has 12 bits of major and 20 of minor number: MINORBITS of
// include/linux/kdev_t.h.
const (
	maxMajor = 1<<12 - 1
	maxMinor = 1<<20 - 1
)

func (d DevNo) valid() bool { return d.Major <= maxMajor && d.Minor <= maxMinor }

// huge is huge_encode_dev of include/linux/kdev_t.h, the form of struct dm_ioctl,
// dm_name_list and dm_target_deps.
func (d DevNo) huge() uint64 {
	return uint64(d.Minor&0xff) | uint64(d.Major)<<8 | uint64(d.Minor&^0xff)<<12
}

func fromHuge(dev uint64) DevNo {
	return DevNo{Major: uint32(dev>>8) & maxMajor, Minor: uint32(dev&0xff) | uint32(dev>>12)&0xfff00}
}
