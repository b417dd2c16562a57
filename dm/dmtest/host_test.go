package dmtest_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm"
	"github.com/dmsnap/dmsnap/dm/dmtest"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestReadyHosts cuts a set of all volumes of each host and removes it.
func TestReadyHosts(t *testing.T) {
	for name, h := range map[string]*dmtest.Host{
		"lvm": dmtest.LVM(), "luks": dmtest.LUKS(), "database": dmtest.Database(), "raw": dmtest.New(dmtest.Volume{Name: "raw"}),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, m := context.Background(), h.Manager()
			set, err := m.Create(ctx, h.Request("nightly"))
			if err != nil {
				t.Fatal(err)
			}
			if set.State != dm.StateActive || len(set.Volumes) != len(h.Volumes) {
				t.Errorf("%+v", set)
			}
			for i, v := range set.Volumes {
				if v.Name != h.Volumes[i].Name || v.SizeBytes != dmtest.SizeBytes {
					t.Errorf("volume %d: %+v", i, v)
				}
				if err := h.Protected("dmsnap-nightly-" + v.Name); err != nil {
					t.Error(err)
				}
			}
			if len(h.Changes()) == 0 {
				t.Error("a set is no change")
			}
			if err := m.Remove(ctx, dm.RemoveRequest{Name: "nightly"}); err != nil {
				t.Fatal(err)
			}
			if left := h.Changes(); len(left) > 0 {
				t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
			}
		})
	}
}

// TestChanges sees what an agent may forget.
func TestChanges(t *testing.T) {
	for want, leave := range map[string]func(*dmtest.Host) error{
		"+ mount": func(h *dmtest.Host) error {
			_, err := h.Manager().Create(context.Background(), h.Request("nightly"))
			if err == nil {
				_, err = h.Manager().Mount(context.Background(), "nightly", "/mnt")
			}
			return err
		},
		"+ fd":                   func(h *dmtest.Host) error { _, err := h.Border().Open("/home", unix.O_RDONLY, 0); return err },
		"+ file":                 func(h *dmtest.Host) error { h.WriteFile("/srv/forgotten", ""); return nil },
		"+ dm vg-home 254:0":     func(h *dmtest.Host) error { h.Suspend("vg-home", true); return nil },
		"+ fs 254:1 xfs on dm-1": func(h *dmtest.Host) error { h.Freeze("/srv", true); return nil },
	} {
		h := dmtest.LVM()
		if err := leave(h); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(h.Changes(), "\n"); !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// TestFailuresReachTheAgent: a failing kernel gives the errors of a real one, and
// everything is taken back.
func TestFailuresReachTheAgent(t *testing.T) {
	h := dmtest.LVM()
	h.Fail(func(c ioctltest.Call) error {
		if c.Request == "DM_DEV_SUSPEND" && c.Name == "vg-srv" {
			return unix.EIO
		}
		return nil
	})
	_, err := h.Manager().Create(context.Background(), h.Request("nightly"))
	e, ok := errors.AsType[*dm.Error](err)
	if !ok || !errors.Is(err, unix.EIO) || e.Device != "vg-srv" {
		t.Errorf("%v", err)
	}
	if left := h.Changes(); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}
