package ioctltest

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// describe names an ioctl for the log.
func (k *Kernel) describe(fd int, request uint32, arg []byte) Call {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := Call{Op: "ioctl", Request: requestNames[request]}
	f := k.fds[fd]
	if f != nil {
		c.Path = f.path
	}
	if f != nil && f.isChar(miscMajor, controlMinor) && request>>8&0xff == dmIoctlType && len(arg) >= offData {
		c.Request, c.Name = k.describeDM(int(request&0xff), decode(arg))
	}
	if c.Request == "" {
		c.Request = fmt.Sprintf("%#x", request)
	}
	return c
}

func (k *Kernel) describeDM(nr int, m *message) (request, name string) {
	if table := commands(); nr < len(table) {
		request = table[nr].name
	}
	if nr == cmdSuspend && !m.has(flagSuspend) {
		request = "DM_DEV_RESUME"
	}
	if m.name == "" {
		// The lookup fills in the name of the device that uuid or number mean.
		_, _ = k.find(m)
	}
	return request, m.name
}

func (k *Kernel) ioctl(f *file, request uint32, arg []byte) (int, error) {
	switch {
	case f.flags&unix.O_PATH != 0:
		return 0, unix.EBADF
	case request == fiFreeze || request == fiThaw:
		return 0, k.freezeIoctl(f, request)
	case f.isChar(miscMajor, controlMinor):
		return k.controlIoctl(f, request, arg)
	case f.isChar(miscMajor, loopControlMinor):
		return k.loopControl(request)
	case f.dev != nil:
		return 0, k.blockIoctl(f, request, arg)
	case f.n.is(unix.S_IFREG) && f.n.text == nil || f.n.is(unix.S_IFDIR):
		return 0, k.fileIoctl(f, request, arg)
	}
	return 0, unix.ENOTTY
}

func (k *Kernel) ioctlInt(f *file, request uint32, arg uintptr) (int, error) {
	if f.dev != nil && f.dev.no.Major == loopMajor {
		return 0, k.loopIoctlInt(f.dev, request, arg)
	}
	return k.ioctl(f, request, nil)
}

// poll waits on the control device until something happened since it was
// opened or armed. Everything else is always ready.
func (k *Kernel) poll(f *file, timeout time.Duration) (bool, error) {
	if !f.isChar(miscMajor, controlMinor) {
		return true, nil
	}
	interrupts, late := k.interrupts, timeout == 0
	if timeout > 0 {
		timer := time.AfterFunc(timeout, func() {
			k.mu.Lock()
			defer k.mu.Unlock()
			late = true
			k.wake.Broadcast()
		})
		defer timer.Stop()
	}
	for f.armed == k.globalEvent && !late {
		if k.interrupts != interrupts {
			return false, unix.EINTR
		}
		k.wake.Wait()
	}
	return f.armed != k.globalEvent, nil
}
