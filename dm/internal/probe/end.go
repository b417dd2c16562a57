package probe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// IdentifyDevice looks at both ends of a device: some layers keep theirs at the end
// only, and what lies before it looks like nothing, or like what is inside.
func IdentifyDevice(r io.ReaderAt, size uint64) (Found, error) {
	for _, look := range []func(io.ReaderAt, uint64) (Found, error){end, zfs} {
		if f, err := look(r, size); err != nil || f.Type != "" {
			return f, err
		}
	}
	return Identify(r)
}

// ending is one signature near the end of a device.
type ending struct {
	name  string
	at    func(size uint64) uint64
	bytes string
}

func fromEnd(n uint64) func(uint64) uint64 { return func(size uint64) uint64 { return size - n } }

// md's superblocks are where drivers/md/md.c has them (calc_dev_sboffset and
// super_1_load), the others where libblkid's probers look.
func mdOld(size uint64) uint64 { return size/(64<<10)*(64<<10) - 64<<10 }
func mdNew(size uint64) uint64 { return (size/512 - 16) / 8 * 8 * 512 }

var endings = []ending{
	{"linux_raid_member", mdOld, "\xfc\x4e\x2b\xa9"},
	{"linux_raid_member", mdOld, "\xa9\x2b\x4e\xfc"},
	{"linux_raid_member", mdNew, "\xfc\x4e\x2b\xa9"},
	{"isw_raid_member", fromEnd(1024), "Intel Raid ISM Cfg Sig. "},
	{"ddf_raid_member", fromEnd(512), "\xde\x11\xde\x11"},
	{"gpt", fromEnd(512), "EFI PART"},
	{"gpt", fromEnd(4096), "EFI PART"},
}

const endBytes = 128 << 10 // md's old superblock begins no further from the end

func end(r io.ReaderAt, size uint64) (Found, error) {
	if size < 2*endBytes {
		return Found{}, nil
	}
	tail := make([]byte, endBytes)
	if err := readFull(r, tail, size-endBytes); err != nil {
		return Found{}, err
	}
	for _, e := range endings {
		if bytes.HasPrefix(tail[e.at(size)-(size-endBytes):], []byte(e.bytes)) {
			return Found{Type: e.name}, nil
		}
	}
	return Found{}, nil
}

// ZFS has four labels of 256 KiB, two at each end; the upper half of each is a ring
// of uberblocks, 1 KiB apart or more, in either byte order.
const (
	zfsLabel = 256 << 10
	zfsRing  = 128 << 10
	zfsMagic = 0x00bab10c
)

func zfs(r io.ReaderAt, size uint64) (Found, error) {
	if size < 8*zfsLabel {
		return Found{}, nil
	}
	end := size / zfsLabel * zfsLabel
	ring := make([]byte, zfsLabel-zfsRing)
	for _, label := range []uint64{0, zfsLabel, end - 2*zfsLabel, end - zfsLabel} {
		if err := readFull(r, ring, label+zfsRing); err != nil {
			return Found{}, err
		}
		for at := 0; at < len(ring); at += 1 << 10 {
			if binary.LittleEndian.Uint64(ring[at:]) == zfsMagic || binary.BigEndian.Uint64(ring[at:]) == zfsMagic {
				return Found{Type: "zfs_member"}, nil
			}
		}
	}
	return Found{}, nil
}

func readFull(r io.ReaderAt, b []byte, at uint64) error {
	n, err := r.ReadAt(b, int64(at))
	if n == len(b) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
