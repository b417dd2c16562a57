package dm

import (
	"cmp"
	"errors"
	"io"

	"github.com/dmsnap/dmsnap/ioctl"
)

// directBytes is how much a direct read takes at once when it has to be copied.
const directBytes = 1 << 20

func (r *Reader) readAt(p []byte, off int64) (int, error) {
	if !r.direct {
		return r.file.ReadAt(p, off)
	}
	whole := off%ioctl.PageSize == 0 && len(p)%ioctl.PageSize == 0 && ioctl.IsAligned(p)
	if whole && off+int64(len(p)) <= r.size {
		return r.file.ReadAt(p, off)
	}
	return r.copyAt(p, off)
}

// copyAt reads the pages around what is wanted. The last one may be cut short by the
// end of the device, which is a multiple of its blocks.
func (r *Reader) copyAt(p []byte, off int64) (done int, err error) {
	var pages []byte
	for done < len(p) && off < r.size {
		from := off &^ (ioctl.PageSize - 1)
		to := min(off+int64(len(p)-done)+ioctl.PageSize-1, from+directBytes) &^ (ioctl.PageSize - 1)
		to = min(max(to, from+ioctl.PageSize), r.size)
		if pages == nil {
			pages = ioctl.Aligned(int(to - from))
		}
		n, err := r.file.ReadAt(pages[:min(int64(len(pages)), to-from)], from)
		skip := int(off - from)
		if n <= skip {
			return done, cmp.Or(err, io.ErrUnexpectedEOF) // it has become shorter
		}
		got := copy(p[done:], pages[skip:n])
		done, off = done+got, off+int64(got)
		if err != nil && !errors.Is(err, io.EOF) {
			return done, err
		}
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}
