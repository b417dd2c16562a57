package dm_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/dmsnap/dmsnap/dm"
	"github.com/dmsnap/dmsnap/dm/dmtest"
	"github.com/dmsnap/dmsnap/ioctl"
)

// Programs write dm.New(dm.Options{...}); the host of these examples is one of
// package dmtest, in memory.

func ExampleManager_Create() {
	ctx, m := context.Background(), dmtest.LVM().Manager()
	set, err := m.Create(ctx, dm.CreateRequest{
		Name:    "nightly",
		Origins: []string{"/home", "/srv"}, // both at one instant
		Stores:  map[string]string{"/home": "/dev/vdb", "/srv": "/dev/vdd"},
		Labels:  map[string]string{"job": "7"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() {
		if err := m.Remove(context.WithoutCancel(ctx), dm.RemoveRequest{Name: set.Name}); err != nil {
			fmt.Println(err)
		}
	}()
	fmt.Println(set.State, set.Receipt.Consistency, set.Receipt.Frozen)
	for _, v := range set.Volumes {
		fmt.Println(v.Origin, v.Device)
	}
	// Output:
	// active filesystem [/home /srv]
	// /dev/mapper/vg-home /dev/mapper/dmsnap-nightly-vg-home
	// /dev/mapper/vg-srv /dev/mapper/dmsnap-nightly-vg-srv
}

func ExampleManager_PlanCreate() {
	h := dmtest.LUKS()
	plan, err := h.Manager().PlanCreate(context.Background(), h.Request("nightly"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range plan.Steps {
		if s.Phase == "window" {
			fmt.Println(s.Action, s.Device)
		}
	}
	// Output:
	// freeze /home
	// prove /home
	// suspend luks-home
	// resume dmsnap-nightly-luks-home
	// resume luks-home
	// thaw /home
}

func ExampleManager_OpenVolume() {
	h := dmtest.LVM()
	ctx, m := context.Background(), h.Manager()
	home := h.Volumes[0].Device
	write(h, home, "before")
	if _, err := m.Create(ctx, h.Request("nightly")); err != nil {
		fmt.Println(err)
		return
	}
	write(h, home, "after!")

	r, err := m.OpenVolume(ctx, dm.OpenRequest{Set: "nightly", Volume: "vg-home"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Close()
	// A copy to the end checks the image: without an error it is the past.
	var b strings.Builder
	n, err := io.Copy(&b, io.NewSectionReader(r, 0, r.Size()))
	fmt.Println(n, err, b.String()[8<<20:8<<20+6])

	h.Invalidate("dmsnap-nightly-vg-home") // its store is full
	_, err = r.ReadAt(make([]byte, 4096), 0)
	lost, _ := errors.AsType[*dm.StateError](err)
	fmt.Println(lost.State, errors.Is(err, dm.ErrNoSpace))
	// Output:
	// 16777216 <nil> before
	// invalid true
}

func write(h *dmtest.Host, to ioctl.DevNo, text string) {
	if err := h.Write(to, 8<<20, []byte(text)); err != nil {
		fmt.Println(err)
	}
}

func ExampleError() {
	h := dmtest.LVM()
	ctx, m := context.Background(), h.Manager()
	if _, err := m.Create(ctx, h.Request("nightly")); err != nil {
		fmt.Println(err)
		return
	}
	h.AddProcess(77, "restore", 0, "/dev/mapper/dmsnap-nightly-vg-srv")
	err := m.Remove(ctx, dm.RemoveRequest{Name: "nightly"})
	if errors.Is(err, dm.ErrBusy) {
		busy, _ := errors.AsType[*dm.BusyError](err)
		fmt.Println(busy.Holders[0].Command, busy.Holders[0].PID)
	}
	e, _ := errors.AsType[*dm.Error](err)
	fmt.Println(e.Op, e.Set, e.Code)
	// Output:
	// restore 77
	// remove nightly busy
}

func ExampleOptions_events() {
	h := dmtest.LUKS()
	phase, o := dm.Phase(""), h.Options()
	o.Events = func(e dm.Event) {
		if s := e.Step; s.Phase != phase { // s.Done of s.Total steps are behind us
			phase = s.Phase
			fmt.Printf("%s %s: %s %s\n", s.Op, e.Set, s.Phase, cmp.Or(s.Name, "opens"))
		}
	}
	if _, err := dm.New(o).Create(context.Background(), h.Request("nightly")); err != nil {
		fmt.Println(err)
	}
	// Output:
	// create nightly: prepare create dmsnap-base-luks-home
	// create nightly: window opens
	// create nightly: finish settle
}
