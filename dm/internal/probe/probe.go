package probe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// Found is what a device carries.
type Found struct {
	Type string // as blkid and mount name it; "" if nothing was recognised
	// Filesystem is false for volumes of other layers: LVM, LUKS, RAID, swap, a
	// partition table.
	Filesystem bool
	// NeedsRecovery means that an ext journal must be replayed before use.
	NeedsRecovery bool
}

// magic is one signature: bytes at an offset.
type magic struct {
	name   string
	offset int64
	bytes  string
	fs     bool
}

// Offsets and bytes are those of the kernel's own headers and of libblkid's
// probers; the first match counts. Outer layers come before ext: their headers
// are short and may leave an old superblock behind them whole.
var outer = []magic{
	{"crypto_LUKS", 0, "LUKS\xba\xbe", false},
	{"DM_snapshot_cow", 0, "SnAp", false},
	{"LVM2_member", 0x218, "LVM2 001", false},
	{"LVM2_member", 0x18, "LVM2 001", false},
	{"LVM2_member", 0x418, "LVM2 001", false},
	{"LVM2_member", 0x618, "LVM2 001", false},
	{"ceph_bluestore", 0, "bluestore block device", false},
	{"stratis", 0x204, stratis, false},
	{"stratis", 0x1204, stratis, false},
	{"linux_raid_member", 0x1000, "\xfc\x4e\x2b\xa9", false},
	{"linux_raid_member", 0, "\xfc\x4e\x2b\xa9", false},
	{"bcache", 0x1018, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca", false},
	{"bcachefs", 0x1018, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef", true},
}

const stratis = "!Stra0tis\x86\xff\x02^\x41rh"

var magics = []magic{
	{"xfs", 0, "XFSB", true},
	{"btrfs", 0x10040, "_BHRfS_M", true},
	{"f2fs", 0x400, "\x10\x20\xf5\xf2", true},
	{"jfs", 0x8000, "JFS1", true},
	{"nilfs2", 0x406, "\x34\x34", true},
	{"gfs2", 0x10000, "\x01\x16\x19\x70", true},
	{"ntfs", 3, "NTFS    ", true},
	{"exfat", 3, "EXFAT   ", true},
	{"vfat", 0x52, "FAT32   ", true},
	{"vfat", 0x36, "FAT16   ", true},
	{"vfat", 0x36, "FAT12   ", true},
	{"apfs", 0x20, "NXSB", true},
	{"ocfs2", 0x400, "OCFSV2", true},
	{"ocfs2", 0x800, "OCFSV2", true},
	{"ocfs2", 0x1000, "OCFSV2", true},
	{"ocfs2", 0x2000, "OCFSV2", true},
	{"reiserfs", 0x10034, "ReIsErFs", true},
	{"reiserfs", 0x10034, "ReIsEr2Fs", true},
	{"reiserfs", 0x10034, "ReIsEr3Fs", true},
	{"reiserfs", 0x2034, "ReIsErFs", true},
	{"reiser4", 0x10000, "ReIsEr4", true},
	{"hfsplus", 0x400, "H+\x00\x04", true},
	{"hfsplus", 0x400, "HX\x00\x05", true},
	{"hfs", 0x400, "BD", true},
	{"squashfs", 0, "hsqs", true},
	{"erofs", 0x400, "\xe2\xe1\xf5\xe0", true},
	{"iso9660", 0x8001, "CD001", true},
	{"swap", 0xff6, "SWAPSPACE2", false},
	{"gpt", 0x200, "EFI PART", false},
	{"gpt", 0x1000, "EFI PART", false},
}

// headBytes is how much of a device is looked at.
const headBytes = 0x10048

// Identify looks at the head of a device.
func Identify(r io.ReaderAt) (Found, error) {
	head := make([]byte, headBytes)
	n, err := r.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Found{}, err
	}
	head = head[:n]
	if f, ok := match(head, outer); ok {
		return f, nil
	}
	if f, ok := ext(head); ok {
		return f, nil
	}
	if f, ok := match(head, magics); ok {
		return f, nil
	}
	if dos(head) {
		return Found{Type: "dos"}, nil
	}
	return Found{}, nil
}

func match(head []byte, among []magic) (Found, bool) {
	for _, m := range among {
		if int64(len(head)) >= m.offset+int64(len(m.bytes)) && bytes.HasPrefix(head[m.offset:], []byte(m.bytes)) {
			return Found{Type: m.name, Filesystem: m.fs}, true
		}
	}
	return Found{}, false
}

// Fields of struct ext4_super_block (fs/ext4/ext4.h), at 1024.
const (
	extMagic        = 0x438
	extCompat       = 0x45c
	extIncompat     = 0x460
	extROCompat     = 0x464
	extHasJournal   = 0x4
	extRecover      = 0x4
	extJournalDev   = 0x8
	extExtents      = 0x40
	ext64bitFlexBG  = 0x80 | 0x200
	extNewerRO      = 0x8 | 0x10 | 0x20 | 0x40 | 0x400 // huge_file ... metadata_csum
	extSuperBlock   = 1024
	extSuperBlockSz = 1024
)

func ext(b []byte) (Found, bool) {
	if len(b) < extSuperBlock+extSuperBlockSz || binary.LittleEndian.Uint16(b[extMagic:]) != 0xef53 {
		return Found{}, false
	}
	compat, incompat := binary.LittleEndian.Uint32(b[extCompat:]), binary.LittleEndian.Uint32(b[extIncompat:])
	roCompat := binary.LittleEndian.Uint32(b[extROCompat:])
	f := Found{Type: "ext2", Filesystem: true, NeedsRecovery: incompat&extRecover != 0}
	switch {
	case incompat&extJournalDev != 0:
		return Found{Type: "jbd"}, true
	case incompat&(extExtents|ext64bitFlexBG) != 0, roCompat&extNewerRO != 0:
		f.Type = "ext4"
	case compat&extHasJournal != 0:
		f.Type = "ext3"
	}
	return f, true
}

// dos recognises a partition table: its mark, and four entries that are empty or
// begin with a known status byte, at least one of them used.
func dos(b []byte) bool {
	if len(b) < 512 || b[510] != 0x55 || b[511] != 0xaa {
		return false
	}
	used := false
	for e := 446; e < 510; e += 16 {
		if b[e] != 0 && b[e] != 0x80 {
			return false
		}
		used = used || b[e+4] != 0
	}
	return used
}
