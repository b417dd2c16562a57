package ioctltest

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// copies is a raid target of level 1 or a mirror target: every leg holds the
// same. What it keeps on its own devices, superblocks or a log, is not modelled,
// only that two running targets must not share them.
type copies struct {
	k    *Kernel
	tg   *target
	text string
	info string
	own  []*device // superblocks of a raid, log of a mirror
	legs []area
}

// makeRaid reads "raid1 <n> <params> <devices> <meta> <data>...".
func makeRaid(k *Kernel, tg *target, args []string) (mapping, error) {
	if len(args) < 2 || args[0] != "raid1" {
		return nil, unix.EINVAL
	}
	at, err := skipCounted(args, 1)
	if err != nil {
		return nil, err
	}
	n, ok := parseUint(args[at])
	if !ok || n == 0 || uint64(len(args)-at-1) != 2*n {
		return nil, unix.EINVAL
	}
	c := &copies{k: k, tg: tg}
	line := slices.Clone(args)
	for i := at + 1; i < len(args); i += 2 {
		meta, err := k.hold(tg.table, args[i], false)
		if err != nil {
			return nil, err
		}
		data, err := k.hold(tg.table, args[i+1], tg.table.ro)
		if err != nil {
			return nil, err
		}
		c.own, c.legs = append(c.own, meta), append(c.legs, area{data, 0, tg.length})
		line[i], line[i+1] = devText(meta.no), devText(data.no)
	}
	c.text = strings.Join(line, " ")
	c.info = fmt.Sprintf("raid1 %d %s %d/%d idle 0 0 -", n, strings.Repeat("A", int(n)), tg.length, tg.length)
	return c, nil
}

// makeMirror reads "<log> <n> <log args> <devices> <device> <offset>...".
func makeMirror(k *Kernel, tg *target, args []string) (mapping, error) {
	at, err := skipCounted(args, 1)
	if err != nil {
		return nil, err
	}
	c := &copies{k: k, tg: tg}
	line := slices.Clone(args)
	log := "1 core"
	if args[0] == "disk" {
		d, err := k.hold(tg.table, args[2], false)
		if err != nil {
			return nil, err
		}
		c.own, line[2], log = append(c.own, d), devText(d.no), "3 disk "+devText(d.no)+" A"
	}
	n, ok := parseUint(args[at])
	if !ok || n == 0 || uint64(len(args)-at-1) < 2*n {
		return nil, unix.EINVAL
	}
	info := fmt.Sprint(n)
	for i := at + 1; i < at+1+2*int(n); i += 2 {
		d, err := k.hold(tg.table, args[i], tg.table.ro)
		start, ok := parseUint(args[i+1])
		if err != nil || !ok {
			return nil, unix.EINVAL
		}
		c.legs = append(c.legs, area{d, start, tg.length})
		line[i] = devText(d.no)
		info += " " + devText(d.no)
	}
	c.text = strings.Join(line, " ")
	c.info = fmt.Sprintf("%s 8/8 1 %s %s", info, strings.Repeat("A", int(n)), log)
	return c, nil
}

// skipCounted is the place behind a number at args[i] and as many words.
func skipCounted(args []string, i int) (int, error) {
	if i >= len(args) {
		return 0, unix.EINVAL
	}
	n, ok := parseUint(args[i])
	if !ok || n >= uint64(len(args)-i-1) {
		return 0, unix.EINVAL
	}
	return i + 1 + int(n), nil
}

func (c *copies) line() string   { return c.text }
func (c *copies) status() string { return c.info }
func (c *copies) areas() []area  { return c.legs }

// preresume takes the metadata over. Real kernels do not notice that another
// target still writes them, and lose what it wrote.
func (c *copies) preresume() error {
	for _, md := range c.k.mapped {
		if md == c.tg.table.md || md.live == nil || md.suspended {
			continue
		}
		for _, t := range md.live.targets {
			if other, ok := t.impl.(*copies); ok && slices.ContainsFunc(c.own, func(d *device) bool { return slices.Contains(other.own, d) }) {
				return c.k.hang("resume of %s while %s runs on the same metadata: both write it", c.tg.table.md.name, md.name)
			}
		}
	}
	return nil
}

func (c *copies) io(off uint64, b []byte, write bool) error {
	legs := c.legs
	if !write {
		legs = legs[:1]
	}
	for _, l := range legs {
		if err := c.k.transfer(l.d, off-c.tg.start*sectorSize+l.start*sectorSize, b, write); err != nil {
			return err
		}
	}
	return nil
}
