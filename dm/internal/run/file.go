package run

import (
	"context"
	"errors"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// storeTable is a table whose last row stands for a file, or for what the store
// gets more of it. A loop device of it is open until done is called; the kernel
// then has it from the loaded table, or it is gone.
func (r *Runner) storeTable(s plan.Step) (t targets.Table, done func() error, err error) {
	rows, done, err := r.rows(s.File)
	if err != nil {
		return nil, done, err
	}
	t = slices.Clone(s.Table[:len(s.Table)-1])
	for _, row := range rows {
		row.Start = t.Size()
		t = plan.Append(t, row)
	}
	r.tables[s.Device] = t
	return t, done, nil
}

func (r *Runner) rows(file *plan.File) (t targets.Table, done func() error, err error) {
	if file.Backing == plan.Extents {
		t, err := r.fileTable(file)
		return t, func() error { return nil }, err
	}
	loop, err := r.attach(file)
	if err != nil {
		return nil, nil, err
	}
	st, err := loop.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, loop.Close())
	}
	on := targets.Device{DevNo: st.Rdev}
	row := targets.Row{Length: targets.Sectors(file.Bytes / 512), Target: targets.Linear{Dev: on, Offset: targets.Sectors(file.Lead / 512)}}
	return targets.Table{row}, loop.Close, nil
}

// fileTable is where a file lies: the one that this run made, else the one of
// ours that has its name.
func (r *Runner) fileTable(file *plan.File) (targets.Table, error) {
	if f := r.files[file.Path]; f != nil {
		if err := r.named(f, file); err != nil {
			return nil, err
		}
		return r.layout(f, file)
	}
	f, err := r.Kernel.Open(file.Path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if _, err = ours(f); err != nil {
		if errors.Is(err, errForeign) {
			err = changed(file.Path)
		}
		return nil, errors.Join(err, f.Close())
	}
	t, err := r.layout(f, file)
	return t, errors.Join(err, f.Close())
}

func (r *Runner) layout(f *ioctl.File, file *plan.File) (targets.Table, error) {
	t, err := store.Layout(f, file, ioctl.FiemapSync)
	if err != nil {
		return nil, err
	}
	return r.numbered(t)
}

// attach makes the loop device of a file or of memory.
func (r *Runner) attach(file *plan.File) (*ioctl.File, error) {
	if file.Backing == plan.Memory {
		return r.attachMemory(file)
	}
	loop, err := r.Kernel.AttachLoop(r.files[file.Path], file.LogicalBlock, ioctl.LoopAutoclear|ioctl.LoopDirectIO)
	if err != nil {
		return nil, noLoop(err, file.Path)
	}
	flags, err := loop.LoopFlags()
	if err == nil && flags&ioctl.LoopDirectIO == 0 {
		// Through the page cache, writing old chunks out would need memory that
		// only writing to the origin may free.
		err = plan.Refuse(plan.Unsupported, file.Path, "use another filesystem", "the filesystem of %s does not support direct I/O with %d-byte sectors", file.Path, file.LogicalBlock)
	}
	if err != nil {
		return nil, errors.Join(err, loop.Close())
	}
	return loop, nil
}

func noLoop(err error, device string) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		return plan.Refuse(plan.Unsupported, device, "load the module: modprobe loop", "no loop devices: %v", err)
	}
	return err
}

// attachMemory takes all the memory of a store at once, so that nothing needs
// memory when an old chunk must be copied. It is memory that the kernel never
// swaps out: swap may lie on the origin.
func (r *Runner) attachMemory(file *plan.File) (loop *ioctl.File, err error) {
	mount, err := r.Kernel.MountPrivate("ramfs", "")
	if err != nil {
		return nil, err
	}
	f, err := r.Kernel.Open(path.Join(mount.Path(), plan.MemoryName), unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return nil, errors.Join(err, mount.Close())
	}
	if err = fill(context.Background(), f, file.Size()); err == nil {
		err = writeEnds(f, file.Label, file.Size())
	}
	if err == nil {
		loop, err = r.Kernel.AttachLoop(f, file.LogicalBlock, ioctl.LoopAutoclear)
		err = noLoop(err, "")
	}
	if err = errors.Join(err, f.Close(), mount.Close()); err != nil && loop != nil {
		return nil, errors.Join(err, loop.Close())
	}
	return loop, err
}

// checkFile makes sure that a store's file still lies where the store's table
// says, as far as that has it.
func (r *Runner) checkFile(s plan.Step) error {
	base, err := r.number(s.File.Over)
	if err != nil {
		return err
	}
	_, live, err := r.table(ioctl.ID{Name: s.Device}, 0)
	if err != nil {
		return err
	}
	file := *s.File
	file.Hollow = plan.Hollow(live)
	live = s.File.Part(live, base)
	file.Bytes = live.Size().Bytes()
	want, err := r.fileTable(&file)
	if err == nil && (len(live) == 0 || !file.Holds(live, want, base)) {
		err = plan.Refuse(plan.Busy, file.Path, "find out which program moved it", "the blocks of %s have moved", file.Path)
	}
	return err
}

func changed(path string) error {
	return plan.Refuse(plan.Busy, path, "find out which program changed it", "%s no longer looks like the file of a store", path)
}
