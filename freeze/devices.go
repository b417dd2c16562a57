package freeze

import "github.com/dmsnap/dmsnap/ioctl"

// Devices are the block devices a mount's filesystem lives on: one for most
// types, all members for btrfs. It is empty where the filesystem has no block
// device, or does not tell (see Problems).
func (t *Table) Devices(m Mount) []ioctl.DevNo {
	if spansDevices(m) {
		return t.members[m.DevNo]
	}
	if m.DevNo.Major == 0 {
		return nil
	}
	return []ioctl.DevNo{m.DevNo}
}
