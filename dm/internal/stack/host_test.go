package stack_test

import (
	"fmt"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
	"github.com/dmsnap/dmsnap/targets"
)

const (
	mib     = 1 << 20
	sectors = 32 * mib / 512 // of every origin
)

// host has the disks vda to vdd and an origin vg-home on vda.
type host struct {
	*ioctltest.Kernel
	r    *stack.Reader
	home ioctl.DevNo
}

func newHost(t testing.TB) *host {
	t.Helper()
	k := ioctltest.New(ioctltest.Options{Udev: true})
	k.AddDisk("vda", disk(0), 64*mib)
	k.AddDisk("vdb", disk(1), 64*mib, ioctltest.Partition(1, mib, 8*mib), ioctltest.Partition(2, 16*mib, 8*mib))
	k.AddDisk("vdc", disk(2), 64*mib)
	k.AddDisk("vdd", disk(3), 64*mib, ioctltest.Sectors(4096, 4096), ioctltest.ReadOnly())
	ctl, err := k.Border().OpenControl()
	check(t, err)
	h := &host{Kernel: k, r: &stack.Reader{Kernel: k.Border(), Control: ctl}}
	h.home = k.AddDM("vg-home", "LVM-home", linear(disk(0), 0))
	t.Cleanup(func() {
		if hangs := k.Hangs(); len(hangs) > 0 {
			t.Error("on a real kernel this hangs:", hangs)
		}
	})
	return h
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func disk(n uint32) ioctl.DevNo { return ioctl.DevNo{Major: 252, Minor: 16 * n} }

func dev(d ioctl.DevNo) targets.DevNo { return d }

func linear(d ioctl.DevNo, start uint64) ioctltest.Row {
	return ioctltest.Row{Length: sectors, Type: "linear", Params: fmt.Sprintf("%s %d", d, start)}
}

func originOf(d ioctl.DevNo) ioctltest.Row {
	return ioctltest.Row{Length: sectors, Type: "snapshot-origin", Params: d.String()}
}

// layer puts a base beneath a front that stands on vda.
func (h *host) layer(front string) (base ioctl.DevNo) {
	base = h.AddDM("dmsnap-base-"+front, "DMSNAP-ba5e"+front+"-base", linear(disk(0), 0))
	h.Reload(front, originOf(base))
	return base
}

// image adds a set's volume to a layer, with its store on a disk.
func (h *host) image(set, front string, base, store ioctl.DevNo, start uint64) (image ioctl.DevNo) {
	s := h.AddDM("dmsnap-store-"+set+"-"+front, "DMSNAP-"+set+".0-store",
		ioctltest.Row{Length: 8192, Type: "linear", Params: fmt.Sprintf("%s %d", store, start)})
	return h.AddDM("dmsnap-"+set+"-"+front, "DMSNAP-"+set+".0-image",
		ioctltest.Row{Length: sectors, Type: "snapshot", Params: fmt.Sprintf("%s %s N 128", base, s)})
}

// load puts a table into the inactive slot.
func (h *host) load(t *testing.T, name string, row ioctltest.Row) {
	t.Helper()
	check(t, h.r.Control.Load(ioctl.ID{Name: name}, 0, []ioctl.Spec{{Length: row.Length, Type: row.Type, Params: row.Params}}))
}

func (h *host) ours(t *testing.T) *stack.View {
	t.Helper()
	ours, err := h.r.Look()
	check(t, err)
	return ours
}
