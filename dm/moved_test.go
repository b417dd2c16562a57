package dm

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// moved is a host whose home has a set with its store in a file on home, and then was
// moved to another disk by pvmove. What home had on its disk is another volume's now,
// all 0xaa.
type moved struct {
	*host
	old, other ioctl.DevNo
}

func newMoved(t *testing.T) *moved {
	t.Helper()
	m := &moved{host: newHost(t, ioctltest.Options{}), old: ioctl.DevNo{Major: 252, Minor: 240}}
	m.AddDisk("vdp", m.old, 16*mib)
	m.Reload("home", ioctltest.Row{Length: 32768, Type: "linear", Params: m.old.String() + " 0"})
	check(t, m.createIn("file:/home/.cow"))
	return m
}

// move plays pvmove, and lvcreate on what that freed.
func (m *moved) move(t *testing.T) {
	t.Helper()
	all := make([]byte, 16*mib)
	check(t, m.Read(m.old, 0, all))
	check(t, m.Write(ioctl.DevNo{Major: 252}, 0, all))
	m.Reload("home", ioctltest.Row{Length: 32768, Type: "linear", Params: "252:0 0"})
	m.other = m.AddDM("other", "LVM-other", ioctltest.Row{Length: 32768, Type: "linear", Params: m.old.String() + " 0"})
	check(t, m.Write(m.other, 0, bytes.Repeat([]byte{0xaa}, 16*mib)))
}

func (m *moved) intact(t *testing.T, what string) {
	t.Helper()
	got := make([]byte, 16*mib)
	check(t, m.Read(m.other, 0, got))
	if n := len(got) - bytes.Count(got, []byte{0xaa}); n > 0 {
		t.Errorf("%s: %d bytes of another volume were overwritten", what, n)
	}
}

// TestMovedAway: what an origin left behind when it was moved is another's. Nothing
// of ours writes there; the store's file is wiped where it lies now, and goes.
func TestMovedAway(t *testing.T) {
	hostOnly(t)
	m := newMoved(t)
	m.move(t)
	var zeros int
	m.Fail(func(c ioctltest.Call) error {
		if c.Op == "pwrite" && c.Path == "/home/.cow" {
			zeros++
		}
		return nil
	})
	check(t, m.m.Remove(m.ctx, RemoveRequest{Name: "nightly"}))
	m.Fail(nil)
	m.intact(t, "remove")
	if zeros == 0 {
		t.Error("the file was not wiped through its filesystem")
	}
	if _, err := m.Border().Stat("/home/.cow"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("the file is still there: %v", err)
	}
	if left := m.Snapshot(); strings.Contains(left, "DMSNAP") {
		t.Errorf("left over:\n%s", dmLines(left))
	}
}

// TestMovedMeanwhile: the origin is moved before each call of an operation that writes
// to a store on it.
func TestMovedMeanwhile(t *testing.T) {
	hostOnly(t)
	for name, do := range map[string]func(*moved) error{
		"remove":  func(m *moved) error { return m.m.Remove(m.ctx, RemoveRequest{Name: "nightly"}) },
		"recover": func(m *moved) error { _, err := m.m.Recover(m.ctx); return err },
		"extend": func(m *moved) error {
			_, err := m.m.Extend(m.ctx, ExtendRequest{Name: "nightly", Size: Size{Bytes: 2 * mib}})
			return err
		},
		"create": func(m *moved) error {
			_, err := m.m.Create(m.ctx, CreateRequest{Name: "next", Origins: []string{"/home"}, Stores: map[string]string{"": "file:/home/.next"}, StoreSize: Size{Bytes: mib}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n, more := 1, true; more && !t.Failed(); n += 4*step() - 3 {
				m := newMoved(t)
				first, what := m.Calls(), ""
				m.Fail(func(c ioctltest.Call) error {
					// Between its last look and the write itself nothing keeps others away.
					if c.N >= first+n && what == "" && c.Op != "pwrite" {
						what = fmt.Sprintf("moved before %s", c)
						m.move(t)
					}
					return nil
				})
				err := do(m)
				m.Fail(nil)
				if more = what != ""; more {
					what = fmt.Sprintf("%s: %v", what, err)
					m.intact(t, what)
					_ = m.m.Remove(m.ctx, RemoveRequest{Name: "next"})
					if err := m.m.Remove(m.ctx, RemoveRequest{Name: "nightly"}); err != nil && !errors.Is(err, ErrNotFound) {
						t.Errorf("%s: %v", what, err)
					}
					m.intact(t, what+", and removed")
				}
			}
		})
	}
}

// TestMountedWhileRemoved: somebody mounts the image before each call of a removal. He
// fails, or the removal does, and the set is whole: nobody reads an image whose origin
// has left it.
func TestMountedWhileRemoved(t *testing.T) {
	hostOnly(t)
	refused := 0
	for n, more := 1, true; more && !t.Failed(); n += 2*step() - 1 {
		h := newHost(t, ioctltest.Options{})
		set := h.create(t, both())
		image := set.Volumes[0].Devno
		first, mounted, at := h.Calls(), false, ""
		h.Fail(func(c ioctltest.Call) error {
			// Right before the device goes there is an instant in which it is not claimed.
			if c.N == first+n && c.Request != "DM_DEV_REMOVE" {
				mounted, at = h.tryMount(image), c.String()
			}
			more = c.N >= first+n || more && c.N < first+n
			return nil
		})
		more = false
		err := h.m.Remove(h.ctx, RemoveRequest{Name: "nightly"})
		h.Fail(nil)
		if mounted && (err == nil || CodeOf(err) != CodeBusy || h.Protected("dmsnap-nightly-home") != nil) {
			t.Errorf("mounted before %s: %v; the image: %v", at, err, h.Protected("dmsnap-nightly-home"))
		}
		if !mounted {
			check(t, err)
			refused++
		}
	}
	if refused < 2 {
		t.Error("nobody was kept from mounting it")
	}
}

// tryMount holds a device as a mount does, if nobody else does.
func (h *host) tryMount(dev ioctl.DevNo) bool {
	f, err := h.Border().Open(fmt.Sprintf("/dev/dm-%d", dev.Minor), unix.O_RDONLY|unix.O_EXCL, 0)
	return err == nil && f != nil
}
