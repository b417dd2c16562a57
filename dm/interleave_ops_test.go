package dm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/slot"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// part is what one of two operations works with.
type part struct {
	name, origin, dir string
	stores            []string // disks, the first one for its set
	files             string   // where those are made that serve as stores; "": on the origin
}

func (p part) request() CreateRequest {
	return CreateRequest{
		Name: p.name, Origins: []string{p.origin}, Stores: map[string]string{"": p.stores[0]}, StoreSize: Size{Bytes: 4 * mib},
	}
}

// act is an operation that may meet another one.
type act struct {
	setup func(w *world, p part) error                    // what must be there before; nil: nothing
	do    func(m *Manager, p part) (made *Set, err error) // made: by itself, not found
	files bool                                            // its store is a file
	plain bool                                            // of the plain device, if the other one does not say which
	ends  bool                                            // the set that setup made is gone when it succeeds
	keeps bool                                            // the set that setup made cannot end by itself any more when it succeeds
	lapse bool                                            // the lease of the set that setup made is over
	dies  bool                                            // setup ends with a dead process
}

func only(do func(m *Manager, p part) error) func(*Manager, part) (*Set, error) {
	return func(m *Manager, p part) (*Set, error) { return nil, do(m, p) }
}

// created makes the set of a part, unless the other part has made it.
func created(w *world, p part) error { return w.cut(p.request()) }

func leased(w *world, p part) error {
	r := p.request()
	r.Lease = Lease{For: time.Hour}
	return w.cut(r)
}

// killedIn ends a create right before a call in its window.
func killedIn(w *world, p part) error {
	at, err := w.dieAt(func(c ioctltest.Call) bool {
		return c.Request == "DM_DEV_RESUME" && strings.HasPrefix(c.Name, "dmsnap-"+p.name+"-")
	}, func(h *host) error { _, err := h.m.Create(h.ctx, p.request()); return err })
	if at == nil {
		return fmt.Errorf("nobody died: %w", err)
	}
	w.Exit()
	return nil
}

// meeting are the operations of TestInterleaved.
func meeting() map[string]act {
	ctx := context.Background()
	create := func(m *Manager, p part) (*Set, error) { return m.Create(ctx, p.request()) }
	recovers := only(func(m *Manager, _ part) error { _, err := m.Recover(ctx); return err })
	thaws := only(func(m *Manager, _ part) error { _, err := m.Thaw(ctx, false); return err })
	return map[string]act{
		"create": {do: create},
		"create in a file": {files: true, do: func(m *Manager, p part) (*Set, error) {
			r := p.request()
			r.Stores[""] = "file:" + cmp.Or(p.files, p.origin) + "/.cow" + strings.ReplaceAll(p.stores[0], "/", "-")
			return m.Create(ctx, r)
		}},
		"create a persistent set": {do: func(m *Manager, p part) (*Set, error) {
			r := p.request()
			r.Persistent = true
			return m.Create(ctx, r)
		}},
		"prepare and cut": {do: func(m *Manager, p part) (*Set, error) {
			prepared, err := m.Prepare(ctx, p.request())
			if err != nil {
				return nil, err
			}
			return prepared.Cut(ctx)
		}},
		"prepare and abort": {do: only(func(m *Manager, p part) error {
			prepared, err := m.Prepare(ctx, p.request())
			if err != nil {
				return err
			}
			return prepared.Abort(ctx)
		})},
		"remove": {setup: created, ends: true, do: only(func(m *Manager, p part) error { return m.Remove(ctx, RemoveRequest{Name: p.name}) })},
		"replace": {setup: created, ends: true, do: func(m *Manager, p part) (*Set, error) {
			if err := m.Remove(ctx, RemoveRequest{Name: p.name}); err != nil {
				return nil, err
			}
			set, err := create(m, p)
			if err != nil {
				err = errors.Join(err, ErrPartial)
			}
			return set, err
		}},
		"extend": {setup: created, do: only(func(m *Manager, p part) error {
			_, err := m.Extend(ctx, ExtendRequest{Name: p.name, Size: Size{Bytes: mib}, Relative: true})
			return err
		})},
		"extend onto a device": {
			setup: func(w *world, p part) error {
				r := p.request()
				r.StoreSize = Size{} // all of it
				return w.cut(r)
			},
			do: only(func(m *Manager, p part) error {
				_, err := m.Extend(ctx, ExtendRequest{Name: p.name, Size: Size{Bytes: mib}, Relative: true, Store: p.stores[1]})
				return err
			}),
		},
		"flatten": {
			ends: true,
			setup: func(w *world, p part) error {
				for i, suffix := range []string{"-older", "", "-newer"} {
					r := p.request()
					r.Name, r.Persistent, r.Stores = p.name+suffix, true, map[string]string{"": p.stores[(i+2)%3]}
					if err := w.cut(r); err != nil {
						return err
					}
					w.write(p.origin)
				}
				return nil
			},
			do: only(func(m *Manager, p part) error { return m.Remove(ctx, RemoveRequest{Name: p.name, Flatten: true}) }),
		},
		"prune": {
			ends: true,
			setup: func(w *world, p part) error {
				for i, suffix := range []string{"", "-newer"} {
					r := p.request()
					r.Name, r.Persistent, r.Labels, r.Stores = p.name+suffix, true, map[string]string{"series": p.name}, map[string]string{"": p.stores[i]}
					if err := w.cut(r); err != nil {
						return err
					}
					w.write(p.origin)
				}
				return nil
			},
			do: only(func(m *Manager, p part) error { return pruneTo(ctx, m, p.name, "last:1") }),
		},
		"bookmark": {
			setup: func(w *world, p part) error {
				r := p.request()
				r.Persistent = true
				return w.cut(r)
			},
			do: only(func(m *Manager, p part) error { _, err := m.Bookmark(ctx, BookmarkRequest{Name: p.name}); return err }),
		},
		"attach": {plain: true, do: only(func(m *Manager, p part) error { _, err := m.Attach(ctx, "/data"); return err })},
		"detach": {
			plain: true, do: only(func(m *Manager, p part) error { return m.Detach(ctx, "/data") }),
			setup: func(w *world, _ part) error { _, err := w.m.Attach(ctx, "/data"); return err },
		},
		"attach with a layer": {plain: true, do: only(func(m *Manager, p part) error {
			_, err := m.AttachLayer(ctx, "/data", linearLayer)
			return err
		})},
		"detach from a layer": {
			plain: true, do: only(func(m *Manager, p part) error { return m.Detach(ctx, "/data") }),
			setup: func(w *world, _ part) error { return w.attachLayer(linearLayer) },
		},
		"mount": {setup: created, do: only(func(m *Manager, p part) error { _, err := m.Mount(ctx, p.name, p.dir); return err })},
		"umount": {
			do: only(func(m *Manager, p part) error { return m.Unmount(ctx, p.name) }),
			setup: func(w *world, p part) error {
				if err := created(w, p); err != nil {
					return err
				}
				_, err := w.m.Mount(ctx, p.name, p.dir)
				return err
			},
		},
		"expire":                {setup: leased, lapse: true, do: only(func(m *Manager, _ part) error { _, err := m.Expire(ctx); return err })},
		"hold":                  {setup: leased, lapse: true, keeps: true, do: only(func(m *Manager, p part) error { _, err := m.Hold(ctx, p.name); return err })},
		"recover":               {do: recovers},
		"recover after a death": {setup: killedIn, dies: true, do: recovers},
		"thaw":                  {do: thaws},
		"thaw after a death":    {setup: killedIn, dies: true, do: thaws},
		"a guard's end":         {setup: killedIn, dies: true, do: only(guardEnds)},
		"a monitor's turn":      {setup: created, do: only(turn)},
	}
}

// guardEnds is what the guard of a dead owner does: writers go first, then the front's table is
// loaded once more, unless an operation has the origin.
func guardEnds(m *Manager, p part) error {
	ctx := context.Background()
	if _, err := m.Thaw(ctx, false); err != nil {
		return err
	}
	s, err := m.open("thaw", "")
	if err != nil {
		return err
	}
	defer s.close()
	mounts, err := allMounts(s.kernel)
	if err != nil {
		return s.fail(err)
	}
	dev, err := s.read.Resolve(p.origin, mounts)
	if err != nil {
		return s.fail(err)
	}
	err = slot.RenewFront(ctx, s.kernel, s.ctl, ioctl.ID{Dev: dev}, func(load func() error) error {
		locks, err := journal.Dir{Kernel: s.kernel}.Lock(ownPID(), journal.MomentKeys([]string{journal.OriginKey(dev.String())})...)
		if err != nil {
			return err
		}
		return errors.Join(load(), locks.Unlock())
	})
	if _, held := errors.AsType[*journal.LockedError](err); held || errors.Is(err, unix.ENXIO) { // or a plain device's front goes by another number
		return nil
	}
	return s.fail(err)
}

// pruneTo prunes a series. What stays although it was to go is an error here.
func pruneTo(ctx context.Context, m *Manager, series, rules string) error {
	keep, err := ParseKeepRules(rules)
	if err != nil {
		return err
	}
	pruned, err := m.Prune(ctx, PruneRequest{Labels: map[string]string{"series": series}, Keep: keep})
	for _, p := range pruned {
		if err == nil && p.Set == series && !p.Removed {
			err = &Error{Op: "prune", Set: p.Set, Code: CodeBusy, Err: errors.New(p.Why)}
		}
	}
	return err
}

// turn is one look of a monitor at everything there is, with stores that are too
// full for it.
func turn(m *Manager, p part) error {
	s, err := m.open("monitor", "")
	if err != nil {
		return err
	}
	defer s.close()
	w := &monitorRun{session: s, r: MonitorRequest{Threshold: 1, Spill: p.stores[1:2]}.withDefaults(), fromOthers: make(chan Event)}
	return s.fail(w.scanAll(context.Background()))
}

// world is a host whose origins are written to between all steps of a test, and
// what each image must hold.
type world struct {
	*host
	told    []string // what went wrong
	devices map[string]ioctl.DevNo
	past    map[string][][]byte // by origin: what it held, one after the other
	cuts    map[string]cut      // by uuid of the set
}

// cut is when a set was cut: what its image holds the origin did from one of its
// versions to another.
type cut struct {
	name, origin string
	from, to     int
	lapsed       bool
}
