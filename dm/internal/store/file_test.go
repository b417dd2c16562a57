package store_test

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/freeze"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// files is a host whose origins are vg-home, mounted on /home, and vg-crypt, LUKS on vg-disk, mounted on /secret. /srv is
// on a plain disk, /pool a btrfs, /boot a vfat, /tmp not on a device.
type files struct {
	*host
	crypt, disk ioctl.DevNo
}

func newFiles(t *testing.T) files {
	t.Helper()
	h := newHost(t)
	for i, name := range []string{"vde", "vdf", "vdg", "vdh"} {
		h.AddDisk(name, disk(uint32(4+i)), 64*mib)
	}
	f := files{host: h}
	f.disk = h.AddDM("vg-disk", "LVM-disk", ioctltest.Row{Length: 65536, Type: "linear", Params: disk(4).String() + " 2048"})
	f.crypt = h.AddDM("crypt", "CRYPT-x", ioctltest.Row{Length: 61440, Type: "crypt", Params: "aes-xts-plain64 " + key + " 0 " + f.disk.String() + " 4096"})
	h.Mount(h.home, "/home", "ext4")
	h.Mount(f.crypt, "/secret", "xfs")
	h.Mount(disk(5), "/srv", "ext4")
	h.Mount(disk(6), "/pool", "btrfs")
	if err := h.Write(disk(7), 82, []byte("FAT32   ")); err != nil {
		t.Fatal(err)
	}
	h.Mount(disk(7), "/boot", "vfat")
	return f
}

const key = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// look inspects a store for the first of some origins. It must leave everything as it is.
func (f files) look(t *testing.T, spec string, force bool, origins ...ioctl.DevNo) (plan.Store, error) {
	t.Helper()
	kind, err := store.Parse(spec)
	check(t, err)
	ours, err := f.r.Look()
	check(t, err)
	mounted, err := freeze.Mounts(f.Border())
	check(t, err)
	h := &store.Host{Read: f.r, Ours: ours, Mounts: mounted, File: ".dmsnap-5e7.0", Need: 16384, Least: 8192, Force: force}
	for _, d := range origins {
		o, err := f.r.Origin(f.r.Node(d), d, ours)
		check(t, err)
		h.Origins = append(h.Origins, o)
	}
	before := f.Snapshot()
	s, err := kind.Inspect(h, h.Origins[0])
	if f.Snapshot() != before {
		t.Errorf("looking at %s changed something", spec)
	}
	return s, err
}

// TestFilesAreMappedWhereTheyLie: on an origin of the set beneath its front, through every layer between; elsewhere
// through a loop device.
func TestFilesAreMappedWhereTheyLie(t *testing.T) {
	f := newFiles(t)
	whole := []plan.Stretch{{Length: 16384}}
	shifted := []plan.Stretch{{Length: 61440, Offset: 4096}}
	for name, row := range map[string]struct {
		spec    string
		origins []ioctl.DevNo
		path    string
		backing plan.Backing
		host    ioctl.DevNo
		way     []plan.Stretch
	}{
		"own":              {"file:/home/cow", []ioctl.DevNo{f.home}, "/home/cow", plan.Extents, f.home, whole},
		"directory":        {"file:/home", []ioctl.DevNo{f.home}, "/home/.dmsnap-5e7.0", plan.Extents, f.home, whole},
		"other volume":     {"file:/home/cow", []ioctl.DevNo{f.disk, f.home}, "/home/cow", plan.Extents, f.home, whole},
		"crypt is origin":  {"file:/secret/cow", []ioctl.DevNo{f.crypt}, "/secret/cow", plan.Extents, f.crypt, []plan.Stretch{{Length: 61440}}},
		"origin beneath":   {"file:/secret/cow", []ioctl.DevNo{f.disk}, "/secret/cow", plan.Extents, f.disk, shifted},
		"both are origins": {"file:/secret/cow", []ioctl.DevNo{f.disk, f.crypt}, "/secret/cow", plan.Extents, f.disk, shifted},
		"elsewhere":        {"file:/srv/cow", []ioctl.DevNo{f.home}, "/srv/cow", plan.Loop, ioctl.DevNo{}, nil},
		"on no origin":     {"file:/secret/cow", []ioctl.DevNo{f.home}, "/secret/cow", plan.Loop, ioctl.DevNo{}, nil},
		"btrfs":            {"file:/pool/cow", []ioctl.DevNo{f.home}, "/pool/cow", plan.Loop, ioctl.DevNo{}, nil},
	} {
		got, err := f.look(t, row.spec, false, row.origins...)
		if err != nil || got.Kind != "file" || got.Path != row.path || got.Backing != row.backing || got.Host != row.host || !slices.Equal(got.Way, row.way) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if got.NoCOW != (name == "btrfs") || len(got.FillFor) > 0 || got.Size == 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestNothingLeavesItsEncryption: what an encrypted volume holds is not written beneath it, nor is what another volume
// holds; what lies beneath it is.
func TestNothingLeavesItsEncryption(t *testing.T) {
	f := newFiles(t)
	for _, origins := range [][]ioctl.DevNo{{f.crypt, f.disk}, {f.home, f.disk}, {f.home, f.crypt, f.disk}} {
		_, err := f.look(t, "file:/secret/cow", false, origins...)
		refused(t, err, plan.Unsupported, "/dev/mapper/crypt", "plain text")
	}
	got, err := f.look(t, "file:/secret/cow", false, f.home, f.crypt)
	if err != nil || got.Host != f.crypt {
		t.Errorf("nothing lies beneath: %+v, %v", got, err)
	}
}

func TestFilesRefused(t *testing.T) {
	f := newFiles(t)
	f.WriteFile("/srv/old", "x")
	f.AddDisk("vdi", disk(8), 64*mib)
	f.Mount(disk(8), "/ro", "ext4", ioctltest.MountReadOnly())
	striped := f.AddDM("striped", "", linear(f.disk), ioctltest.Row{Start: 16384, Length: 8192, Type: "linear", Params: disk(3).String() + " 0"})
	f.Mount(striped, "/striped", "ext4")
	f.AddDisk("vdj", disk(9), 64*mib)
	f.AddDisk("vdk", disk(10), 64*mib)
	raid := f.AddDM("vg-raid", "LVM-raid", ioctltest.Row{Length: 65536, Type: "raid", Params: "raid1 3 0 region_size 1024 2 252:16 " + disk(9).String() + " 252:32 " + disk(10).String()})
	f.Mount(raid, "/raid", "ext4")
	for spec, row := range map[string]struct {
		kind plan.Kind
		says string
	}{
		"/srv/old":       {plan.Usage, "already exists"},
		"/nowhere/cow":   {plan.NotFound, "does not exist"},
		"/tmp/cow":       {plan.Unsupported, "no block device of its own"},
		"/boot/cow":      {plan.Unsupported, "cannot hold a store"},
		"/ro/cow":        {plan.Usage, "read-only"},
		"/raid/cow":      {plan.Unsupported, "before the snapshot"},
		"/striped/cow":   {plan.Unsupported, "several devices"},
		"/../boot/x":     {plan.Unsupported, "cannot hold a store"},
		"/home/cow/file": {plan.NotFound, "does not exist"},
	} {
		_, err := f.look(t, "file:"+spec, false, f.home, f.disk, raid)
		r, _ := err.(*plan.Refusal)
		if r == nil || r.Kind != row.kind || r.Hint == "" {
			t.Errorf("%s: %v", spec, err)
			continue
		}
		refused(t, err, row.kind, r.Device, row.says)
	}
}

// TestStoresDoNotWaitForEachOther: vg-var is an origin whose store is a loop device on /srv. Then /srv becomes an origin
// of a set with its store on /home: that works. What would go round in circles is refused.
func TestStoresDoNotWaitForEachOther(t *testing.T) {
	f := newFiles(t)
	lv := f.AddDM("vg-srv", "LVM-srv", ioctltest.Row{Length: 65536, Type: "linear", Params: disk(3).String() + " 0"})
	f.Mount(lv, "/lv", "ext4")
	f.WriteFile("/lv/cow", "")
	loop := f.AddLoop("/lv/cow")
	base := f.AddDM("dmsnap-base-vg-home", "DMSNAP-ba5e2-base", linear(disk(0)))
	f.Reload("vg-home", ioctltest.Row{Length: 8192, Type: "snapshot-origin", Params: base.String()})
	s := f.AddDM("dmsnap-store-x-vg-home", "DMSNAP-beef.0-store", ioctltest.Row{Length: 8, Type: "zero"})
	f.AddDM("dmsnap-x-vg-home", "DMSNAP-beef.0-image", ioctltest.Row{Length: 8192, Type: "snapshot", Params: base.String() + " " + s.String() + " N 8"})
	f.Reload("dmsnap-store-x-vg-home", ioctltest.Row{Length: 8, Type: "linear", Params: loop.String() + " 0"})
	// vg-home copies to a file on vg-srv. A file on vg-home is no store for vg-srv.
	_, err := f.look(t, "file:/home/cow", false, lv)
	refused(t, err, plan.Unsupported, "/home/cow", "would deadlock")
	if _, err := f.look(t, "file:/pool/cow", false, lv); err != nil {
		t.Error(err)
	}
	// A set of both may lie on vg-home: its blocks are mapped beneath the front.
	got, err := f.look(t, "file:/home/cow", false, lv, f.home)
	if err != nil || got.Backing != plan.Extents || len(got.FillFor) == 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	f := newFiles(t)
	const available = 3000000 << 10 // as the fake host says
	for spec, want := range map[string]uint64{"ram": layout.Area(available / 4), "ram:64m": 64 << 20, "ram:10%": available / 10 / 4096 * 4096} {
		got, err := f.look(t, spec, false, f.home)
		if err != nil || got.Backing != plan.Memory || got.Size.Bytes() != want || got.Path != "" {
			t.Errorf("%s: %+v, %v", spec, got, err)
		}
	}
	for _, spec := range []string{"ram:800m", "ram:26%", "ram:900%"} {
		_, err := f.look(t, spec, false, f.home)
		refused(t, err, plan.NoSpace, "ram", "more than a quarter")
	}
}

// TestAutoChooses the first with room, in an order people can foresee.
func TestAutoChooses(t *testing.T) {
	for name, row := range map[string]struct {
		prepare func(t *testing.T, f files)
		policy  []string
		want    string
		why     string
	}{
		"most room beside the origins": {nil, nil, "/srv/.dmsnap-5e7.0", "most free space"},
		"own filesystem":               {unmountOthers, nil, "/home/.dmsnap-5e7.0", "no other filesystem"},
		"memory":                       {func(t *testing.T, f files) { unmountOthers(t, f); full(t, f, "/home/x") }, nil, "", "no filesystem has room"},
		"not where the boot is": {func(t *testing.T, f files) {
			f.AddDisk("vdz", disk(12), 256*mib)
			f.Mount(disk(12), "/boot/new", "ext4")
		}, nil, "/srv/.dmsnap-5e7.0", "most free space"},
		"configured":         {nil, []string{"/dev/vdz", "/dev/vdb", "ram"}, "/dev/vdb", "configuration"},
		"configured, in use": {nil, []string{"/dev/vdd", "file:/srv"}, "/srv/.dmsnap-5e7.0", "configuration"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFiles(t)
			if row.prepare != nil {
				row.prepare(t, f)
			}
			ours, err := f.r.Look()
			check(t, err)
			mounted, err := freeze.Mounts(f.Border())
			check(t, err)
			o, err := f.r.Origin("/home", f.home, ours)
			check(t, err)
			h := &store.Host{
				Read: f.r, Ours: ours, Mounts: mounted, File: ".dmsnap-5e7.0", Origins: []plan.Origin{o},
				Need: 3072, Least: 2048, Policy: store.Policy{Stores: row.policy},
			}
			kind, err := store.Parse("auto")
			check(t, err)
			got, err := kind.Inspect(h, o)
			if err != nil || got.Path != row.want {
				t.Errorf("%+v, %v; want %s", got, err, row.want)
			}
			if !strings.Contains(got.Why, row.why) {
				t.Errorf("because %q, want %q", got.Why, row.why)
			}
		})
	}
}

func unmountOthers(t *testing.T, f files) {
	t.Helper()
	for _, dir := range []string{"/srv", "/pool", "/secret", "/boot"} {
		check(t, f.Border().Unmount(dir, 0))
	}
}

// full leaves no room on a filesystem.
func full(t *testing.T, f files, path string) {
	t.Helper()
	file, err := f.Border().Open(path, unix.O_RDWR|unix.O_CREAT, 0o600)
	check(t, err)
	check(t, file.Allocate(0, 4*mib))
	check(t, file.Close())
}

// TestNoRoomAnywhere says what was looked at.
func TestNoRoomAnywhere(t *testing.T) {
	f := newFiles(t)
	kind, err := store.Parse("auto")
	check(t, err)
	ours, err := f.r.Look()
	check(t, err)
	mounted, err := freeze.Mounts(f.Border())
	check(t, err)
	o, err := f.r.Origin("/home", f.home, ours)
	check(t, err)
	_, err = kind.Inspect(&store.Host{Read: f.r, Ours: ours, Mounts: mounted, Origins: []plan.Origin{o}, Need: 1 << 40, Least: 1 << 40}, o)
	refused(t, err, plan.NoSpace, "/dev/mapper/vg-home", "/srv")
	refused(t, err, plan.NoSpace, "/dev/mapper/vg-home", "memory has room")
}
