package dm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// What is written to of each origin, beyond its filesystem's superblock.
const (
	writtenAt     = 2 * mib
	writtenChunks = 6
	writtenChunk  = 64 << 10
)

// newWorld has the disks of two parts, three for each, and one that is nobody's.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{host: newHost(t, ioctltest.Options{Udev: true}), past: map[string][][]byte{}, cuts: map[string]cut{}}
	w.m.flattenTimeout = 0
	w.devices = map[string]ioctl.DevNo{"/home": w.home, "/var": w.vard, "/data": w.data}
	for i, name := range []string{"a0", "a1", "a2", "b0", "b1", "b2", "other"} {
		w.AddDisk(name, ioctl.DevNo{Major: 65, Minor: uint32(16 * i)}, 16*mib)
	}
	check(t, w.Write(ioctl.DevNo{Major: 65, Minor: 6 * 16}, 5*mib, []byte("nobody's business")))
	for origin := range w.devices {
		w.past[origin] = [][]byte{make([]byte, writtenChunks*writtenChunk)}
	}
	w.writeAll()
	return w
}

func (w *world) complain(format string, args ...any) {
	w.told = append(w.told, fmt.Sprintf(format, args...))
}

// manager is one of a process of its own.
func (w *world) manager() *Manager {
	m := New(w.m.opts)
	m.sample, m.flattenTimeout = 0, 0
	return m
}

// write changes two chunks of three, unless writers would be held now.
func (w *world) write(origin string) {
	if w.held() {
		return
	}
	versions := w.past[origin]
	next := bytes.Clone(versions[len(versions)-1])
	for i := range writtenChunks {
		if (i+len(versions))%3 == 0 {
			continue
		}
		chunk := next[i*writtenChunk : (i+1)*writtenChunk]
		fill(chunk, byte(len(versions)))
		if err := w.Write(w.devices[origin], uint64(writtenAt+i*writtenChunk), chunk); err != nil {
			w.complain("a write to %s: %v", origin, err)
		}
	}
	w.past[origin] = append(versions, next)
}

func (w *world) writeAll() {
	for origin := range w.devices {
		w.write(origin)
	}
}

// held tells whether any device is suspended.
func (w *world) held() bool {
	ctl, err := w.Border().OpenControl()
	if err != nil {
		return true
	}
	defer ctl.Close()
	all, err := ctl.List(ioctl.ID{})
	for _, e := range all {
		info, serr := ctl.Status(ioctl.ID{Dev: e.Dev})
		if serr == nil && info.Suspended && info.Live {
			return true
		}
	}
	return err != nil
}

func (w *world) versions() map[string]int {
	now := map[string]int{}
	for origin, v := range w.past {
		now[origin] = len(v) - 1
	}
	return now
}

// cut makes a set before the test begins.
func (w *world) cut(r CreateRequest) error {
	if _, err := w.m.Show(w.ctx, r.Name); err == nil {
		return nil
	}
	now := w.versions()
	set, err := w.m.Create(w.ctx, r)
	if err == nil {
		w.took(set, r.Origins[0], now)
		w.write(r.Origins[0])
	}
	return err
}

// took notes a set that was cut since the origins were at some version.
func (w *world) took(set *Set, origin string, since map[string]int) {
	if set == nil {
		return
	}
	if _, known := w.cuts[set.UUID]; !known {
		w.cuts[set.UUID] = cut{name: set.Name, origin: origin, from: since[origin], to: w.versions()[origin]}
	}
}

// right looks at everything once both operations are over.
func (w *world) right(t *testing.T, gone func(uuid string, c cut) bool) {
	t.Helper()
	for _, hang := range w.Hangs() {
		w.complain("would hang: %s", hang)
	}
	if w.held() {
		w.complain("writers are held")
	}
	for l := range strings.Lines(w.Snapshot()) {
		if strings.HasPrefix(l, "fs ") && !strings.HasSuffix(l, "frozen=0\n") {
			w.complain("still frozen: %s", l)
		}
	}
	w.imagesRight(gone)
	w.writeAll() // nothing of that may reach an image
	w.imagesRight(gone)
	w.originsRight()
}

func (w *world) imagesRight(gone func(uuid string, c cut) bool) {
	sets, err := w.manager().List(w.ctx)
	if err != nil {
		w.complain("list: %v", err)
	}
	there := map[string]bool{}
	for _, set := range sets {
		there[set.UUID] = true
		if set.Layer {
			continue
		}
		c, known := w.cuts[set.UUID]
		switch {
		case !known:
			w.complain("set %s, %s, is there and nobody said so", set.Name, set.State)
		case set.State != StateActive:
			w.complain("set %s is %s: %s", set.Name, set.State, set.Volumes[0].Reason)
		default:
			w.imageRight(set, c)
		}
	}
	for uuid, c := range w.cuts {
		if !there[uuid] && !gone(uuid, c) {
			w.complain("set %s is gone, and nobody said so", c.name)
		}
	}
}

func (w *world) imageRight(set Set, c cut) {
	if set.Bookmark { // it records, and shows nothing
		if err := w.Protected("dmsnap-core-" + set.Name + "-" + set.Volumes[0].Name); err != nil {
			w.complain("bookmark %s: %v", set.Name, err)
		}
		return
	}
	if err := w.Protected("dmsnap-" + set.Name + "-" + set.Volumes[0].Name); err != nil {
		w.complain("set %s: %v", set.Name, err)
	}
	got := make([]byte, writtenChunks*writtenChunk)
	if err := w.Read(set.Volumes[0].Devno, writtenAt, got); err != nil {
		w.complain("the image of %s: %v", set.Name, err)
		return
	}
	for _, version := range w.past[c.origin][c.from : c.to+1] {
		if bytes.Equal(got, version) {
			return
		}
	}
	w.complain("the image of %s holds%s: not what %s held from%s to%s", set.Name, firsts(got), c.origin,
		firsts(w.past[c.origin][c.from]), firsts(w.past[c.origin][c.to]))
}

// firsts are the first bytes of all chunks.
func firsts(b []byte) string {
	var out strings.Builder
	for i := 0; i < len(b); i += writtenChunk {
		fmt.Fprintf(&out, " %d", b[i])
	}
	return out.String()
}

func (w *world) originsRight() {
	for origin, dev := range w.devices {
		got, versions := make([]byte, writtenChunks*writtenChunk), w.past[origin]
		if err := w.Read(dev, writtenAt, got); err != nil {
			w.complain("%s: %v", origin, err)
		} else if !bytes.Equal(got, versions[len(versions)-1]) {
			w.complain("%s holds%s: not what was written,%s", origin, firsts(got), firsts(versions[len(versions)-1]))
		}
	}
}

// clear removes all there is, as users would.
func (w *world) clear() {
	m, ctx := w.manager(), context.Background()
	for range 4 { // what is read through goes later
		sets, err := m.List(ctx)
		if err != nil {
			w.complain("list: %v", err)
		}
		for _, set := range sets {
			if mountedImages(&set) > 0 {
				if err := m.Unmount(ctx, set.Name); err != nil {
					w.complain("umount %s: %v", set.Name, err)
				}
			}
			if err := m.Remove(ctx, RemoveRequest{Name: set.Name}); err != nil && !plan.IsLayer(set.Name) && !errors.Is(err, ErrNotFound) {
				w.complain("remove %s: %v", set.Name, err)
			}
		}
	}
	if err := m.Detach(ctx, "/data"); err != nil && !errors.Is(err, ErrNotFound) {
		w.complain("detach: %v", err)
	}
	w.recover()
}

func (w *world) recover() {
	if _, err := w.manager().Recover(w.ctx); err != nil {
		w.complain("recover: %v", err)
	}
}

// leaks compares the host with one on which nothing ever happened.
func (w *world) leaks(fresh string) {
	if now := withoutData(withoutLocks(w.Snapshot())); now != fresh {
		w.complain("left over:\n%s", diff(strings.Split(fresh, "\n"), strings.Split(now, "\n")))
	}
	got := make([]byte, len("nobody's business"))
	if err := w.Read(ioctl.DevNo{Major: 65, Minor: 6 * 16}, 5*mib, got); err != nil || string(got) != "nobody's business" {
		w.complain("the disk that nobody named holds %q, %v", got, err)
	}
}

// lapse ends leases.
func (w *world) lapse() { w.Advance(2 * time.Hour) }
