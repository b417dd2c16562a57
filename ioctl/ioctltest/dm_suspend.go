package ioctltest

import "golang.org/x/sys/unix"

// dmSuspend is DM_DEV_SUSPEND: suspend with the flag, resume without.
func (k *Kernel) dmSuspend(m *message) error {
	suspend := m.has(flagSuspend)
	md, err := k.find(m)
	if err != nil {
		return err
	}
	lockFS := !m.has(flagSkipLockFS) && !m.has(flagNoFlush)
	if suspend {
		if err := k.suspend(md, lockFS); err != nil {
			return err
		}
		k.status(md, m)
		return nil
	}
	return k.resume(md, m, lockFS)
}

// suspend freezes the filesystem on the device if asked, then stops it. A
// suspended device stays as it is.
func (k *Kernel) suspend(md *mapped, lockFS bool) error {
	if md.suspended {
		return nil
	}
	if lockFS && md.live != nil {
		if err := k.freezeDevice(md.dev); err != nil {
			return err
		}
		md.lockedFS = true
	}
	md.suspended = true
	return nil
}

// resume is do_resume: it swaps an inactive table in, suspending for that if
// need be, and starts the device. Whatever fails after the suspend leaves the
// device suspended.
func (k *Kernel) resume(md *mapped, m *message, lockFS bool) error {
	next := md.inactive
	m.mark(flagInactive, false)
	var old *table
	if next != nil {
		if err := k.suspend(md, lockFS); err != nil {
			m.mark(flagInactive, true)
			return err
		}
		md.inactive = nil
		if err := k.fits(next); err != nil {
			k.release(next)
			return err
		}
		old = k.swap(md, next)
	}
	err := k.start(md, m)
	k.release(old)
	if err == nil {
		k.status(md, m)
	}
	return err
}

// swap makes a table the live one and returns the one before.
func (k *Kernel) swap(md *mapped, next *table) (old *table) {
	old, md.live = md.live, next
	md.dev.ro = next.ro
	md.dev.logical, md.dev.physical = next.blockSizes()
	k.announce()
	return old
}

// start is dm_resume and the event after it. A running device is left alone.
func (k *Kernel) start(md *mapped, m *message) error {
	if !md.suspended {
		return nil
	}
	if md.live == nil {
		return unix.EINVAL
	}
	for _, t := range md.live.targets {
		if p, ok := t.impl.(interface{ preresume() error }); ok {
			if err := p.preresume(); err != nil {
				return err
			}
		}
	}
	k.seq++
	md.resumed = k.seq
	md.suspended = false
	for _, t := range md.live.targets {
		if r, ok := t.impl.(interface{ resume() }); ok {
			r.resume()
		}
	}
	k.thawFor(md)
	m.mark(flagUevent, true)
	k.uevent(md, "change", m.eventNr)
	return nil
}

// thawFor undoes the freeze of a suspend with lockfs.
func (k *Kernel) thawFor(md *mapped) {
	if !md.lockedFS {
		return
	}
	md.lockedFS = false
	k.thawDevice(md.dev)
}
