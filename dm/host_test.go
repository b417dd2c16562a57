package dm

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

const mib = 1 << 20

// host is a fake machine with two mounted device-mapper devices, home and var,
// two disks for their stores, and a mounted partition, data.
type host struct {
	*ioctltest.Kernel
	m          *Manager
	ctx        context.Context // of operations
	plain      string          // names the partition
	home, vard ioctl.DevNo
	data       ioctl.DevNo // a mounted partition
}

func newHost(t *testing.T, o ioctltest.Options) *host {
	t.Helper()
	o.Interposer = true
	return linearHost(t, o)
}

// newBareHost has no interposer, and nobody uses its partition.
func newBareHost(t *testing.T, o ioctltest.Options) *host {
	t.Helper()
	h := linearHost(t, o)
	check(t, h.Border().Unmount("/data", 0))
	h.plain = "/dev/vdi1"
	return h
}

func linearHost(t *testing.T, o ioctltest.Options) *host {
	t.Helper()
	k := ioctltest.New(o)
	for i, name := range []string{"vda", "vdb", "vdc", "vdd"} {
		k.AddDisk(name, ioctl.DevNo{Major: 252, Minor: uint32(16 * i)}, diskSize(name))
	}
	return mounted(t, k, ioctltest.Row{Length: 32768, Type: "linear", Params: "252:0 0"}, ioctltest.Row{Length: 32768, Type: "linear", Params: "252:16 0"})
}

// newCopiesHost has origins whose tables must not run twice: home is a raid, var
// a mirror.
func newCopiesHost(t *testing.T, o ioctltest.Options) *host {
	t.Helper()
	k := ioctltest.New(o)
	for i, name := range []string{"vda", "vdb", "vdc", "vdd", "vde", "vdf", "vdg", "vdh"} {
		k.AddDisk(name, ioctl.DevNo{Major: 252, Minor: uint32(16 * i)}, diskSize(name))
	}
	return mounted(t, k,
		ioctltest.Row{Length: 32768, Type: "raid", Params: "raid1 3 0 region_size 1024 2 252:64 252:0 252:80 252:16"},
		ioctltest.Row{Length: 16384, Type: "mirror", Params: "disk 2 252:96 1024 2 252:112 0 252:112 16384 1 handle_errors"})
}

// diskSize is 16 MiB, and for those of stores a lead and a tail more.
func diskSize(name string) uint64 {
	if name == "vdc" || name == "vdd" {
		return 18 * mib
	}
	return 16 * mib
}

// newGroupHost has origins that are volumes of LVM.
func newGroupHost(t *testing.T, o ioctltest.Options) *host {
	t.Helper()
	k := ioctltest.New(o)
	for i, name := range []string{"vda", "vdb", "vdc", "vdd"} {
		k.AddDisk(name, ioctl.DevNo{Major: 252, Minor: uint32(16 * i)}, diskSize(name))
	}
	check(t, k.Border().MkdirAll("/run/lock/lvm", 0o755))
	return mountedAs(t, k, "vg-", ioctltest.Row{Length: 32768, Type: "linear", Params: "252:0 0"}, ioctltest.Row{Length: 32768, Type: "linear", Params: "252:16 0"})
}

func mounted(t *testing.T, k *ioctltest.Kernel, home, vard ioctltest.Row) *host {
	t.Helper()
	return mountedAs(t, k, "", home, vard)
}

func mountedAs(t *testing.T, k *ioctltest.Kernel, prefix string, home, vard ioctltest.Row) *host {
	t.Helper()
	k.AddDisk("vdi", ioctl.DevNo{Major: 252, Minor: 128}, 16*mib, ioctltest.Partition(1, mib, 8*mib))
	h := &host{Kernel: k, ctx: context.Background(), plain: "/data", data: ioctl.DevNo{Major: 252, Minor: 129}}
	h.home, h.vard = k.AddDM(prefix+"home", "LVM-home", home), k.AddDM(prefix+"var", "LVM-var", vard)
	k.Mount(h.home, "/home", "ext4")
	k.Mount(h.vard, "/var", "xfs")
	k.Mount(h.data, "/data", "ext4")
	k.WriteFile("/mnt/.keep", "")
	h.m = New(Options{Kernel: k.Border(), StateDir: "/state", BusyTimeout: time.Nanosecond, UdevTimeout: time.Second, NoGuard: true})
	h.m.sample = 0
	if err := h.m.state.Init(); err != nil {
		t.Fatal(err)
	}
	return h
}

// hostOnly keeps tests that only use the fake kernel, and much of the processor,
// out of guests.
func hostOnly(t *testing.T) {
	t.Helper()
	if os.Getenv("DMSNAP_E2E") != "" {
		t.Skip("host only: it says nothing about the kernel it runs on")
	}
}

func both() CreateRequest {
	return CreateRequest{
		Name: "nightly", Origins: []string{"/home", "/var"},
		Stores: map[string]string{"/home": "/dev/vdc", "/var": "/dev/vdd"},
	}
}

func (h *host) create(t *testing.T, r CreateRequest) *Set {
	t.Helper()
	set, err := h.m.Create(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// createIn cuts home with its store in some place.
func (h *host) createIn(spec string) error {
	_, err := h.m.Create(h.ctx, CreateRequest{
		Name: "nightly", Origins: []string{"/home"}, Stores: map[string]string{"": spec}, StoreSize: Size{Bytes: mib},
	})
	return err
}

// elsewhere mounts another filesystem, on a plain disk.
func (h *host) elsewhere(t *testing.T) {
	t.Helper()
	h.AddDisk("vde", ioctl.DevNo{Major: 252, Minor: 64}, 16*mib)
	h.Mount(ioctl.DevNo{Major: 252, Minor: 64}, "/srv", "ext4")
}

// healthy fails the test if a call would have hung on a real kernel.
func (h *host) healthy(t *testing.T) {
	t.Helper()
	if hangs := h.Hangs(); len(hangs) > 0 {
		t.Errorf("would hang: %s", strings.Join(hangs, "\n"))
	}
}

// same compares states.
func same(t *testing.T, what, before, after string) {
	t.Helper()
	if before == after {
		return
	}
	b, a := strings.Split(before, "\n"), strings.Split(after, "\n")
	t.Errorf("%s: the state differs\n%s", what, diff(b, a))
}

// diff lists the lines that only one side has.
func diff(before, after []string) string {
	count := map[string]int{}
	for _, l := range before {
		count[l]++
	}
	for _, l := range after {
		count[l]--
	}
	var b strings.Builder
	for _, l := range append(before, after...) {
		switch n := count[l]; {
		case n > 0:
			b.WriteString("gone: " + l + "\n")
		case n < 0:
			b.WriteString("new:  " + l + "\n")
		}
		count[l] = 0
	}
	return b.String()
}

// kernels are the fakes every promise is tested on; one of them in short runs.
func kernels(t *testing.T, f func(t *testing.T, o ioctltest.Options)) {
	t.Helper()
	for name, o := range map[string]ioctltest.Options{
		"6.1":               {Release: "6.1.0", Udev: true},
		"6.12 without udev": {Release: "6.12.0"},
		"7.2":               {Release: "7.2.0", Udev: true},
	} {
		if testing.Short() && name != "6.1" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, o)
		})
	}
}

// dmLines are the device-mapper devices, frozen filesystems and semaphores of a
// state, with random uuids and keys left out.
func dmLines(state string) string {
	var b strings.Builder
	for l := range strings.Lines(withoutCopies(state)) {
		if strings.HasPrefix(l, "dm ") || strings.HasPrefix(l, "fs ") {
			b.WriteString(randomID.ReplaceAllString(l, "DMSNAP-"))
		}
		if strings.HasPrefix(l, "sem ") {
			b.WriteString("sem\n")
		}
	}
	return b.String()
}

var randomID = regexp.MustCompile(`DMSNAP-[0-9a-f]{32}`)
