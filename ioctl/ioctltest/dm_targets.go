package ioctltest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

// targetType is one row of dmsetup targets.
type targetType struct {
	name    string
	module  string // "" when part of dm-mod
	version [3]uint32
	make    func(k *Kernel, tg *target, args []string) (mapping, error)
}

func targetTypes() []targetType {
	return []targetType{
		{"error", "", [3]uint32{1, 6, 0}, makeError},
		{"linear", "", [3]uint32{1, 4, 0}, makeLinear},
		{"striped", "", [3]uint32{1, 6, 0}, makeStriped},
		{"zero", "dm_zero", [3]uint32{1, 2, 0}, makeZero},
		{"crypt", "dm_crypt", [3]uint32{1, 24, 0}, makeCrypt},
		{"raid", "dm_raid", [3]uint32{1, 15, 1}, makeRaid},
		{"mirror", "dm_mirror", [3]uint32{1, 14, 0}, makeMirror},
		{"thin-pool", "dm_thin_pool", [3]uint32{1, 22, 0}, makeThinPool},
		{"thin", "dm_thin_pool", [3]uint32{1, 22, 0}, makeThin},
		{"snapshot", "dm_snapshot", [3]uint32{1, 16, 0}, makeSnapshot},
		{"snapshot-origin", "dm_snapshot", [3]uint32{1, 9, 0}, makeOrigin},
		{"snapshot-merge", "dm_snapshot", [3]uint32{1, 5, 0}, makeSnapshot},
		{"era", "dm_era", [3]uint32{1, 0, 0}, makeEra},
		{"interpose", interposeModule, [3]uint32{1, 0, 0}, makeInterpose},
	}
}

// targetType finds a type, loading its module. Loading runs modprobe, which
// cannot start while the root filesystem is stopped.
func (k *Kernel) targetType(name string) (targetType, bool) {
	types := targetTypes()
	i := slices.IndexFunc(types, func(t targetType) bool { return t.name == name })
	known := i >= 0 && (types[i].module != interposeModule || k.opts.Interposer)
	if known && (types[i].module == "" || k.modules[types[i].module]) {
		return types[i], true
	}
	if md := k.stuck(k.root.top().mnt.sb.bdev); md != nil {
		_ = k.hang("modprobe dm-%s while %s, which carries the root, is suspended", name, md.name)
		return targetType{}, false
	}
	if !known {
		return targetType{}, false
	}
	k.modules[types[i].module] = true
	return types[i], true
}

// modulesDep lists the modules that are installed, as depmod does.
func (k *Kernel) modulesDep() string {
	text := ""
	for _, t := range targetTypes() {
		if t.module != "" && (t.module != interposeModule || k.opts.Interposer) {
			text += "kernel/drivers/md/" + strings.ReplaceAll(t.module, "_", "-") + ".ko.xz: kernel/drivers/md/dm-mod.ko.xz\n"
		}
	}
	return text
}

func (k *Kernel) loadedTypes() []targetType {
	return slices.DeleteFunc(targetTypes(), func(t targetType) bool {
		return t.module != "" && !k.modules[t.module]
	})
}

// linear maps its rows onto one device; crypt is one without the cipher.
type linear struct {
	k      *Kernel
	tg     *target
	d      *device
	offset uint64
	text   string
}

func makeLinear(k *Kernel, tg *target, args []string) (mapping, error) {
	if len(args) != 2 {
		return nil, unix.EINVAL
	}
	offset, ok := parseUint(args[1])
	if !ok {
		return nil, unix.EINVAL
	}
	d, err := k.hold(tg.table, args[0], tg.table.ro)
	if err != nil {
		return nil, err
	}
	return &linear{k, tg, d, offset, fmt.Sprintf("%s %d", devText(d.no), offset)}, nil
}

func makeCrypt(k *Kernel, tg *target, args []string) (mapping, error) {
	if len(args) < 5 {
		return nil, unix.EINVAL
	}
	offset, ok := parseUint(args[4])
	if !ok {
		return nil, unix.EINVAL
	}
	d, err := k.hold(tg.table, args[3], tg.table.ro)
	if err != nil {
		return nil, err
	}
	line := slices.Clone(args)
	line[3] = devText(d.no)
	return &linear{k, tg, d, offset, strings.Join(line, " ")}, nil
}

func (l *linear) line() string   { return l.text }
func (l *linear) status() string { return "" }
func (l *linear) areas() []area  { return []area{{l.d, l.offset, l.tg.length}} }

func (l *linear) io(off uint64, b []byte, write bool) error {
	return l.k.transfer(l.d, off-l.tg.start*sectorSize+l.offset*sectorSize, b, write)
}

// transfer is read or write.
func (k *Kernel) transfer(d *device, off uint64, b []byte, write bool) error {
	if write {
		return k.write(d, off, b)
	}
	return k.read(d, off, b)
}

// striped spreads chunks over several devices in turn.
type striped struct {
	k     *Kernel
	tg    *target
	chunk uint64
	legs  []area
}

func makeStriped(k *Kernel, tg *target, args []string) (mapping, error) {
	if len(args) < 2 {
		return nil, unix.EINVAL
	}
	n, ok1 := parseUint(args[0])
	chunk, ok2 := parseUint(args[1])
	if !ok1 || !ok2 || n == 0 || chunk == 0 || tg.length%n != 0 || tg.length/n%chunk != 0 || uint64(len(args)) != 2+2*n {
		return nil, unix.EINVAL
	}
	s := &striped{k: k, tg: tg, chunk: chunk}
	for i := range int(n) {
		start, ok := parseUint(args[3+2*i])
		if !ok {
			return nil, unix.EINVAL
		}
		d, err := k.hold(tg.table, args[2+2*i], tg.table.ro)
		if err != nil {
			return nil, err
		}
		s.legs = append(s.legs, area{d, start, tg.length / n})
	}
	return s, nil
}

func (s *striped) line() string {
	text := fmt.Sprintf("%d %d", len(s.legs), s.chunk)
	for _, l := range s.legs {
		text += fmt.Sprintf(" %s %d", devText(l.d.no), l.start)
	}
	return text
}

func (s *striped) status() string {
	text := strconv.Itoa(len(s.legs))
	for _, l := range s.legs {
		text += " " + devText(l.d.no)
	}
	return text + " 1 " + strings.Repeat("A", len(s.legs))
}

func (s *striped) areas() []area { return s.legs }

func (s *striped) io(off uint64, b []byte, write bool) error {
	return eachChunk(off-s.tg.start*sectorSize, b, s.chunk*sectorSize, func(at uint64, part []byte) error {
		chunk, in := at/(s.chunk*sectorSize), at%(s.chunk*sectorSize)
		leg := s.legs[chunk%uint64(len(s.legs))]
		row := chunk / uint64(len(s.legs))
		return s.k.transfer(leg.d, leg.start*sectorSize+row*s.chunk*sectorSize+in, part, write)
	})
}

// eachChunk cuts a range at multiples of size.
func eachChunk(off uint64, b []byte, size uint64, f func(off uint64, part []byte) error) error {
	for len(b) > 0 {
		n := min(uint64(len(b)), size-off%size)
		if err := f(off, b[:n]); err != nil {
			return err
		}
		off, b = off+n, b[n:]
	}
	return nil
}

// plain is zero and error.
type plain struct{ err error }

func makeZero(_ *Kernel, _ *target, args []string) (mapping, error) {
	if len(args) != 0 {
		return nil, unix.EINVAL
	}
	return &plain{}, nil
}

func makeError(*Kernel, *target, []string) (mapping, error) {
	return &plain{unix.EIO}, nil
}

func (p *plain) line() string   { return "" }
func (p *plain) status() string { return "" }
func (p *plain) areas() []area  { return nil }

func (p *plain) io(_ uint64, b []byte, write bool) error {
	if !write {
		clear(b)
	}
	return p.err
}

// thin has its data by pool and number; a pool has none to read.
type thin struct {
	text string
	info string
	data *sparse
}

func makeThinPool(k *Kernel, tg *target, args []string) (mapping, error) {
	if len(args) < 4 {
		return nil, unix.EINVAL
	}
	meta, err := k.hold(tg.table, args[0], false)
	if err != nil {
		return nil, err
	}
	data, err := k.hold(tg.table, args[1], tg.table.ro)
	if err != nil {
		return nil, err
	}
	line := append([]string{devText(meta.no), devText(data.no)}, args[2:]...)
	return &thin{strings.Join(line, " "), "0 1/1024 0/1024 - rw discard_passdown queue_if_no_space - 1024", newSparse()}, nil
}

func makeThin(k *Kernel, tg *target, args []string) (mapping, error) {
	if len(args) < 2 {
		return nil, unix.EINVAL
	}
	pool, err := k.hold(tg.table, args[0], false)
	if err != nil {
		return nil, err
	}
	key := devText(pool.no) + " " + args[1]
	if k.thins[key] == nil {
		k.thins[key] = newSparse()
	}
	return &thin{key, fmt.Sprintf("%d %d", tg.length, tg.length-1), k.thins[key]}, nil
}

func (t *thin) line() string   { return t.text }
func (t *thin) status() string { return t.info }
func (t *thin) areas() []area  { return nil }

func (t *thin) io(off uint64, b []byte, write bool) error {
	if write {
		t.data.write(int64(off), b)
	} else {
		t.data.read(int64(off), b)
	}
	return nil
}

func parseUint(s string) (uint64, bool) {
	v, err := strconv.ParseUint(s, 10, 64)
	return v, err == nil
}

func itoa(v uint32) string { return strconv.FormatUint(uint64(v), 10) }

func parseDev(s string) (ioctl.DevNo, bool) {
	major, minor, ok := strings.Cut(s, ":")
	a, err1 := strconv.ParseUint(major, 10, 32)
	b, err2 := strconv.ParseUint(minor, 10, 32)
	return ioctl.DevNo{Major: uint32(a), Minor: uint32(b)}, ok && err1 == nil && err2 == nil
}
