package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/dm/internal/store/format"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// batch is how many chunks the kernel is given to copy at once.
const batch = 64

// pageBytes is the least that is written through the page cache.
const pageBytes = 4096

// Step carries out one step of a plan that is done in pieces, with other locks
// for each: a step without an undo, and of which udev need not know.
func (r *Runner) Step(ctx context.Context, s plan.Step) error {
	r.execution = newExecution(&plan.Plan{Steps: []plan.Step{s}})
	return r.step(ctx, s)
}

// flatten has the kernel copy what a snapshot lacks of the one it reads through into
// its own store. A page of each chunk is read and written back: the kernel copies
// the rest of the chunk, and puts its record on the medium before the write is
// done. Contents do not change at any moment, so that readers notice nothing, and
// the page cache of the device is never wrong. Cancelling ctx ends it between two
// batches; the next one finds what is missing still.
func (r *Runner) flatten(ctx context.Context, s plan.Step) (err error) {
	missing, chunk, err := r.lacks(s)
	if err != nil {
		return err
	}
	if err := r.vouchedStore(s); err != nil {
		return err
	}
	n, err := r.number(s.Device)
	if err != nil {
		return err
	}
	f, err := r.Kernel.Open(fmt.Sprintf("/dev/dm-%d", n.Minor), unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	done, total := uint64(0), missing.Len()*chunk
	began := time.Now()
	for at := range missing.All() {
		if err := touch(f, at*chunk, s.Table.Size().Bytes()); err != nil {
			return err
		}
		if done += chunk; done%(batch*chunk) > 0 && done < total {
			continue
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if err := r.vouchedStore(s); err != nil {
			return err
		}
		if r.Copied != nil {
			r.Copied(done, total)
		}
		r.Stalls.Now(s.String())
		if err := r.rest(ctx, done, began); err != nil {
			return err
		}
	}
	return r.active(s.Device, 0)
}

// vouchedStore looks at the store that the kernel copies into, before each batch.
func (r *Runner) vouchedStore(s plan.Step) error {
	snap, ok := s.Table[0].Target.(targets.Snapshot)
	if !ok {
		return unix.EINVAL
	}
	return r.vouched(snap.Store.DevNo, 0, ^targets.Sectors(0))
}

// lacks is what a snapshot has to get, and the unit of that in bytes.
func (r *Runner) lacks(s plan.Step) (missing *format.Chunks, chunk uint64, err error) {
	snap, ok := s.Table[0].Target.(targets.Snapshot)
	layer, err := r.number(s.Peer)
	if err != nil || !ok {
		return nil, 0, errors.Join(err, unix.EINVAL)
	}
	status, err := r.status(s.Device, 0)
	if err != nil {
		return nil, 0, err
	}
	err = store.Both(r.Kernel, snap.Store.DevNo, layer, func(older, newer *format.Store) error {
		chunk = older.Chunk
		missing, err = format.Missing(older, newer, s.Table.Size().Bytes(), status.Used.Bytes())
		return err
	})
	return missing, chunk, err
}

// touch writes the first page of a chunk back.
func touch(f *ioctl.File, at, size uint64) error {
	b := make([]byte, min(pageBytes, size-at))
	if _, err := f.ReadAt(b, int64(at)); err != nil {
		return err
	}
	_, err := f.WriteAt(b, int64(at))
	return err
}

// rest waits until no more was copied than the rate allows.
func (r *Runner) rest(ctx context.Context, done uint64, began time.Time) error {
	if err := ctx.Err(); err != nil || r.Rate == 0 {
		return err
	}
	due := began.Add(time.Duration(float64(done) / float64(r.Rate) * float64(time.Second)))
	select {
	case <-time.After(time.Until(due)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
