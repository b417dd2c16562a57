package ioctltest

import "golang.org/x/sys/unix"

// tableEvent is dm_table_event: it counts on devices with a live table only.
func (k *Kernel) tableEvent(md *mapped) {
	if md.live != nil {
		md.event++
	}
	k.announce()
}

// announce wakes pollers and waiters.
func (k *Kernel) announce() {
	k.globalEvent++
	k.wake.Broadcast()
}

func (k *Kernel) dmWait(m *message) error {
	md, err := k.find(m)
	if err != nil {
		return err
	}
	if err := k.touchesEra(md, m); err != nil {
		return err
	}
	seen, interrupts := m.eventNr, k.interrupts
	for md.event == seen {
		if k.interrupts != interrupts {
			return unix.EINTR
		}
		k.wake.Wait()
	}
	k.status(md, m)
	return k.retrieve(md, m)
}
