package ioctl

const reqGetFSMap uint32 = 0xc0c0583b // FS_IOC_GETFSMAP of include/uapi/linux/fsmap.h

// Sizes and places of include/uapi/linux/fsmap.h.
const (
	fsmapHeader  = 192 // sizeof(struct fsmap_head), its two keys included
	fsmapRecord  = 64  // sizeof(struct fsmap)
	fsmapPerCall = 512 // records asked for at a time
	fsmapLowAt   = 64  // the low key in the head
	fsmapHighAt  = 128
	fsmapKey     = 32 // of a record, what a key is compared by

	fsmapSpecial = 0x10 // FMR_OF_SPECIAL_OWNER
	fsmapLast    = 0x20 // FMR_OF_LAST
	fsmapFree    = 1    // FMR_OWN_FREE
)

// Range is a range of a device in bytes.
type Range struct{ Start, Length uint64 }

// FreeSpace returns what nothing lies in on the device of the file's file system,
// in order: neither files nor metadata. Of a file system that is being written to
// it is out of date at once. It reads all of the file system's maps of free space.
// Of the file systems known ext4 and xfs can tell; EOPNOTSUPP or ENOTTY: this one
// cannot. Needs CAP_SYS_ADMIN.
func (f *File) FreeSpace() ([]Range, error) {
	const op = "free space of"
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var free []Range
	b := make([]byte, fsmapHeader+fsmapPerCall*fsmapRecord)
	native.PutUint32(b[8:], fsmapPerCall)
	for i := range fsmapKey {
		b[fsmapHighAt+i] = 0xff
	}
	for {
		err := restart(func() error {
			_, err := f.k.t.Ioctl(f.fd, reqGetFSMap, b)
			return err
		})
		if err != nil {
			return nil, wrap(op, f.path, err)
		}
		more, last, err := parseFSMap(b, uint32(st.Dev.Huge()))
		if err != nil {
			return nil, wrap(op, f.path, err)
		}
		if free = append(free, more...); last == nil {
			return free, nil
		}
		// What comes next begins where the last record ends.
		copy(b[fsmapLowAt:fsmapLowAt+fsmapRecord], last)
	}
}

// parseFSMap decodes the free ranges of one device: device 0, flags 4, physical 8,
// owner 16, length 32. Last is the record to go on from, nil if there are no more.
// Records must come in order, or the next call could ask the same again.
func parseFSMap(b []byte, dev uint32) (free []Range, last []byte, err error) {
	entries := native.Uint32(b[12:])
	if entries > fsmapPerCall {
		return nil, nil, ErrBadReply
	}
	key := b[fsmapLowAt : fsmapLowAt+fsmapRecord]
	onDev, at := native.Uint32(key), native.Uint64(key[8:])
	for i := range int(entries) {
		rec := b[fsmapHeader+i*fsmapRecord : fsmapHeader+(i+1)*fsmapRecord]
		d, flags, start, length := native.Uint32(rec), native.Uint32(rec[4:]), native.Uint64(rec[8:]), native.Uint64(rec[32:])
		if d < onDev || d == onDev && start < at || start+length < start {
			return nil, nil, ErrBadReply
		}
		if onDev, at = d, start; d == dev && flags&fsmapSpecial != 0 && native.Uint64(rec[16:]) == fsmapFree {
			free = append(free, Range{start, length})
		}
		if last = rec; flags&fsmapLast != 0 {
			return free, nil, nil
		}
	}
	return free, last, nil
}
