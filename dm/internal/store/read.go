package store

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/store/format"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// Read opens a persistent store, live or not, as it is on its medium. The kernel
// writes beneath the page cache: what is in that is dropped first.
func Read(k *ioctl.Kernel, dev targets.DevNo, read func(*format.Store) error) (err error) {
	f, err := k.Open(fmt.Sprintf("/dev/dm-%d", dev.Minor), unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.BlockSize()
	if err == nil {
		err = f.Flush()
	}
	if err != nil {
		return err
	}
	s, err := format.Open(f, int64(size))
	if err != nil {
		return err
	}
	return read(s)
}

// Both does that for two stores.
func Both(k *ioctl.Kernel, one, other targets.DevNo, read func(one, other *format.Store) error) error {
	return Read(k, one, func(o *format.Store) error {
		return Read(k, other, func(p *format.Store) error { return read(o, p) })
	})
}
