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
		id := sha256.Sum256([]byte(d.name + fstype))
		if k.write(d, s.off, s.magic) != nil || k.write(d, s.uuid, id[:s.bytes]) != nil {
			panic("ioctltest: cannot format " + d.name)
		}
		return
	}
	panic("ioctltest: no signature known for " + fstype)
}
