package store

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/store/format"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// ReadDirect opens a persistent store past the page cache, live or not. What the
// kernel writes to it meanwhile only adds to what is read (drivers/md/dm-snap-persistent.c):
// a chunk counts as copied once its record is on the medium, records are only
// ever appended, and the area after a full one is zeroed before that is written. So
// a reader sees each record that counted when it began, torn reads included: what
// follows the first empty record is not looked at, and no sector loses one it had.
func ReadDirect(k *ioctl.Kernel, dev targets.DevNo, read func(*format.Store) error) (err error) {
	f, err := k.Open(fmt.Sprintf("/dev/dm-%d", dev.Minor), unix.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.BlockSize()
	if err != nil {
		return err
	}
	r := &directReader{file: f, size: int64(size), piece: ioctl.PageSize}
	s, err := format.Open(r, int64(size))
	if err != nil {
		return err
	}
	r.piece = int64(max(s.Chunk, ioctl.PageSize))
	return read(s)
}

// maxDirect bounds one read.
const maxDirect = 1 << 20

// directReader serves small reads, one after the other, from large ones. An area is a
// chunk, and data follows it: no read goes past the end of a piece.
type directReader struct {
	file  *ioctl.File
	size  int64
	piece int64

	buf []byte // as large as a read can be
	at  int64
	n   int // what is in buf
}

func (d *directReader) ReadAt(p []byte, off int64) (done int, err error) {
	for done < len(p) {
		n, err := d.part(p[done:], off+int64(done))
		if done += n; err != nil {
			return done, err
		}
	}
	return done, nil
}

// part copies what one read has.
func (d *directReader) part(p []byte, off int64) (int, error) {
	if off >= d.size {
		return 0, io.EOF
	}
	if off < d.at || off >= d.at+int64(d.n) {
		if err := d.fill(off); err != nil {
			return 0, err
		}
	}
	return copy(p, d.buf[off-d.at:d.n]), nil
}

func (d *directReader) fill(off int64) error {
	if d.buf == nil {
		d.buf = ioctl.Aligned(maxDirect)
	}
	from := off &^ (ioctl.PageSize - 1)
	to := min(from+maxDirect, (off/d.piece+1)*d.piece, d.size)
	d.n = 0
	n, err := d.file.ReadAt(d.buf[:to-from], from)
	if d.at, d.n = from, n; err != nil && !errors.Is(err, io.EOF) {
		d.n = 0
		return err
	}
	if off >= from+int64(n) {
		return io.ErrUnexpectedEOF // it has become shorter
	}
	return nil
}
