package dm

import (
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/pace"
	"github.com/dmsnap/dmsnap/ioctl"
)

// monitoredVolume is a volume as its monitor knows it.
type monitoredVolume struct {
	image           ioctl.ID
	set, name       string
	state, reported State // current; the last one sent as an event
	store           pace.Store
	due             time.Time // to be measured
	low             bool      // already sent as an event
	readBy          []string  // sets that are lost with it
	stopped         bool      // nothing is copied into the store any more
}

// growable reports whether more room helps: not if the image is lost, reads through a
// newer one, or has a store with room for every chunk of the origin.
func (x *monitoredVolume) growable() bool {
	return x.state == StateActive && !x.stopped && x.store.HasUse()
}
