package ioctltest

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"
)

func (k *Kernel) dmTableStatus(m *message) error {
	md, err := k.find(m)
	if err != nil {
		return err
	}
	if err := k.touchesEra(md, m); err != nil {
		return err
	}
	k.status(md, m)
	return k.retrieve(md, m)
}

// touchesEra catches the query that sleeps until the resume, and for ever if
// that resume swaps a table.
func (k *Kernel) touchesEra(md *mapped, m *message) error {
	if !md.suspended || md.live == nil || m.has(flagStatusTable) || m.has(flagQueryInactive) {
		return nil
	}
	for _, t := range md.live.targets {
		if _, ok := t.impl.(*era); ok {
			return k.hang("status of the suspended era device %s", md.name)
		}
	}
	return nil
}

// retrieve is retrieve_status. Here next counts from the start of the payload,
// and the last record has one too.
func (k *Kernel) retrieve(md *mapped, m *message) error {
	t := md.live
	if m.has(flagQueryInactive) {
		t = md.inactive
	}
	if t == nil {
		return nil
	}
	out, at := m.out(), 0
	for _, tg := range t.targets {
		if len(out)-at <= specSize {
			m.mark(flagBufferFull, true)
			break
		}
		spec := out[at:]
		clear(spec[:specSize])
		binary.NativeEndian.PutUint64(spec, tg.start)
		binary.NativeEndian.PutUint64(spec[8:], tg.length)
		copy(spec[24:specSize-1], tg.typ.name)
		text := tg.impl.status()
		if m.has(flagStatusTable) {
			text = tg.impl.line()
		}
		if len(text)+1 >= len(spec)-specSize {
			m.mark(flagBufferFull, true)
			break
		}
		copy(spec[specSize:], text+"\x00")
		end := at + specSize + len(text) + 1
		m.used = uint32(headerSize + end)
		at = align8(end)
		put32(spec, 20, uint32(at))
	}
	m.targets = uint32(len(t.targets))
	return nil
}

// dmList is list_devices: records in the order of names, filtered by prefix.
func (k *Kernel) dmList(m *message) error {
	var shown []*mapped
	need := 0
	for _, md := range k.sortedMapped() {
		if strings.HasPrefix(md.name, m.name) && strings.HasPrefix(md.uuid, m.uuid) {
			shown = append(shown, md)
			need += len(listRecord(md, m.has(flagUUID)))
		}
	}
	out := m.out()
	if len(out) < need || len(out) < 8 {
		m.mark(flagBufferFull, true)
		return nil
	}
	m.used = uint32(headerSize + need)
	at := 0
	for i, md := range shown {
		rec := listRecord(md, m.has(flagUUID))
		if i < len(shown)-1 {
			put32(rec, 8, uint32(len(rec)))
		}
		at += copy(out[at:], rec)
	}
	return nil
}

// listRecord is one struct dm_name_list with the fields behind the name.
func listRecord(md *mapped, uuids bool) []byte {
	event := align8(12 + len(md.name) + 1)
	rec := make([]byte, event+8)
	binary.NativeEndian.PutUint64(rec, hugeDev(md.dev.no))
	copy(rec[12:], md.name)
	put32(rec, event, md.event)
	switch {
	case !uuids:
	case md.uuid == "":
		put32(rec, event+4, 2)
	default:
		put32(rec, event+4, 1)
		rec = append(rec, make([]byte, align8(len(md.uuid)+1))...)
		copy(rec[event+8:], md.uuid)
	}
	return rec
}

func (k *Kernel) dmDeps(m *message) error {
	md, err := k.find(m)
	if err != nil {
		return err
	}
	k.status(md, m)
	t := md.live
	if m.has(flagQueryInactive) {
		t = md.inactive
	}
	if t == nil {
		return nil
	}
	nos, out := t.lowers(), m.out()
	need := 8 + 8*len(nos)
	if len(out) < need {
		m.mark(flagBufferFull, true)
		return nil
	}
	clear(out[:8])
	put32(out, 0, uint32(len(nos)))
	for i, no := range nos {
		binary.NativeEndian.PutUint64(out[8+8*i:], hugeDev(no))
	}
	m.used = uint32(headerSize + need)
	return nil
}

func (k *Kernel) dmListVersions(m *message) error {
	return k.versions(m, k.loadedTypes())
}

func (k *Kernel) dmTargetVersion(m *message) error {
	typ, ok := k.targetType(m.name)
	if !ok {
		return unix.EINVAL
	}
	return k.versions(m, []targetType{typ})
}

// versions is __list_versions. The kernel asks for seven bytes of slack per
// record, and reports them as used.
func (k *Kernel) versions(m *message, types []targetType) error {
	need := 0
	for _, t := range types {
		need += 16 + len(t.name) + 1 + 7
	}
	out := m.out()
	if len(out) < need {
		m.mark(flagBufferFull, true)
		return nil
	}
	clear(out[:need])
	at := 0
	for i, t := range types {
		rec := out[at:]
		for j, v := range t.version {
			put32(rec, 4+4*j, v)
		}
		copy(rec[16:], t.name)
		size := align8(16 + len(t.name) + 1)
		if i < len(types)-1 {
			put32(rec, 0, uint32(size))
		}
		at += size
	}
	m.used = uint32(headerSize + need)
	return nil
}

// dmMessage is target_message.
func (k *Kernel) dmMessage(m *message) error {
	md, err := k.find(m)
	if err != nil {
		return err
	}
	at := int(m.start)
	if at < offData || at+8 >= len(m.b) {
		return unix.EINVAL
	}
	sector := binary.NativeEndian.Uint64(m.b[at:])
	text, ok := terminated(m.b[at+8:])
	args := splitArgs(text)
	if !ok || len(args) == 0 {
		return unix.EINVAL
	}
	m.start = headerSize
	if args[0][0] == '@' {
		if args[0] != "@cancel_deferred_remove" || len(args) != 1 {
			return unix.EINVAL
		}
		md.deferred = false
		k.status(md, m)
		return nil
	}
	if md.live == nil {
		if k.ver.atLeast(6, 12) {
			return unix.EINVAL
		}
		m.stale = true
		return nil
	}
	return k.targetMessage(md, m, sector, args)
}

func (k *Kernel) targetMessage(md *mapped, m *message, sector uint64, args []string) error {
	for _, t := range md.live.targets {
		if sector < t.start || sector >= t.start+t.length {
			continue
		}
		impl, ok := t.impl.(interface {
			message([]string) error
		})
		if !ok {
			return unix.EINVAL
		}
		if err := impl.message(args); err != nil {
			return err
		}
		k.status(md, m)
		return nil
	}
	return unix.EINVAL
}

// dmGeometry is dev_set_geometry: "cylinders heads sectors start".
func (k *Kernel) dmGeometry(m *message) error {
	if _, err := k.find(m); err != nil {
		return err
	}
	if int(m.start) < offData || int(m.start) >= len(m.b) {
		return unix.EINVAL
	}
	text, ok := terminated(m.b[m.start:])
	args := strings.Fields(text)
	if !ok || len(args) != 4 {
		return unix.EINVAL
	}
	for _, a := range args {
		if _, ok := parseUint(a); !ok {
			return unix.EINVAL
		}
	}
	m.used = 0
	return nil
}
