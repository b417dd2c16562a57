package run

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// makeFile makes the file of a store. It gets its name when it is complete, so
// that an end at any earlier point leaves nothing. Then it is pinned: no user
// can write, truncate, punch, move or remove it.
func (r *Runner) makeFile(ctx context.Context, s plan.Step) error {
	r.linked[s.File.Path] = false
	dir := path.Dir(s.File.Path)
	f, err := r.Kernel.Open(dir, unix.O_TMPFILE|unix.O_RDWR, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
		return plan.Refuse(plan.Unsupported, s.File.Path, "use another filesystem", "the filesystem of %s makes no unnamed files", dir)
	}
	if err != nil {
		return err
	}
	err = r.complete(ctx, f, s.File)
	if err == nil {
		err = f.Link(s.File.Path)
	}
	if err == nil {
		r.linked[s.File.Path] = true
		err = r.pin(s.File)
	}
	if err == nil {
		err = errors.Join(f.Sync(), r.Kernel.SyncDir(dir), f.SyncFS())
	}
	return errors.Join(err, f.Close())
}

// complete gives a file its blocks and refuses those that could not be mapped.
func (r *Runner) complete(ctx context.Context, f *ioctl.File, file *plan.File) error {
	flags := uint32(ioctl.FlagNoDump)
	if file.NoCOW {
		flags |= ioctl.FlagNoCOW
	}
	if err := addFlags(f, flags); err != nil {
		return err
	}
	if err := f.Allocate(0, int64(file.Size())); err != nil {
		return store.Unfit(err, file.Path)
	}
	if file.Fill {
		if err := fill(ctx, f, file.Size()); err != nil {
			return err
		}
	}
	if err := writeEnds(f, file.Label, file.Size()); err != nil {
		return err
	}
	if err := f.Sync(); err != nil || file.Backing != plan.Extents {
		return err
	}
	_, err := store.Layout(f, file, ioctl.FiemapSync)
	return err
}

func addFlags(f *ioctl.File, flags uint32) error {
	had, err := f.GetFlags()
	if err != nil {
		return err
	}
	return f.SetFlags(had | flags)
}

// fill writes zeros through the filesystem: images of other sets still need what
// was in these blocks before, and the fronts above copy it for them now. The
// store's own writes pass beneath the fronts and would copy nothing.
func fill(ctx context.Context, f *ioctl.File, size uint64) error {
	zeros := make([]byte, 1<<20)
	for at := uint64(0); at < size; at += uint64(len(zeros)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := f.WriteAt(zeros[:min(uint64(len(zeros)), size-at)], int64(at)); err != nil {
			return err
		}
	}
	return nil
}

// pin keeps users off the file. A loop device must go on writing through the
// descriptor it has, which append-only allows and ext4 does not on an immutable
// file; that descriptor must be opened first.
func (r *Runner) pin(file *plan.File) error {
	mode := unix.O_RDONLY
	if file.Backing == plan.Loop {
		mode = unix.O_RDWR
	}
	f, err := r.Kernel.Open(file.Path, mode|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	if err = addFlags(f, pinFlag(file)); err == nil && file.Backing == plan.Loop {
		r.files[file.Path] = f
		return nil
	}
	return errors.Join(err, f.Close())
}

func pinFlag(file *plan.File) uint32 {
	if file.Backing == plan.Loop {
		return ioctl.FlagAppend
	}
	return ioctl.FlagImmutable
}

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
	from := targets.Sectors(file.Growth.From / 512)
	nothing := func() error { return nil }
	if file.Backing == plan.Extents {
		t, err := r.fileTable(file)
		return plan.From(t, from), nothing, err
	}
	on, done := targets.Device{DevNo: file.Growth.Loop}, nothing
	if from == 0 {
		loop, err := r.attach(file)
		if err != nil {
			return nil, nothing, err
		}
		st, err := loop.Stat()
		if err != nil {
			return nil, nothing, errors.Join(err, loop.Close())
		}
		on, done = targets.Device{DevNo: targets.DevNo(st.Rdev)}, loop.Close
	}
	lead := targets.Sectors(file.Lead / 512)
	row := targets.Row{Length: targets.Sectors(file.Bytes/512) - from, Target: targets.Linear{Dev: on, Offset: lead + from}}
	return targets.Table{row}, done, nil
}

func (r *Runner) fileTable(file *plan.File) (targets.Table, error) {
	f, err := r.Kernel.Open(file.Path, unix.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	t, err := r.layout(f, file)
	return t, errors.Join(err, f.Close())
}

// layout is where a file lies, as far as its size was planned. One that grew may
// have got less.
func (r *Runner) layout(f *ioctl.File, file *plan.File) (targets.Table, error) {
	want := *file
	if file.Growth.Partly {
		st, err := f.Stat()
		if err != nil {
			return nil, err
		}
		want.Bytes = min(want.Bytes, want.Bytes-min(want.Bytes, want.Size()-min(want.Size(), uint64(st.Size))))
	}
	t, err := store.Layout(f, &want, ioctl.FiemapSync)
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
		err = plan.Refuse(plan.Unsupported, file.Path, "use another filesystem", "the filesystem of %s does no direct I/O for sectors of %d bytes", file.Path, file.LogicalBlock)
	}
	if err != nil {
		return nil, errors.Join(err, loop.Close())
	}
	return loop, nil
}

func noLoop(err error, device string) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		return plan.Refuse(plan.Unsupported, device, "load the module: modprobe loop", "there are no loop devices: %v", err)
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
	live = plan.On(live, base)
	file := plan.File{Path: s.File.Path, Bytes: live.Size().Bytes(), Lead: s.File.Lead, Over: s.File.Over, Way: s.File.Way}
	want, err := r.fileTable(&file)
	if err == nil && (len(live) == 0 || !live.Equal(want)) {
		err = plan.Refuse(plan.Busy, file.Path, "find out who moved it", "%s does not lie any more where its blocks were", file.Path)
	}
	return err
}

// dropFile removes the file of a store. A file that does not look like ours
// stays, and the log says so.
func (r *Runner) dropFile(s plan.Step) error {
	if linked, tried := r.linked[s.File.Path]; tried && !linked {
		return nil // it never had its name: another's file may have it
	}
	f, err := r.Kernel.Open(s.File.Path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return r.missing(s.File)
	}
	if err != nil {
		return err
	}
	err = r.unpin(f)
	if errors.Is(err, errForeign) {
		r.Log.Warn("left as it is: it does not look like a store's file any more", "path", s.File.Path)
		return f.Close()
	}
	if err == nil {
		r.wipeFile(f, s.File.Path)
		err = r.Kernel.Unlink(s.File.Path)
	}
	if err == nil {
		err = r.Kernel.SyncDir(path.Dir(s.File.Path))
	}
	return errors.Join(err, f.Close())
}

var errForeign = errors.New("not a store's file")

// unpin lets a file of ours be changed and removed.
func (r *Runner) unpin(f *ioctl.File) error {
	flags, err := ours(f)
	if err != nil {
		return err
	}
	return f.SetFlags(flags &^ (ioctl.FlagImmutable | ioctl.FlagAppend))
}

// ours gives the flags of a file of ours: root's, nobody else's to read, and not
// for backups.
func ours(f *ioctl.File) (flags uint32, err error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !st.Is(unix.S_IFREG) || st.UID != 0 || st.Mode&0o777 != 0o600 {
		return 0, errForeign
	}
	if flags, err = f.GetFlags(); err == nil && flags&ioctl.FlagNoDump == 0 {
		err = errForeign
	}
	return flags, err
}

// missing tells a file that somebody removed from one whose filesystem is not
// mounted: that one remains.
func (r *Runner) missing(file *plan.File) error {
	dir, err := r.Kernel.Stat(path.Dir(file.Path))
	if err == nil && targets.DevNo(dir.Dev) == file.Dev || file.Dev == (targets.DevNo{}) {
		return nil
	}
	r.Log.Warn("the store's file stays: its filesystem is not mounted; mount it, then chattr -ia and remove the file",
		"path", file.Path, "filesystem", fmt.Sprint(file.Dev))
	return nil
}
