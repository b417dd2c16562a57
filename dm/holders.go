package dm

import (
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/freeze"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// holderFinder finds out who uses a device.
type holderFinder struct {
	kernel *ioctl.Kernel
	read   *stack.Reader
}

// busy names everybody who holds a device: mounts in any namespace, processes,
// other devices.
func (f holderFinder) busy(device string, dev targets.DevNo) *BusyError {
	b := &BusyError{Device: device}
	if mounts, err := freeze.Mounts(f.kernel); err == nil {
		for _, m := range mounts.Of(dev) {
			b.Holders = append(b.Holders, f.mount(device, m))
		}
	}
	for _, p := range f.read.Openers(dev) {
		b.Holders = append(b.Holders, Holder{Kind: HolderProcess, Device: device, PID: p.PID, Command: p.Command})
	}
	for _, name := range f.read.HolderNames(dev) {
		b.Holders = append(b.Holders, Holder{Kind: HolderDevice, Device: device, Path: name})
	}
	return b
}

func (f holderFinder) mount(device string, m freeze.Mount) Holder {
	h := Holder{Kind: HolderMount, Device: device, Path: m.Path}
	if m.PID != 0 {
		h.Namespace, h.PID, h.Command = m.Namespace, m.PID, f.read.Command(m.PID)
	}
	return h
}
