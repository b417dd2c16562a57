package ioctltest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// signature is where a filesystem's superblock keeps its magic and its uuid.
// They are in the contents of the device, so an image has those of its origin.
type signature struct {
	fstype string
	off    uint64
	magic  []byte
	uuid   uint64
	bytes  int // of the uuid
}

func signatures() []signature {
	return []signature{
		{"xfs", 0, []byte("XFSB"), 32, 16},
		{"ext4", 1024 + 56, []byte{0x53, 0xef}, 1024 + 104, 16},
		{"btrfs", 64<<10 + 64, []byte("_BHRfS_M"), 64<<10 + 32, 16},
		{"f2fs", 1024, []byte{0x10, 0x20, 0xf5, 0xf2}, 1024 + 108, 16},
		{"vfat", 82, []byte("FAT32   "), 67, 4},
		{"fuseblk", 3, []byte("NTFS    "), 0x48, 4}, // as ntfs-3g mounts it
		{"squashfs", 0, []byte("hsqs"), 8, 4},       // the time of its making: it has no uuid
	}
}

// Feature bytes of struct ext4_super_block, fs/ext4/ext4.h.
const (
	extCompat     = 1024 + 0x5c
	extIncompat   = 1024 + 0x60
	extHasJournal = 0x04
	extRecover    = 0x04
	extExtents    = 0x40
)

// showRecovery makes the superblock of an image say whether its journal must
// be replayed: a freeze clears that, and nothing else does. Real kernels write
// it to the origin at freeze and thaw; here it is added on reading, so that a
// freeze does not count as a change of the origin and fill stores.
func (s *snapshot) showRecovery(off uint64, b []byte) {
	if off > extIncompat || off+uint64(len(b)) <= extIncompat {
		return
	}
	for _, c := range s.cut {
		if c.fstype != "ext4" {
			continue
		}
		b[extIncompat-off] &^= extRecover
		if !c.clean {
			b[extIncompat-off] |= extRecover
		}
	}
}

// probe is what blkid does.
func (k *Kernel) probe(d *device) (fstype, uuid string) {
	for _, s := range signatures() {
		magic, id := make([]byte, len(s.magic)), make([]byte, s.bytes)
		if k.read(d, s.off, magic) == nil && bytes.Equal(magic, s.magic) && k.read(d, s.uuid, id) == nil {
			return s.fstype, formatUUID(id)
		}
	}
	return "", ""
}

func formatUUID(id []byte) string {
	if len(id) == 4 { // the volume id of a FAT
		return fmt.Sprintf("%02X%02X-%02X%02X", id[3], id[2], id[1], id[0])
	}
	s := hex.EncodeToString(id)
	return fmt.Sprintf("%s-%s-%s-%s-%s", s[:8], s[8:12], s[12:16], s[16:20], s[20:])
}

// format writes a filesystem's signature; the uuid follows from the device.
func (k *Kernel) format(d *device, fstype string) {
	for _, s := range signatures() {
		if s.fstype != fstype {
			continue
		}
		if fstype == "ext4" { // otherwise it would be an ext2
			must("format "+d.name, k.write(d, extCompat, []byte{extHasJournal}))
			must("format "+d.name, k.write(d, extIncompat, []byte{extExtents}))
		}
		id := sha256.Sum256([]byte(d.name + fstype))
		if k.write(d, s.off, s.magic) != nil || k.write(d, s.uuid, id[:s.bytes]) != nil {
			panic("ioctltest: cannot format " + d.name)
		}
		return
	}
	panic("ioctltest: no signature known for " + fstype)
}
