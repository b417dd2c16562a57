package ioctltest

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
)

func tableCases() []conformanceCase {
	return []conformanceCase{
		{"inactive slot", confInactive},
		{"bad tables", confBadTables},
		{"fit at first load", confFirstFit},
		{"failed swap", confFailedSwap},
		{"claims", confClaims},
		{"read-only tables", confReadOnly},
		{"dependencies", confDeps},
		{"prepared tables", confPrepared},
		{"growing", confGrow},
	}
}

func confInactive(b *bench) {
	b.create("slot")
	b.ok(b.load("slot", spec(2048, "linear", b.a, 0)))
	info := b.info("slot")
	same(b, "inactive", info.Inactive, true)
	same(b, "live", info.Live, false)
	same(b, "targets", info.TargetCount, 0)
	b.want(unix.EINVAL, b.load("slot", spec(2048, "nonsense")))
	first := fmt.Sprintf("linear %v 0", b.a)
	same(b, "after a failed load", b.line("slot", ioctl.QueryInactive), first)
	b.ok(b.load("slot", spec(2048, "linear", b.a, 8)))
	same(b, "replaced", b.line("slot", ioctl.QueryInactive), fmt.Sprintf("linear %v 8", b.a))
	same(b, "live table", b.line("slot", 0), "")
	b.ok(b.resume("slot"))
	same(b, "inactive", b.info("slot").Inactive, false)
	b.ok(b.load("slot", spec(2048, "zero")))
	same(b, "live table", b.line("slot", 0), fmt.Sprintf("linear %v 8", b.a))
	b.ok(b.c.Clear(conf("slot")))
	same(b, "inactive", b.info("slot").Inactive, false)
	b.ok(b.c.Clear(conf("slot")))
	b.ok(b.resume("slot"))
	same(b, "live table", b.line("slot", 0), fmt.Sprintf("linear %v 8", b.a))
}

func confBadTables(b *bench) {
	b.create("bad")
	absent, noBlock := unix.ENODEV, unix.ENODEV
	if b.ver.atLeast(6, 12) {
		absent, noBlock = unix.ENOENT, unix.ENOTBLK
	}
	for _, c := range []struct {
		what string
		want unix.Errno
		rows []ioctl.Spec
	}{
		{"gap", unix.EINVAL, []ioctl.Spec{spec(8, "zero"), {Start: 16, Length: 8, Type: "zero"}}},
		{"not from zero", unix.EINVAL, []ioctl.Spec{{Start: 8, Length: 8, Type: "zero"}}},
		{"unknown type", unix.EINVAL, []ioctl.Spec{spec(8, "nonsense")}},
		{"linear without offset", unix.EINVAL, []ioctl.Spec{spec(8, "linear", b.a)}},
		{"linear offset", unix.EINVAL, []ioctl.Spec{spec(8, "linear", b.a, "x")}},
		{"absent number", unix.ENXIO, []ioctl.Spec{spec(8, "linear", "254:4000", 0)}},
		{"absent path", absent, []ioctl.Spec{spec(8, "linear", "/dev/dmsnap-conf-absent", 0)}},
		{"no block device", noBlock, []ioctl.Spec{spec(8, "linear", "/dev/null", 0)}},
		{"second row bad", unix.EINVAL, []ioctl.Spec{spec(8, "linear", b.a, 0), {Start: 8, Length: 8, Type: "linear", Params: "x"}}},
		{"striped length", unix.EINVAL, []ioctl.Spec{spec(9, "striped", 2, 8, b.a, 0, b.b, 0)}},
	} {
		err := b.load("bad", c.rows...)
		if b.want(c.want, err); b.Failed() {
			b.Fatalf("case %q: %v", c.what, err)
		}
	}
	same(b, "inactive", b.info("bad").Inactive, false)
	// Nothing may be left claimed.
	b.ok(b.open(b.env.A, unix.O_RDONLY|unix.O_EXCL).Close())
}

// sectors is the size of a device.
func (b *bench) sectors(path string) uint64 {
	b.Helper()
	f := b.open(path, unix.O_RDONLY)
	size, err := f.BlockSize()
	b.ok(err)
	b.ok(f.Close())
	return size / sectorSize
}

func confFirstFit(b *bench) {
	size := b.sectors(b.env.A)
	b.create("fit")
	b.want(unix.EINVAL, b.load("fit", spec(size+8, "linear", b.a, 0)))
	b.want(unix.EINVAL, b.load("fit", spec(8, "linear", b.a, size)))
	same(b, "inactive", b.info("fit").Inactive, false)
	b.ok(b.load("fit", spec(size, "linear", b.a, 0)))
	// Later loads are not checked until the swap.
	b.ok(b.load("fit", spec(size+8, "linear", b.a, 0)))
}

func confFailedSwap(b *bench) {
	size := b.sectors(b.env.A)
	b.live("swap", spec(2048, "linear", b.a, 0))
	b.ok(b.load("swap", spec(size+8, "linear", b.a, 0)))
	b.want(unix.EINVAL, b.resume("swap"))
	info := b.info("swap")
	same(b, "suspended", info.Suspended, true)
	same(b, "live", info.Live, true)
	same(b, "inactive", info.Inactive, false)
	same(b, "live table", b.line("swap", 0), fmt.Sprintf("linear %v 0", b.a))
	b.ok(b.resume("swap"))
	same(b, "suspended", b.info("swap").Suspended, false)
}

func confClaims(b *bench) {
	b.create("claim")
	f := b.open(b.env.A, unix.O_RDONLY|unix.O_EXCL)
	b.want(unix.EBUSY, b.load("claim", spec(8, "linear", b.a, 0)))
	b.want(unix.EBUSY, b.c.Load(conf("claim"), ioctl.ReadOnly, []ioctl.Spec{spec(8, "linear", b.a, 0)}))
	b.ok(f.Close())
	plain := b.open(b.env.A, unix.O_RDWR)
	b.ok(b.load("claim", spec(8, "linear", b.a, 0)))
	b.ok(plain.Close())
	_, err := b.k.Open(b.env.A, unix.O_RDONLY|unix.O_EXCL, 0)
	b.want(unix.EBUSY, err)
	b.ok(b.open(b.env.A, unix.O_RDWR).Close())
	b.live("share", spec(8, "linear", b.a, 8))
	b.ok(b.c.Clear(conf("claim")))
	b.gone("share")
	b.ok(b.open(b.env.A, unix.O_RDONLY|unix.O_EXCL).Close())
	mountable := b.number(b.env.Mountable)
	b.ok(b.load("claim", spec(8, "linear", mountable, 0)))
	b.want(unix.EBUSY, b.k.Mount(b.env.Mountable, b.env.Dir, "ext4", 0, ""))
	b.ok(b.c.Clear(conf("claim")))
	b.ok(b.k.Mount(b.env.Mountable, b.env.Dir, "ext4", 0, ""))
	b.want(unix.EBUSY, b.load("claim", spec(8, "linear", mountable, 0)))
	b.ok(b.k.Unmount(b.env.Dir, 0))
	b.want(unix.EINVAL, b.k.Unmount(b.env.Dir, 0))
}

func confReadOnly(b *bench) {
	info := b.live("ro", spec(2048, "linear", b.a, 0))
	f := b.open(dmNode(info.Dev), unix.O_RDWR)
	ro, err := f.ReadOnly()
	b.ok(err)
	same(b, "read-only", ro, false)
	b.ok(b.c.Load(conf("ro"), ioctl.ReadOnly, []ioctl.Spec{spec(2048, "linear", b.a, 0)}))
	same(b, "before the swap", b.info("ro").ReadOnly, false)
	b.ok(b.resume("ro"))
	same(b, "after the swap", b.info("ro").ReadOnly, true)
	ro, err = f.ReadOnly()
	b.ok(err)
	same(b, "read-only", ro, true)
	b.ok(b.open(dmNode(info.Dev), unix.O_RDWR).Close())
	b.ok(f.Close())
}

func confDeps(b *bench) {
	b.live("deps", spec(8, "linear", b.a, 0), ioctl.Spec{Start: 8, Length: 8, Type: "linear", Params: b.b.String() + " 0"},
		ioctl.Spec{Start: 16, Length: 8, Type: "linear", Params: b.a.String() + " 8"})
	deps, err := b.c.Deps(conf("deps"), 0)
	b.ok(err)
	same(b, "count", len(deps), 2)
	same(b, "both", slices.Contains(deps, b.a) && slices.Contains(deps, b.b), true)
	b.ok(b.load("deps", spec(8, "zero")))
	deps, err = b.c.Deps(conf("deps"), ioctl.QueryInactive)
	b.ok(err)
	same(b, "of the inactive table", len(deps), 0)
}

// confPrepared: a suspend changes not a byte of what the kernel writes of either
// table, and another table in a slot does.
func confPrepared(b *bench) {
	b.live("held", spec(16, "linear", b.a, 0))
	b.ok(b.load("held", spec(16, "linear", b.b, 0)))
	live, err := b.c.PrepareTable(conf("held"), 0, 0)
	b.ok(err)
	next, err := b.c.PrepareTable(conf("held"), ioctl.QueryInactive, 0)
	b.ok(err)
	read := func(call *ioctl.Call) string {
		b.ok(call.Do())
		payload, fits := call.Payload()
		same(b, "fits", fits, true)
		return string(payload)
	}
	was, waits := read(live), read(next)
	same(b, "two tables", was == waits, false)
	b.ok(b.suspend("held"))
	same(b, "the live one when suspended", read(live) == was, true)
	same(b, "suspended, with another to come", live.State(), ioctl.State{Suspended: true, Live: true, Inactive: true})
	same(b, "the other one", read(next) == waits, true)
	specs, err := next.Specs()
	b.ok(err)
	same(b, "as it was loaded", specs[0].Params, b.b.String()+" 0")
	b.ok(b.load("held", spec(16, "linear", b.b, 8)))
	same(b, "another one is seen", read(next) == waits, false)
	b.ok(b.c.Clear(conf("held")))
	same(b, "none", read(next), "")
	b.ok(b.resume("held"))
}

func confGrow(b *bench) {
	info := b.live("grow", spec(2048, "linear", b.a, 0))
	f := b.open(dmNode(info.Dev), unix.O_RDONLY)
	b.ok(b.load("grow", spec(4096, "linear", b.a, 0)))
	b.ok(b.resume("grow"))
	size, err := f.BlockSize()
	b.ok(err)
	same(b, "size through the old descriptor", size, 4096*sectorSize)
	b.ok(f.Close())
}
