package ioctltest

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// interposeModule is there only if Options.Interposer is set.
const interposeModule = "dm_interpose"

// interpose is the target of the interposer module (kernel/): it maps one to one
// onto a device that others use, and can send what is addressed to that device
// to its front.
type interpose struct {
	k        *Kernel
	tg       *target
	d        *device
	front    *device // nil: not attached
	bypassed int
	astray   bool // writes pass the front, which nothing counts
	lost     bool // a proof failed
}

func makeInterpose(k *Kernel, tg *target, args []string) (mapping, error) {
	if len(args) != 1 {
		return nil, unix.EINVAL
	}
	d, err := k.lowerDevice(args[0])
	switch {
	case err != nil:
		return nil, err
	case d.dm != nil:
		return nil, unix.EOPNOTSUPP
	case tg.start != 0 || tg.length > d.size():
		return nil, unix.EINVAL
	case d.readOnly() && !tg.table.ro:
		return nil, unix.EROFS
	}
	if err := k.openDevice(d, claimKinds); err != nil {
		return nil, err
	}
	return &interpose{k: k, tg: tg, d: d}, nil
}

// interposeOf is the interposed device that a base leads to, or nil.
func interposeOf(d *device) *interpose {
	if d.dm == nil || d.dm.live == nil {
		return nil
	}
	i, _ := d.dm.live.targets[0].impl.(*interpose)
	return i
}

func (i *interpose) line() string  { return devText(i.d.no) }
func (i *interpose) areas() []area { return []area{{i.d, 0, i.tg.length}} }

func (i *interpose) status() string {
	front := "-"
	if i.front != nil {
		front = devText(i.front.no)
	}
	text := fmt.Sprintf("%s %d", front, i.bypassed)
	switch {
	case i.d.dead:
		text += " dead"
	case i.lost:
		text += " lost"
	}
	return text
}

func (i *interpose) io(off uint64, b []byte, write bool) error {
	return i.k.direct(i.d, off, b, write)
}

func (i *interpose) message(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "attach":
		return i.attach(args[1])
	case len(args) == 1 && args[0] == "detach":
		return i.detach()
	case len(args) == 1 && args[0] == "prove":
		return i.prove()
	}
	return unix.EINVAL
}

// attach makes the checks of the module; that the front leads here, it finds out
// by a read.
func (i *interpose) attach(arg string) error {
	front, err := i.k.lowerDevice(arg)
	switch {
	case i.front != nil || i.d.redirect != nil:
		return unix.EBUSY
	case err != nil:
		return err
	case front.dm == nil:
		return unix.ENOTBLK
	case front.dm.suspended:
		return unix.EIO
	case front.size() != i.tg.length || front.logical != i.d.logical:
		return unix.EINVAL
	case !i.k.leadsTo(front, i.tg.table.md.dev):
		return unix.EXDEV
	}
	if err := i.k.openDevice(front, claimKinds); err != nil {
		return err
	}
	i.front, i.d.redirect = front, front
	return nil
}

// prove reads the device, and looks whether the read comes by here.
func (i *interpose) prove() error {
	switch {
	case i.front == nil:
		return unix.ENOTCONN
	case i.front.dm.suspended:
		return unix.EIO
	case i.astray, !i.k.leadsTo(i.front, i.tg.table.md.dev):
		i.lost = true
		return unix.ENOLINK
	}
	return nil
}

// detach waits until the front has done everything that was handed to it.
func (i *interpose) detach() error {
	if i.front == nil {
		return unix.ENOTCONN
	}
	if i.front.dm.suspended {
		return i.k.hang("detach from %s, which is suspended", i.front.name)
	}
	i.letGo()
	return nil
}

func (i *interpose) letGo() {
	i.k.closeDevice(i.front)
	i.front, i.d.redirect, i.lost, i.astray = nil, nil, false, false
}

func (i *interpose) destroy() {
	if i.front != nil {
		i.letGo()
	}
	i.k.closeDevice(i.d)
}

// leadsTo tells whether d is or stands on another device.
func (k *Kernel) leadsTo(d, low *device) bool {
	for _, below := range k.closure(d) {
		if below == low {
			return true
		}
	}
	return false
}

// Bypass counts a write to the sectors of a redirected device that came by
// another name.
func (k *Kernel) Bypass(base string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	interposeOf(k.named(base).dev).bypassed++
}

// EndRedirect ends the redirect of a base, as a detach that was left alone does when
// the front has nothing more to do.
func (k *Kernel) EndRedirect(base string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	interposeOf(k.named(base).dev).letGo()
}

// Unplug removes the plain device beneath a base, which still holds it and has
// met an error.
func (k *Kernel) Unplug(base string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	md := k.named(base)
	interposeOf(md.dev).d.dead = true
	k.tableEvent(md)
}

// Mislead has the writes to a redirected device pass the front without being
// counted, as on a kernel that calls what is hooked in another way.
func (k *Kernel) Mislead(base string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	interposeOf(k.named(base).dev).astray = true
}
