package ioctl

import "github.com/dmsnap/dmsnap/internal/devno"

// DevNo is the number of a device. Devices are compared by it, never by path.
// The zero value is no device. It is the same type as targets.DevNo.
type DevNo = devno.DevNo

// ParseDevNo reads what DevNo.String writes: two decimal numbers and a colon,
// nothing else. A trailing newline, as sysfs has it, must be cut off before.
func ParseDevNo(s string) (DevNo, error) { return devno.Parse(s) }

// DevNoOf takes the number of a struct stat apart (st_dev, st_rdev).
func DevNoOf(rdev uint64) DevNo { return devno.FromRdev(rdev) }
