package stack

import "testing"

// TestRemoteByPlace: where disks of other machines, and others, lie in sysfs.
func TestRemoteByPlace(t *testing.T) {
	for place, want := range map[string]bool{
		"../../devices/platform/host2/session1/target2:0:0/2:0:0:0/block/sda":                        true, // iSCSI
		"../../devices/virtual/nvme-fabrics/ctl/nvme0/nvme0n1":                                       true,
		"../../devices/virtual/block/nbd0":                                                           true,
		"../../devices/virtual/block/nbd0/nbd0p1":                                                    true,
		"../../devices/virtual/block/drbd1":                                                          true,
		"../../devices/rbd/0/block/rbd0":                                                             true,
		"../../devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda":             false,
		"../../devices/pci0000:00/0000:00:1d.0/0000:03:00.0/nvme/nvme0/nvme0n1":                      false,
		"../../devices/pci0000:00/0000:00:04.0/virtio1/block/vda/vda1":                               false,
		"../../devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host4/target4:0:0/4:0:0:0/block/sdc": false, // told by usb
	} {
		if got := remote.MatchString(place); got != want {
			t.Errorf("%s: %v", place, got)
		}
	}
}
