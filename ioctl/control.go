package ioctl

import (
	"bytes"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Control is one descriptor on the device-mapper control node, held open so that
// no call can fail for want of one, and so that events can be polled. It is safe
// for concurrent use, except that Close may not overlap with a call, and that
// ArmPoll and Poll belong to one goroutine.
type Control struct {
	k  *Kernel
	fd int
}

const (
	controlPath = "/dev/mapper/control"
	// The number of the control node since Linux 2.6.36: MISC_MAJOR of
	// include/uapi/linux/major.h, MAPPER_CTRL_MINOR of include/linux/miscdevice.h.
	// Opening it makes the kernel load dm-mod.
	miscMajor, mapperMinor = 10, 236
)

// OpenControl opens /dev/mapper/control. If the node is missing it is made, with
// the number from sysfs or /proc/misc, or else with the well-known one, and
// removed again if opening fails. EACCES comes from the calls, not from here, if
// CAP_SYS_ADMIN is missing. Errors: ENODEV or ENXIO without device-mapper.
func (k *Kernel) OpenControl() (*Control, error) {
	fd, err := k.t.Open(controlPath, unix.O_RDWR, 0)
	if err == unix.ENOENT {
		fd, err = k.makeControl()
	}
	if err != nil {
		return nil, wrap("open", controlPath, err)
	}
	return &Control{k: k, fd: fd}, nil
}

func (k *Kernel) makeControl() (fd int, err error) {
	err = k.t.Mkdir("/dev/mapper", 0o755)
	madeDir := err == nil
	if err != nil && err != unix.EEXIST {
		return -1, err
	}
	err = k.t.Mknod(controlPath, unix.S_IFCHR|0o600, k.controlNumber().Rdev())
	made := err == nil
	if err != nil && err != unix.EEXIST {
		return -1, err
	}
	fd, err = k.t.Open(controlPath, unix.O_RDWR, 0)
	if err != nil && made { // the open's error is the one to report
		_ = k.t.Unlink(controlPath)
		if madeDir {
			_ = k.t.Rmdir("/dev/mapper")
		}
	}
	return fd, err
}

func (k *Kernel) controlNumber() DevNo {
	if b, err := k.ReadFile("/sys/class/misc/device-mapper/dev"); err == nil {
		if d, err := ParseDevNo(string(bytes.TrimSpace(b))); err == nil {
			return d
		}
	}
	if b, err := k.ReadFile("/proc/misc"); err == nil {
		if minor, ok := miscMinor(b, "device-mapper"); ok {
			return DevNo{Major: miscMajor, Minor: minor}
		}
	}
	return DevNo{Major: miscMajor, Minor: mapperMinor}
}

// miscMinor finds a name in the lines "MINOR NAME" of /proc/misc.
func miscMinor(b []byte, name string) (uint32, bool) {
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) != 2 || string(f[1]) != name {
			continue
		}
		minor, err := strconv.ParseUint(string(f[0]), 10, 20)
		return uint32(minor), err == nil
	}
	return 0, false
}

// Close closes the descriptor. A second Close is harmless.
func (c *Control) Close() error {
	if c.fd < 0 {
		return nil
	}
	fd := c.fd
	c.fd = -1
	return wrap("close", controlPath, c.k.t.Close(fd))
}

// Version asks for the version of the device-mapper interface.
func (c *Control) Version() (v Version, err error) {
	r := globalRequest("version of device-mapper", reqVersion)
	r.restart = true
	_, err = c.call(r, func(h *header, _ []byte) error {
		v = h.version
		return nil
	})
	return v, err
}

// List returns the devices, in no order. prefix is zero for all, or has a Name or
// a UUID that the device's must start with (Linux 5.13; older kernels return
// all). UUIDs are always asked for; kernels before 5.13 do not tell them. An empty
// UUID is a device without one.
func (c *Control) List(prefix ID) ([]Entry, error) {
	r := globalRequest("list devices", reqListDevices)
	if prefix != (ID{}) {
		checked, err := newRequest("list devices", reqListDevices, prefix, 0, 0)
		if err != nil {
			return nil, err
		}
		if prefix.Dev != (DevNo{}) {
			return nil, checked.fail(ErrBadID)
		}
		r.head.name, r.head.uuid = prefix.Name, prefix.UUID
	}
	r.head.flags = flagUUID
	r.restart = true
	r.room = firstBuffer
	var entries []Entry
	_, err := c.call(r, func(h *header, b []byte) error {
		payload, err := h.payload(b)
		if err == nil {
			entries, err = parseNames(payload)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// TargetVersions returns the target types the kernel has loaded.
func (c *Control) TargetVersions() ([]TargetVersion, error) {
	return c.versions(globalRequest("list targets", reqListVersions))
}

// TargetVersion asks for one target type, loading its module if need be: not to
// be called while a device that modprobe needs is suspended. EINVAL: there is no
// such target. Linux 5.4.
func (c *Control) TargetVersion(typ string) (TargetVersion, error) {
	r := globalRequest("version of target", reqTargetVersion)
	r.subject, r.opaque = typ, true
	if s := (Spec{Type: typ}); s.check() != nil || checkName(typ) != nil {
		return TargetVersion{}, r.fail(ErrBadName)
	}
	r.head.name = typ
	targets, err := c.versions(r)
	if err != nil {
		return TargetVersion{}, err
	}
	for _, t := range targets {
		if t.Name == typ {
			return t, nil
		}
	}
	return TargetVersion{}, r.fail(unix.EINVAL)
}

func (c *Control) versions(r *request) ([]TargetVersion, error) {
	r.restart = true
	r.room = firstBuffer
	var targets []TargetVersion
	_, err := c.call(r, func(h *header, b []byte) error {
		payload, err := h.payload(b)
		if err == nil {
			targets, err = parseVersions(payload)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return targets, nil
}

// ArmPoll makes Poll forget the events so far. Arm, list, compare event numbers,
// then poll: an event between arming and listing is seen twice, never missed.
// Linux 4.13.
func (c *Control) ArmPoll() error {
	_, err := c.call(globalRequest("arm event poll", reqArmPoll), nil)
	return err
}

// Poll waits for an event of any device since ArmPoll: create, remove, rename, a
// table swap, a target's event; not suspend and plain resume. It blocks at most
// timeout, for ever if that is negative. EINTR is retried with the time left.
func (c *Control) Poll(timeout time.Duration) (ready bool, err error) {
	end := time.Now().Add(timeout)
	for {
		ready, err := c.k.t.Poll(c.fd, timeout)
		if err != unix.EINTR {
			return ready, wrap("poll", controlPath, err)
		}
		if timeout >= 0 {
			timeout = max(0, time.Until(end))
		}
	}
}
