package dm

import (
	"context"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestAtomicWritesAreAnnounced: doctor names what the module may refuse a device for.
func TestAtomicWritesAreAnnounced(t *testing.T) {
	for unit, noted := range map[string]bool{"0": false, "512": false, "16384": true} {
		h := newHost(t, ioctltest.Options{})
		h.AddDisk("nvme0n1", ioctl.DevNo{Major: 259, Minor: 0}, 16*mib, ioctltest.Attribute("queue/atomic_write_unit_max_bytes", unit))
		report, err := h.m.Doctor(context.Background(), "/dev/nvme0n1")
		check(t, err)
		notes := report.Origins[0].Notes
		if got := len(notes) == 1 && strings.Contains(notes[0].Message, "atomic writes of up to "+unit); got != noted {
			t.Errorf("unit %s: %+v", unit, notes)
		}
	}
}
