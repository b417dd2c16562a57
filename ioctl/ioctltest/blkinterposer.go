package ioctltest

import (
	"strings"

	"golang.org/x/sys/unix"
)

// Options.BlkInterposer makes the kernel one with the block device interposer,
// which was published in April 2021 and never merged: a table that is loaded with
// flagInterpose may name one device with interposePrefix. It is opened without a
// claim, and from the resume on what is addressed to it goes to the
// device-mapper device instead.
const (
	flagInterpose   = 1 << 19
	interposePrefix = "[interpose]"
)

// takeIn is hold for the device that a table interposes.
func (k *Kernel) takeIn(t *table, path string) (*device, error) {
	d, err := k.lowerDevice(path)
	switch {
	case err != nil:
		return nil, err
	case !t.interposes || t.interposed != nil && t.interposed != d:
		return nil, unix.EINVAL
	case t.interposed == d:
		return d, nil
	}
	if err := k.openDevice(d, claimKinds); err != nil {
		return nil, err
	}
	t.interposed = d
	return d, nil
}

// asksToInterpose tells whether a device argument has the prefix, and what is
// behind it.
func (k *Kernel) asksToInterpose(path string) (rest string, asks bool) {
	if !k.opts.BlkInterposer {
		return path, false
	}
	return strings.CutPrefix(path, interposePrefix)
}

// canInterpose checks a table that was loaded with the flag: one target, as large
// as the device it takes in.
func (t *table) canInterpose() error {
	if t.interposes && (t.interposed == nil || len(t.targets) != 1 || t.sectors() != t.interposed.size()) {
		return unix.EINVAL
	}
	return nil
}

// attach leads what is addressed to the device of the live table here.
func (md *mapped) attach() error {
	d := md.live.interposed
	switch {
	case d == nil:
		return nil
	case d.redirect != nil && d.redirect != md.dev:
		return unix.EBUSY
	}
	d.redirect = md.dev
	return nil
}

// detach ends it.
func (md *mapped) detach() {
	if md.attached() {
		md.live.interposed.redirect = nil
	}
}

func (md *mapped) attached() bool {
	return md.live != nil && md.live.interposed != nil && md.live.interposed.redirect == md.dev
}

// past runs f, which does the I/O of the live table. What it sends down is not
// led here again.
func (md *mapped) past(f func() error) error {
	if !md.attached() {
		return f()
	}
	d := md.live.interposed
	d.redirect = nil
	defer func() { d.redirect = md.dev }()
	return f()
}
