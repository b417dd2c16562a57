package ioctl

const reqFiemap uint32 = 0xc020660b // FS_IOC_FIEMAP of include/uapi/linux/fs.h

// Sizes of include/uapi/linux/fiemap.h.
const (
	fiemapHeader  = 32  // sizeof(struct fiemap)
	fiemapExtent  = 56  // sizeof(struct fiemap_extent)
	fiemapPerCall = 256 // extents asked for at a time
)

// FiemapFlags change what Extents reports.
type FiemapFlags uint32

const (
	FiemapSync  FiemapFlags = 1 // write the file out first: nothing is left undecided
	FiemapXattr FiemapFlags = 2 // extents of the extended attributes instead
)

// ExtentFlags describe an extent.
type ExtentFlags uint32

// Flags of include/uapi/linux/fiemap.h.
const (
	ExtentLast       ExtentFlags = 0x0001 // nothing comes after it
	ExtentUnknown    ExtentFlags = 0x0002 // place not known
	ExtentDelalloc   ExtentFlags = 0x0004 // place not decided
	ExtentEncoded    ExtentFlags = 0x0008 // compressed or the like
	ExtentEncrypted  ExtentFlags = 0x0080
	ExtentNotAligned ExtentFlags = 0x0100
	ExtentInline     ExtentFlags = 0x0200 // among metadata
	ExtentTail       ExtentFlags = 0x0400 // shares a block with other files
	ExtentUnwritten  ExtentFlags = 0x0800 // has its place, reads as zeros through the file
	ExtentMerged     ExtentFlags = 0x1000 // put together for the report
	ExtentShared     ExtentFlags = 0x2000 // other files have it too
)

// Extent is a piece of a file. Holes have none. All numbers are bytes.
type Extent struct {
	Logical  uint64 // in the file
	Physical uint64 // on the file system's device; what btrfs reports is no device address
	Length   uint64
	Flags    ExtentFlags
}

// Extents returns where a file's data lies, in order. With FiemapSync it writes
// the file out and so blocks on a frozen file system. EOPNOTSUPP: the file system
// cannot tell; EBADR: it does not know a flag.
func (f *File) Extents(flags FiemapFlags) ([]Extent, error) {
	const op = "extents of"
	if flags&^(FiemapSync|FiemapXattr) != 0 {
		return nil, wrap(op, f.path, ErrBadFlags)
	}
	var extents []Extent
	b := make([]byte, fiemapHeader+fiemapPerCall*fiemapExtent)
	for start := uint64(0); ; {
		putFiemap(b, start, flags)
		err := restart(func() error {
			_, err := f.k.t.Ioctl(f.fd, reqFiemap, b)
			return err
		})
		if err != nil {
			return nil, wrap(op, f.path, err)
		}
		more, err := parseFiemap(b, start)
		if err != nil {
			return nil, wrap(op, f.path, err)
		}
		extents = append(extents, more...)
		if len(more) == 0 || more[len(more)-1].Flags&ExtentLast != 0 {
			return extents, nil
		}
		last := more[len(more)-1]
		start = last.Logical + last.Length
	}
}

// putFiemap writes struct fiemap: start 0, length 8, flags 16, mapped 20, count
// 24.
func putFiemap(b []byte, start uint64, flags FiemapFlags) {
	clear(b)
	native.PutUint64(b[0:], start)
	native.PutUint64(b[8:], ^uint64(0)-start)
	native.PutUint32(b[16:], uint32(flags))
	native.PutUint32(b[24:], fiemapPerCall)
}

// parseFiemap decodes the extents of a reply: logical 0, physical 8, length 16,
// flags 40. They must come in order and end beyond start, or the next call could
// ask the same again. The first may begin before start.
func parseFiemap(b []byte, start uint64) ([]Extent, error) {
	if len(b) < fiemapHeader {
		return nil, ErrBadReply
	}
	mapped := native.Uint32(b[20:])
	if uint64(mapped)*fiemapExtent > uint64(len(b)-fiemapHeader) {
		return nil, ErrBadReply
	}
	extents := make([]Extent, mapped)
	end := start
	for i := range extents {
		rec := b[fiemapHeader+i*fiemapExtent:]
		e := Extent{
			Logical:  native.Uint64(rec),
			Physical: native.Uint64(rec[8:]),
			Length:   native.Uint64(rec[16:]),
			Flags:    ExtentFlags(native.Uint32(rec[40:])),
		}
		if i > 0 && e.Logical < end || e.Logical+e.Length < e.Logical || e.Logical+e.Length <= end {
			return nil, ErrBadReply
		}
		end = e.Logical + e.Length
		extents[i] = e
	}
	return extents, nil
}
