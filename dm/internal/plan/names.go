package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// Role says what one of our devices is for; it is the last part of its uuid.
type Role string

// The roles. A front keeps its own name and uuid; only the front of a plain
// device is ours.
const (
	RoleBase  Role = "base"
	RoleStore Role = "store"
	RoleImage Role = "image"
	RoleCore  Role = "core"
	RoleFront Role = "front"
	// RoleLower is what a base stands on that has the table of a layer.
	RoleLower Role = "lower"
	// RoleAdopted is an origin like others' devices, which we only made.
	RoleAdopted Role = "adopted"
)

const (
	// NamePrefix and UUIDPrefix mark everything we create.
	NamePrefix = "dmsnap-"
	UUIDPrefix = "DMSNAP-"
	// maxName is DM_NAME_LEN less the NUL (include/uapi/linux/dm-ioctl.h).
	maxName    = 127
	maxSetName = 64
)

// BaseName is the device that carries an origin's own table beneath its front.
func BaseName(volume string) string { return NamePrefix + "base-" + volume }

// FrontName is the device that takes a plain device's place for its writers.
func FrontName(volume string) string { return NamePrefix + "front-" + volume }

// LowerName is the device between a base that has the table of a layer and the plain
// device.
func LowerName(volume string) string { return NamePrefix + "lower-" + volume }

// BaseNameOf is the name of a base, or of the one that the device beneath it is made for.
func BaseNameOf(name string) string {
	if volume, lower := strings.CutPrefix(name, LowerName("")); lower {
		return BaseName(volume)
	}
	return name
}

// AdoptedName is the device that was put on top of a plain device while nothing used
// it. Users mount it, so it says what it is.
func AdoptedName(volume string) string { return "adopted-" + volume }

// StorePrefix is what names of stores begin with.
const StorePrefix = NamePrefix + "store-"

// StoreName is the exception store of a volume of a set.
func StoreName(set, volume string) string { return StorePrefix + set + "-" + volume }

// ImageName is the snapshot that users read.
func ImageName(set, volume string) string { return NamePrefix + set + "-" + volume }

// CoreName is the snapshot beneath an image that older ones may read through. They
// claim it, so that it could not be mounted.
func CoreName(set, volume string) string { return CorePrefix + set + "-" + volume }

// CorePrefix is what names of cores begin with.
const CorePrefix = NamePrefix + "core-"

// StoreDir is the directory of stores' files at the root of a filesystem, and DirTag
// what tells programs that know it to leave the directory out of backups
// (bford.info/cachedir). FilePrefix is what names of files began with that lay
// beside the directory.
const (
	StoreDir   = ".dmsnap"
	DirTag     = "CACHEDIR.TAG"
	FilePrefix = ".dmsnap-"
)

// MemoryName is the file of a store in memory, at the root of a filesystem that
// is mounted nowhere: what a loop device of one calls its file.
const MemoryName = "dmsnap-memory"

// FileName is the file of a volume's store at the root of its filesystem, where the
// user named a directory or nothing. It ends in what the file is for, which tells
// whose it is should all else be lost.
func FileName(id string, volume int) string { return StoreDir + "/" + FileOwner(id, volume) }

// OldFileName is the same of earlier versions.
func OldFileName(id string, volume int) string { return FilePrefix + FileOwner(id, volume) }

// FileOwner is the volume whose store a file is.
func FileOwner(id string, volume int) string { return fmt.Sprintf("%s.%d", id, volume) }

// FurtherName is the name of a further file of a store; number counts from 1.
func FurtherName(id string, volume, number int) string {
	return fmt.Sprintf("%s.%d", FileName(id, volume), number)
}

// OwnerOf is the mark of the pin of a file of a volume's store: each has its own.
func OwnerOf(path, id string, volume int) string {
	owner := FileOwner(id, volume)
	if name := path[strings.LastIndexByte(path, '/')+1:]; IsFurther(name, id, volume) {
		return name
	}
	return owner
}

// IsFurther reports whether a name is that of a further file of a volume's store.
func IsFurther(name, id string, volume int) bool {
	return strings.HasPrefix(name, FileOwner(id, volume)+".")
}

// BaseUUID is the uuid of a base; id is random and its own, because a base
// serves all sets of its origin.
func BaseUUID(id string) string { return UUIDPrefix + id + "-" + string(RoleBase) }

// FrontUUID is the uuid of a plain device's front; id is that of its base.
func FrontUUID(id string) string { return UUIDPrefix + id + "-" + string(RoleFront) }

// LowerUUID is the uuid of the device beneath a base; id is that of the base.
func LowerUUID(id string) string { return UUIDPrefix + id + "-" + string(RoleLower) }

// AdoptedUUID is the uuid of an adopted device; id is its own.
func AdoptedUUID(id string) string { return UUIDPrefix + id + "-" + string(RoleAdopted) }

// Member tells whether a device of the role belongs to one set.
func (r Role) Member() bool { return r == RoleStore || r == RoleImage || r == RoleCore }

// MemberUUID is the uuid of a store or image: set id and number of the volume,
// so that the kernel's list alone tells which devices belong together.
func MemberUUID(id string, volume int, r Role) string {
	return fmt.Sprintf("%s%s.%d-%s", UUIDPrefix, id, volume, r)
}

// ParseUUID takes a uuid of ours apart. Volume is -1 for what belongs to no set.
func ParseUUID(uuid string) (id string, volume int, role Role, ok bool) {
	rest, ours := strings.CutPrefix(uuid, UUIDPrefix)
	cut := strings.LastIndexByte(rest, '-')
	if !ours || cut < 1 {
		return "", 0, "", false
	}
	id, role = rest[:cut], Role(rest[cut+1:])
	if role == RoleBase || role == RoleFront || role == RoleLower || role == RoleAdopted {
		return id, -1, role, true
	}
	id, number, found := strings.Cut(id, ".")
	n, err := strconv.Atoi(number)
	if !found || err != nil || id == "" || n < 0 || !role.Member() || uuid != MemberUUID(id, n, role) {
		return "", 0, "", false
	}
	return id, n, role, true
}

// CheckSetName accepts names that libdm shows unmangled and that cannot collide
// with the names of our hidden devices.
func CheckSetName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a set needs a name")
	case len(name) > maxSetName:
		return fmt.Errorf("set name is longer than %d bytes", maxSetName)
	case name[0] == '.' || name[0] == '-': // our own files begin with a dot
		return fmt.Errorf("set name %q cannot be used as a device name", name)
	}
	for _, reserved := range []string{"base", "store", "front", "lower", "era", "core", "layer"} {
		if name == reserved || strings.HasPrefix(name, reserved+"-") {
			return fmt.Errorf("set name %q is reserved: hidden devices have such names", name)
		}
	}
	if i := strings.IndexFunc(name, func(r rune) bool { return !plainName(r) }); i >= 0 {
		return fmt.Errorf("set name %q: use letters, digits and #+-.:=@_ only", name)
	}
	return nil
}

// plainName is the set libdm keeps as it is (libdm-common.c, _is_whitelisted_char).
func plainName(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("#+-.:=@_", r)
}

// VolumeName makes a volume's name from its origin's. What libdm would mangle
// becomes '_', and a name changed or cut gets a hash so that two never meet.
func VolumeName(origin string) string {
	const room = maxName - len(NamePrefix) - len("store-") - maxSetName - 1
	clean := strings.Map(func(r rune) rune {
		if plainName(r) {
			return r
		}
		return '_'
	}, origin)
	if clean == origin && len(clean) <= room {
		return clean
	}
	sum := sha256.Sum256([]byte(origin))
	suffix := "." + hex.EncodeToString(sum[:4])
	if len(clean) > room-len(suffix) {
		clean = clean[:room-len(suffix)]
	}
	return clean + suffix
}

// firstStable begins the upper half of a kernel's minor numbers (20 bits), which it
// gives to devices by itself only when the lower half is used up.
const firstStable = 1 << 19

// StableMinor is the number that images of an origin have whenever it is free. Programs
// that keep st_dev of what they have read find the same one the next time.
func StableMinor(origin Origin) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(cmp.Or(origin.UUID, origin.Path))) // never fails (hash.Hash)
	return firstStable + h.Sum32()%firstStable
}

// IsStableMinor tells whether a number is one of those.
func IsStableMinor(minor uint32) bool { return minor >= firstStable }
