package dm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestRecoverWithAnotherStateDir: an operation under way is known by its locks.
// Its journal may be where the one who recovers does not look.
func TestRecoverWithAnotherStateDir(t *testing.T) {
	hostOnly(t)
	for _, name := range []string{"create", "create on copies", "attach", "attach with a layer", "create on a partition", "adopt"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			op := operations[name]
			for n := 1; ; n += step() {
				h := op.host(t, ioctltest.Options{Udev: true})
				o := h.m.opts
				o.StateDir = "/state2"
				other, first, met := New(o), h.Calls(), ""
				h.Fail(func(c ioctltest.Call) error {
					if c.N-first == n {
						met = fmt.Sprintf("recover at call %d, %s", n, c)
						h.Fail(nil)
						if _, err := other.Recover(context.Background()); err != nil {
							t.Errorf("%s: %v", met, err)
						}
					}
					return nil
				})
				err := op.do(h)
				h.Fail(nil)
				h.healthy(t)
				if err != nil {
					t.Fatalf("%s: %v", met, err)
				}
				if met == "" {
					return
				}
			}
		})
	}
}

// TestOneStoreServesOneSet: of two creates at once with the same device, at most one
// comes through, and so it is with an extend.
func TestOneStoreServesOneSet(t *testing.T) {
	hostOnly(t)
	another := CreateRequest{Name: "b", Origins: []string{"/var"}, Stores: map[string]string{"": "/dev/vdc"}}
	for name, first := range map[string]func(h *host) error{
		"create": func(h *host) error {
			_, err := h.m.Create(h.ctx, CreateRequest{Name: "a", Origins: []string{"/home"}, Stores: map[string]string{"": "/dev/vdc"}})
			return err
		},
		"extend": func(h *host) error {
			_, err := h.m.Extend(h.ctx, ExtendRequest{Name: "a", Size: Size{Bytes: mib}, Relative: true, Store: "/dev/vdc"})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n += step() {
				h := newHost(t, ioctltest.Options{})
				if name == "extend" {
					h.AddDisk("vde", ioctl.DevNo{Major: 252, Minor: 64}, 4*mib)
					h.create(t, CreateRequest{Name: "a", Origins: []string{"/home"}, Stores: map[string]string{"": "/dev/vde"}})
				}
				begun, met := h.Calls(), false
				var second error
				h.Fail(func(c ioctltest.Call) error {
					if c.N-begun == n {
						h.Fail(nil)
						met = true
						_, second = New(h.m.opts).Create(context.Background(), another)
					}
					return nil
				})
				err := first(h)
				h.Fail(nil)
				if !met {
					check(t, err)
					return
				}
				if (err == nil) == (second == nil) {
					t.Errorf("at call %d: %v, and meanwhile %v", n, err, second)
				}
				if second != nil && !errors.Is(second, ErrLocked) && !errors.Is(second, ErrBusy) {
					t.Errorf("at call %d: %v", n, second)
				}
			}
		})
	}
}

// TestPartitionsOfOneDisk are two devices: each can be a store while the other
// becomes one. The disk they are on cannot.
func TestPartitionsOfOneDisk(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	h.AddDisk("vde", ioctl.DevNo{Major: 252, Minor: 64}, 16*mib, ioctltest.Partition(1, mib, 4*mib), ioctltest.Partition(2, 6*mib, 4*mib))
	create := func(name, origin, store string) error {
		_, err := New(h.m.opts).Create(h.ctx, CreateRequest{Name: name, Origins: []string{origin}, Stores: map[string]string{"": store}})
		return err
	}
	p, err := h.m.Prepare(h.ctx, CreateRequest{Name: "a", Origins: []string{"/home"}, Stores: map[string]string{"": "/dev/vde1"}})
	check(t, err)
	if err := create("c", "/var", "/dev/vde"); !errors.Is(err, ErrLocked) {
		t.Errorf("the whole disk: %v", err)
	}
	check(t, create("b", "/var", "/dev/vde2"))
	_, err = p.Cut(h.ctx)
	check(t, err)
}

// TestRecoverHoldsItsLocksFirst: what a dead process held is let go under its locks.
// Somebody may have begun to cut the same origin.
func TestRecoverHoldsItsLocksFirst(t *testing.T) {
	hostOnly(t)
	h := newHost(t, ioctltest.Options{})
	at, err := h.dieAt(func(c ioctltest.Call) bool {
		return c.Request == "DM_DEV_RESUME" && strings.HasPrefix(c.Name, "dmsnap-nightly-")
	}, operations["create"].do)
	if at == nil {
		t.Fatalf("it lived: %v", err)
	}
	h.Exit()
	let, looking := 0, false
	h.Fail(func(c ioctltest.Call) error {
		if looking || !changes(c) && c.Request != "FITHAW" {
			return nil
		}
		looking = true
		defer func() { looking = false }()
		let++
		held, err := h.m.state.Owner(journal.OriginKey(h.home.String()))
		check(t, err)
		if held == nil {
			t.Errorf("without a lock: %s", c)
		}
		return nil
	})
	recovered(t, h)
	h.Fail(nil)
	if let < 4 { // two fronts, two filesystems
		t.Errorf("%d calls let go", let)
	}
	h.healthy(t)
}
