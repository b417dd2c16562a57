package run

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/store/layout"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// openMedium opens a device that a store is made of. One that no store of ours
// has must be unused.
func (r *Runner) openMedium(m *plan.Medium) (*ioctl.File, uint64, error) {
	flags := unix.O_RDWR
	if !m.Held {
		flags |= unix.O_EXCL
	}
	f, err := r.Kernel.Open(m.Path, flags, 0)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err == nil && (!st.Is(unix.S_IFBLK) || m.Dev != (targets.DevNo{}) && st.Rdev != m.Dev) {
		err = plan.Refuse(plan.Busy, m.Path, "find out which program changed it", "%s is no longer device %s", m.Path, m.Dev)
	}
	var size uint64
	if err == nil {
		size, err = f.BlockSize()
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, size, nil
}

// labelMedium writes lead and tail. Zeros take away what other tools look for
// there.
func (r *Runner) labelMedium(m *plan.Medium) error {
	f, size, err := r.openMedium(m)
	if err != nil {
		return err
	}
	tail, err := layout.TailAt(size)
	if err == nil && layout.Lead+m.Area > tail {
		err = plan.Refuse(plan.Busy, m.Path, "try again", "%s has shrunk to %d bytes", m.Path, size)
	}
	switch {
	case err != nil:
	case m.Held:
		err = relabel(f, m.Label, size)
	default:
		if err = r.save(f, m, size); err == nil {
			err = writeEnds(f, m.Label, size)
		}
	}
	return errors.Join(err, f.Close())
}

// relabel gives a medium that became larger its tail at its new end, before the
// store's table reaches over the old one.
func relabel(f *ioctl.File, l layout.Label, size uint64) error {
	had, _, err := readLabel(f, 0)
	switch {
	case err == nil && had.Medium == size, err != nil && l.ID == "":
		return nil
	case err == nil:
		l = had
	}
	if err := writeEnd(f, l, layout.InTail, size); err != nil {
		return err
	}
	return writeEnd(f, l, layout.InLead, size)
}

// writeEnds writes lead and tail of a medium of any kind.
func writeEnds(f *ioctl.File, l layout.Label, size uint64) error {
	if err := writeEnd(f, l, layout.InLead, size); err != nil {
		return err
	}
	return writeEnd(f, l, layout.InTail, size)
}

// writeEnd begins with the label: what is found half written is known to be ours.
func writeEnd(f *ioctl.File, l layout.Label, c layout.Copy, size uint64) error {
	if err := writeLabel(f, l, c, size); err != nil {
		return err
	}
	at, end, err := ends(c, size)
	if err == nil {
		err = zero(f, at+layout.Align, end)
	}
	if err != nil {
		return err
	}
	return f.Sync()
}

func writeLabel(f *ioctl.File, l layout.Label, c layout.Copy, size uint64) error {
	l.Medium = size
	label, err := l.Encode(c)
	if err != nil {
		return err
	}
	at, _, err := ends(c, size)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(label, int64(at))
	return err
}

// ends is where a lead or tail begins and ends.
func ends(c layout.Copy, size uint64) (at, end uint64, err error) {
	if c == layout.InLead {
		return 0, layout.Lead, nil
	}
	at, err = layout.TailAt(size)
	return at, size, err
}

const pieceLen = 1 << 20

func zero(f *ioctl.File, at, end uint64) error {
	zeros := make([]byte, pieceLen)
	for ; at < end; at += pieceLen {
		if _, err := f.WriteAt(zeros[:min(pieceLen, end-at)], int64(at)); err != nil {
			return err
		}
	}
	return nil
}

// kept is what a device had where a create writes before the cut, in pieces; those
// of zeros are without bytes.
type kept []piece

type piece struct {
	at, length uint64
	bytes      []byte
}

// save reads what is going to be overwritten. It is kept in memory only: of a
// process that dies, nothing is put back.
func (r *Runner) save(f *ioctl.File, m *plan.Medium, size uint64) error {
	tail, err := layout.TailAt(size)
	if err != nil {
		return err
	}
	var k kept
	b := make([]byte, pieceLen)
	for _, part := range [][2]uint64{{0, layout.Lead + m.Save}, {max(tail, layout.Lead+m.Save), size}} {
		for at := part[0]; at < part[1]; at += pieceLen {
			p := piece{at: at, length: min(pieceLen, part[1]-at)}
			if _, err := f.ReadAt(b[:p.length], int64(at)); err != nil {
				return err
			}
			if len(bytes.TrimLeft(b[:p.length], "\x00")) > 0 {
				p.bytes = bytes.Clone(b[:p.length])
			}
			k = append(k, p)
		}
	}
	if err := f.Flush(); err != nil { // the kernel will write beneath the page cache
		return err
	}
	r.saved[m.Path] = k
	return nil
}

// putBackMedium puts back what labelMedium found, its first block last: until then
// the label says that the rest is ours.
func (r *Runner) putBackMedium(m *plan.Medium) error {
	k, found := r.saved[m.Path]
	if !found {
		return nil
	}
	f, _, err := r.openMedium(m)
	if err != nil {
		return err
	}
	b := make([]byte, layout.Align)
	if _, err = f.ReadAt(b, 0); err == nil {
		l, _, foreign := layout.Decode(b)
		if foreign == nil && l.ID == m.Label.ID || len(bytes.TrimLeft(b, "\x00")) == 0 {
			err = k.putBack(f)
		} else if !bytes.Equal(b, k[0].first()) { // the label was not written
			r.Log.Warn("the store's device is not wiped: another program wrote to it", "device", m.Path)
		}
	}
	return errors.Join(err, f.Close())
}

// PutBack gives devices their old contents when a set that was cut is taken down
// all the same.
func (r *Runner) PutBack() error {
	var errs []error
	for _, s := range r.plan.Steps {
		if s.Undo != nil && s.Undo.Action == plan.PutBack {
			errs = append(errs, r.putBackMedium(s.Undo.Medium))
		}
	}
	return errors.Join(errs...)
}

// first is the block that a label would take the place of.
func (p piece) first() []byte {
	if p.bytes == nil {
		return make([]byte, layout.Align)
	}
	return p.bytes[:layout.Align]
}

func (k kept) putBack(f *ioctl.File) error {
	for i := len(k) - 1; i >= 0; i-- {
		p := k[i]
		b := p.bytes
		if b == nil {
			b = make([]byte, p.length)
		}
		if _, err := f.WriteAt(b, int64(p.at)); err != nil {
			return err
		}
		if i == 1 {
			if err := f.Sync(); err != nil {
				return err
			}
		}
	}
	return f.Sync()
}

// wipeLabel frees a device of lead and tail. If no store of ours holds it, more
// than the labels may have been reused.
func (r *Runner) wipeLabel(m *plan.Medium) error {
	f, size, err := r.openMedium(m)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EBUSY) && !m.Held {
		return nil // it was reused
	}
	if err != nil {
		return err
	}
	ends := map[uint64]uint64{0: layout.Lead}
	if tail, err := layout.TailAt(size); err == nil {
		ends[tail] = size
	}
	if l, _, err := readLabel(f, 0); err == nil && l.Medium < size {
		if tail, err := layout.TailAt(l.Medium); err == nil { // it became larger since
			ends[tail] = l.Medium
		}
	}
	for at, end := range ends {
		l, _, err := readLabel(f, at)
		if isForeign(err) || err == nil && (l.ID != m.Label.ID || l.Volume != m.Label.Volume) {
			continue
		}
		if !m.Held {
			end = at + layout.Align
		}
		if err == nil {
			err = zero(f, at, end)
		}
		if err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(f.Sync(), f.Close())
}

func readLabel(f *ioctl.File, at uint64) (layout.Label, layout.Copy, error) {
	b := make([]byte, layout.Align)
	if _, err := f.ReadAt(b, int64(at)); err != nil {
		return layout.Label{}, 0, fmt.Errorf("read the label: %w", err)
	}
	return layout.Decode(b)
}

func isForeign(err error) bool {
	return errors.Is(err, layout.ErrNone) || errors.Is(err, layout.ErrDamaged) || errors.Is(err, layout.ErrVersion)
}
