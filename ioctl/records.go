package ioctl

import (
	"fmt"

	"github.com/dmsnap/dmsnap/internal/devno"
)

// Version is the version of the interface or of a target.
type Version struct{ Major, Minor, Patch uint32 }

// String is "4.47.0".
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// AtLeast reports whether v has the same major number and is not older. Another
// major number promises nothing.
func (v Version) AtLeast(major, minor uint32) bool { return v.Major == major && v.Minor >= minor }

func parseVersion(b []byte) Version {
	return Version{Major: native.Uint32(b), Minor: native.Uint32(b[4:]), Patch: native.Uint32(b[8:])}
}

// Entry is one device of a list.
type Entry struct {
	Dev        DevNo
	Name, UUID string
	EventNr    uint32 // as in Info; starts at 0 with the device
}

// parseNames decodes the reply of LIST_DEVICES: struct dm_name_list (dev 0, next
// 8, name 12), padding, event_nr, flags, padding, uuid. next counts from its own
// record, 0 is the last; dev 0 in the first record is the empty list.
func parseNames(b []byte) ([]Entry, error) {
	if len(b) == 0 || len(b) >= 8 && native.Uint64(b) == 0 {
		return nil, nil
	}
	var entries []Entry
	for {
		if len(b) < nameFixed {
			return nil, ErrBadReply
		}
		rec := b
		next := uint64(native.Uint32(b[8:]))
		if next > uint64(len(b)) {
			return nil, ErrBadReply
		}
		if next != 0 {
			rec = b[:next]
		}
		e, err := parseName(rec)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
		if next == 0 {
			return entries, nil
		}
		b = b[next:]
	}
}

const (
	nameFixed = 12 // offsetof(struct dm_name_list, name)
	// nameHasUUID is DM_NAME_LIST_FLAG_HAS_UUID, set only if the request had the
	// uuid flag. Kernels before 5.13 have no flags, and zeros in their place.
	nameHasUUID = 1
)

// parseName decodes one name record that is cut off where the next one starts.
func parseName(rec []byte) (Entry, error) {
	if len(rec) < nameFixed {
		return Entry{}, ErrBadReply
	}
	name, length, err := text(rec[nameFixed:])
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Dev: devno.FromHuge(native.Uint64(rec)), Name: name}
	at := padded(nameFixed + length + 1)
	if len(rec)-at < 4 {
		return Entry{}, ErrBadReply
	}
	e.EventNr = native.Uint32(rec[at:])
	if len(rec)-at < 8 || native.Uint32(rec[at+4:])&nameHasUUID == 0 {
		return e, nil
	}
	e.UUID, _, err = text(rec[min(padded(at+8), len(rec)):])
	return e, err
}

// parseDeps decodes the reply of TABLE_DEPS: struct dm_target_deps (count 0,
// padding 4, dev 8...), or nothing for a device without a table.
func parseDeps(b []byte) ([]DevNo, error) {
	const fixed = 8
	if len(b) == 0 {
		return nil, nil
	}
	if len(b) < fixed {
		return nil, ErrBadReply
	}
	count := native.Uint32(b)
	if uint64(count)*8 > uint64(len(b)-fixed) {
		return nil, ErrBadReply
	}
	deps := make([]DevNo, count)
	for i := range deps {
		deps[i] = devno.FromHuge(native.Uint64(b[fixed+8*i:]))
	}
	return deps, nil
}

// TargetVersion is a target type the kernel has loaded.
type TargetVersion struct {
	Name    string
	Version Version
}

// parseVersions decodes the reply of LIST_VERSIONS and GET_TARGET_VERSION: struct
// dm_target_versions (next 0, version 4, name 16). next counts from its own record.
func parseVersions(b []byte) ([]TargetVersion, error) {
	const fixed = 16
	var targets []TargetVersion
	for len(b) > 0 {
		if len(b) < fixed {
			return nil, ErrBadReply
		}
		name, length, err := text(b[fixed:])
		if err != nil {
			return nil, err
		}
		targets = append(targets, TargetVersion{Name: name, Version: parseVersion(b[4:])})
		next := uint64(native.Uint32(b))
		if next == 0 {
			break
		}
		if next < uint64(fixed+length+1) || next > uint64(len(b)) {
			return nil, ErrBadReply
		}
		b = b[next:]
	}
	return targets, nil
}
