package main

import (
	"context"
	"testing"

	"github.com/dmsnap/dmsnap/dm/dmtest"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestWhyOnHost asks for the reason of what was done to a host.
func TestWhyOnHost(t *testing.T) {
	cut := func(h *dmtest.Host) { mustCreate(t, h) }
	for name, c := range map[string]struct {
		spoil []func(h *dmtest.Host)
		ask   string
	}{
		"good":    {[]func(*dmtest.Host){cut}, "nightly"},
		"invalid": {[]func(*dmtest.Host){cut, func(h *dmtest.Host) { h.Invalidate("dmsnap-nightly-vg-srv") }}, "nightly"},
		"bypassed": {[]func(*dmtest.Host){cut, func(h *dmtest.Host) {
			h.Reload("vg-home", ioctltest.Row{Length: dmtest.SizeBytes / 512, Type: "linear", Params: "252:0 0"})
		}}, "nightly"},
		"busy": {[]func(*dmtest.Host){cut, func(h *dmtest.Host) {
			h.AddProcess(77, "restore", 0, "/dev/mapper/dmsnap-nightly-vg-home")
			h.AddProcess(88, "container", 4026532000)
			image := h.Volumes[1].Device
			image.Minor = 7 // the last one made
			h.Mount(image, "/mnt", "xfs", ioctltest.MountIn(4026532000), ioctltest.MountReadOnly(), ioctltest.MountData("nouuid,norecovery"))
		}}, "nightly"},
		"suspended":        {[]func(*dmtest.Host){cut, func(h *dmtest.Host) { h.Suspend("vg-srv", true) }}, "nightly"},
		"origin":           {nil, "/home"},
		"origin-in-set":    {[]func(*dmtest.Host){cut}, "/home"},
		"origin-plain":     {nil, "/dev/vda"},
		"origin-suspended": {[]func(*dmtest.Host){func(h *dmtest.Host) { h.Suspend("vg-home", true) }}, "/home"},
		"nothing":          {nil, "weekly"},
	} {
		t.Run(name, func(t *testing.T) {
			h := dmtest.LVM()
			for _, spoil := range c.spoil {
				spoil(h)
			}
			before := h.Snapshot()
			sameAsFile(t, "why-host-"+name+".out", onHost(h, "why "+c.ask+" --sample 0s"))
			if h.Snapshot() != before {
				t.Error("why changed something")
			}
		})
	}
}

func mustCreate(t *testing.T, h *dmtest.Host) {
	t.Helper()
	if _, err := h.Manager().Create(context.Background(), h.Request("nightly")); err != nil {
		t.Fatal(err)
	}
}
