package ioctltest

import "golang.org/x/sys/unix"

func (k *Kernel) dmRename(m *message) error {
	to, ok := "", false
	if int(m.start) >= offData && int(m.start) < len(m.b) {
		to, ok = terminated(m.b[m.start:])
	}
	limit := nameLen - 1
	if m.has(flagUUID) {
		limit = uuidLen - 1
	}
	if !ok || to == "" || len(to) > limit {
		return unix.EINVAL
	}
	return k.rename(m, to)
}

func (k *Kernel) rename(m *message, to string) error {
	other := k.byUUID(to)
	if !m.has(flagUUID) {
		if err := k.checkName(to); err != nil {
			return err
		}
		other = k.byName(to)
	}
	md := k.byName(m.name)
	switch {
	case other != nil:
		return unix.EBUSY
	case md == nil:
		return unix.ENXIO
	case m.has(flagUUID) && md.uuid != "":
		return unix.EINVAL
	}
	old := md.name
	if m.has(flagUUID) {
		md.uuid = to
	} else {
		md.name = to
	}
	md.renamedShared()
	k.tableEvent(md)
	m.mark(flagUevent, md.dev.present)
	if md.dev.present {
		k.renamed(md, old, m.eventNr)
	}
	return nil
}
