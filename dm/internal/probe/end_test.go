package probe_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/probe"
)

// TestIdentifyDevice: what has its mark at the end only, or in many places.
func TestIdentifyDevice(t *testing.T) {
	const size = 8<<20 + 512
	for name, row := range map[string]struct {
		at   int
		text string
		typ  string
	}{
		"nothing":      {0, "", ""},
		"filesystem":   {0, "XFSB", "xfs"},
		"md 0.90":      {8<<20 - 64<<10, "\xfc\x4e\x2b\xa9", "linux_raid_member"},
		"md 0.90, be":  {8<<20 - 64<<10, "\xa9\x2b\x4e\xfc", "linux_raid_member"},
		"md 1.0":       {8<<20 - 8<<10, "\xfc\x4e\x2b\xa9", "linux_raid_member"},
		"gpt's second": {size - 512, "EFI PART", "gpt"},
		"imsm":         {size - 1024, "Intel Raid ISM Cfg Sig. 1.3", "isw_raid_member"},
		"ddf":          {size - 512, "\xde\x11\xde\x11", "ddf_raid_member"},
		"zfs, first":   {128<<10 + 4096, uberblock(binary.LittleEndian), "zfs_member"},
		"zfs, last":    {8<<20 - 64<<10 + 1024, uberblock(binary.BigEndian), "zfs_member"},
	} {
		b := make([]byte, size)
		copy(b[row.at:], row.text)
		if got, err := probe.IdentifyDevice(bytes.NewReader(b), size); err != nil || got.Type != row.typ {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for _, small := range []uint64{0, 512, 64 << 10, 300 << 10} {
		if got, err := probe.IdentifyDevice(bytes.NewReader(make([]byte, small)), small); err != nil || got.Type != "" {
			t.Errorf("%d bytes: %+v, %v", small, got, err)
		}
	}
}

func uberblock(order binary.ByteOrder) string {
	b := make([]byte, 8)
	order.PutUint64(b, 0x00bab10c)
	return string(b)
}

// TestFromUdev: udev is believed in what we do not know ourselves.
func TestFromUdev(t *testing.T) {
	for entry, want := range map[string]string{
		"": "",
		"S:disk/by-id/x\nE:ID_FS_TYPE=drbd\nE:ID_FS_USAGE=other\n": "drbd",
		"E:ID_FS_TYPE=ext4\n":                       "",
		"E:ID_FS_TYPE=\nE:ID_PART_TABLE_TYPE=sun\n": "sun",
		"E:ID_PART_TABLE_TYPE=gpt\n":                "",
		"I:12\nE:ID_MODEL=drbd\n":                   "",
	} {
		if got := probe.FromUdev(entry); got != want {
			t.Errorf("%q: %q, want %q", entry, got, want)
		}
	}
}
