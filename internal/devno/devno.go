// Package devno has the number of a device. It is a package of its own so that
// tables (targets) and system calls (ioctl) have one type for it.
package devno

import (
	"fmt"
	"strconv"
	"strings"
)

// DevNo is the number of a device. Devices are compared by it, never by path.
// The zero value is no device.
type DevNo struct{ Major, Minor uint32 }

// The kernel has 12 bits of major and 20 of minor number: MINORBITS of
// include/linux/kdev_t.h.
const (
	majorBits = 12
	minorBits = 20
	maxMajor  = 1<<majorBits - 1
	maxMinor  = 1<<minorBits - 1
)

// Parse reads what String writes: two decimal numbers and a colon, nothing else. A
// trailing newline, as sysfs has it, must be cut off before.
func Parse(s string) (DevNo, error) {
	major, minor, ok := strings.Cut(s, ":")
	a, err1 := strconv.ParseUint(major, 10, majorBits)
	b, err2 := strconv.ParseUint(minor, 10, minorBits)
	if !ok || err1 != nil || err2 != nil {
		return DevNo{}, fmt.Errorf("device number %q: want MAJOR:MINOR, at most %d:%d", s, maxMajor, maxMinor)
	}
	return DevNo{Major: uint32(a), Minor: uint32(b)}, nil
}

// String is "254:3", the form of device-mapper tables and of sysfs.
func (d DevNo) String() string {
	return strconv.FormatUint(uint64(d.Major), 10) + ":" + strconv.FormatUint(uint64(d.Minor), 10)
}

// Valid tells whether the kernel can have such a number.
func (d DevNo) Valid() bool { return d.Major <= maxMajor && d.Minor <= maxMinor }

// FromRdev takes the number of a struct stat apart (st_dev, st_rdev): makedev(3).
func FromRdev(rdev uint64) DevNo {
	return DevNo{
		Major: uint32(rdev>>8)&maxMajor | uint32(rdev>>32)&^maxMajor,
		Minor: uint32(rdev&0xff) | uint32(rdev>>12)&^0xff,
	}
}

// Rdev puts the number together as in struct stat, and as mknod(2) takes it.
func (d DevNo) Rdev() uint64 {
	return uint64(d.Major&maxMajor)<<8 | uint64(d.Major&^maxMajor)<<32 | uint64(d.Minor&0xff) | uint64(d.Minor&^0xff)<<12
}

// Huge is huge_encode_dev of include/linux/kdev_t.h, the form of struct dm_ioctl,
// dm_name_list and dm_target_deps.
func (d DevNo) Huge() uint64 {
	return uint64(d.Minor&0xff) | uint64(d.Major)<<8 | uint64(d.Minor&^0xff)<<12
}

// FromHuge is huge_decode_dev.
func FromHuge(dev uint64) DevNo {
	return DevNo{Major: uint32(dev>>8) & maxMajor, Minor: uint32(dev&0xff) | uint32(dev>>12)&0xfff00}
}
