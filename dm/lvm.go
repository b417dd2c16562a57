package dm

import (
	"errors"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/probe"
	"github.com/dmsnap/dmsnap/targets"
)

// lvm2 takes every device that carries a label of its for the physical volume,
// base and image of an origin too, and refuses to change a group whose volumes it
// sees twice. It skips devices by the prefixes of a few uuids and by its own
// filters: nothing that we could set on a device (device_is_usable,
// lib/activate/dev_manager.c).
const (
	lvmConfig  = "/etc/lvm/lvm.conf"
	lvmLocal   = "/etc/lvm/lvmlocal.conf" // overrides lvm.conf
	lvmDevices = "/etc/lvm/devices/system.devices"

	lvmFilter = `"r|^/dev/mapper/dmsnap-|"`
)

var (
	ownFilter  = regexp.MustCompile(`(?m)^[^#]*\b(?:global_filter|filter)\s*=\s*\[?[^#]*dmsnap-`)
	someFilter = regexp.MustCompile(`(?m)^[^#]*\bglobal_filter\s*=`)
	devicesOff = regexp.MustCompile(`(?m)^[^#]*\buse_devicesfile\s*=\s*0`)
)

// lvmNotes says of an origin that holds a physical volume, itself or on a device
// above it, how lvm2 must be configured. It is empty if there is none, where lvm2 is
// not installed, and where it knows.
func (x *examiner) lvmNotes(o plan.Origin, above []targets.DevNo) []Problem {
	main, err := x.kernel.ReadFile(lvmConfig)
	if err != nil {
		return nil
	}
	local, _ := x.kernel.ReadFile(lvmLocal) // need not be there
	text := string(main) + "\n" + string(local)
	if _, err := x.kernel.Stat(lvmDevices); err == nil && !devicesOff.MatchString(text) || ownFilter.MatchString(text) || !x.holdsPV(above) {
		return nil
	}
	hint := `echo 'devices/global_filter = [ ` + lvmFilter + ` ]' >> ` + lvmLocal
	if someFilter.MatchString(text) {
		hint = "put " + lvmFilter + " first into global_filter in " + lvmConfig
		if someFilter.Match(local) {
			hint = "put " + lvmFilter + " first into global_filter in " + lvmLocal
		}
	}
	return []Problem{{
		Message: o.Path + " holds an LVM physical volume: while it has a set, lvm2 sees that volume several times, and lvcreate, lvextend, vgchange and pvchange fail for its volume group",
		Hint:    hint,
	}}
}

// warnLVM says it before a set is cut.
func (x *examiner) warnLVM(o plan.Origin, above []targets.DevNo) {
	for _, n := range x.lvmNotes(o, above) {
		x.log.Warn(n.Message, "hint", n.Hint)
	}
}

// holdsPV looks for LVM's label. What cannot be read has none; reading from a
// suspended device would not return.
func (x *examiner) holdsPV(devices []targets.DevNo) bool {
	for _, d := range devices {
		if _, suspended, err := x.read.Suspended(d); err != nil || suspended {
			continue
		}
		f, err := x.kernel.Open(x.read.Node(d), unix.O_RDONLY, 0)
		if err != nil {
			continue
		}
		found, err := probe.Identify(f)
		if err = errors.Join(err, f.Close()); err == nil && strings.HasPrefix(found.Type, "LVM2") {
			return true
		}
	}
	return false
}
