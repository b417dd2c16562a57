package dm

import (
	"log/slog"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/remains"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/freeze"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// lister finds out what sets there are.
type lister struct {
	kernel  *ioctl.Kernel
	read    *stack.Reader
	remains *remains.Reader
	state   journal.Dir
	log     *slog.Logger
	leases  leaseClock
}

// view is one look at the kernel.
type view struct {
	*stack.View
	from    *lister
	mounts  mounts // our own namespace's
	mounted map[ioctl.DevNo][]string
	fronts  map[targets.DevNo]*ioctl.Info // by base; none: bypassed
	pins    map[string]bool               // by the owner of the file
}

func (l *lister) look() (*view, error) {
	mounted, err := ownMounts(l.kernel)
	if err != nil {
		return nil, err
	}
	v, err := l.scanDevices()
	if err != nil {
		return nil, err
	}
	v.mounts, v.mounted, v.pins = mounted, mounted.byDevice(), map[string]bool{}
	pins, err := store.Pins(l.kernel)
	for _, p := range pins {
		v.pins[p.Owner] = true
	}
	return v, err
}

// scanDevices loads the view without finding out where images are mounted.
func (l *lister) scanDevices() (*view, error) {
	ours, err := l.read.Look()
	if err != nil {
		return nil, err
	}
	fronts, err := l.read.LiveFronts(ours)
	if err != nil {
		return nil, err
	}
	return &view{View: ours, from: l, fronts: fronts, mounts: mounts{&freeze.Table{}}}, nil
}
