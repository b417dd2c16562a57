package slot

import (
	"errors"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/ioctl"
)

// Renew drops what waits in the slot of a running device, if anything does: the live
// table is loaded once more in its place and swapped in. It ends what an earlier clear
// left, too. Should the process die in between, a table waits that equals the live one,
// which a resume by anybody may bring live.
//
// Where the table must not be swapped (plan.Reloadable), or the kernel refuses to load
// it, a clear is what is left. So it is for a suspended device: the load may wait for
// memory that only its writers can free. Its caller resumes it and comes again.
func Renew(ctl *ioctl.Control, id ioctl.ID, udev ioctl.UdevFlags) error {
	info, specs, err := ctl.Table(id, ioctl.SecureData)
	if err != nil {
		return err
	}
	if info.Suspended || !reloadable(specs) || load(ctl, id, info, specs) != nil {
		return clear(ctl, id, info)
	}
	return swap(ctl, id, udev)
}

// Release makes a suspended device run on the table that it has: what waits goes first,
// since a resume would swap it in.
func Release(ctl *ioctl.Control, id ioctl.ID, udev ioctl.UdevFlags) error {
	info, err := ctl.Status(id)
	if err != nil || !info.Suspended {
		return err
	}
	if err := clear(ctl, id, info); err != nil {
		return err
	}
	_, err = ctl.Resume(id, ioctl.SkipLockFS, ioctl.FlagsOnly(udev))
	return err
}

// Drop is both: it drops what waits, if anything does, and the device runs.
func Drop(ctl *ioctl.Control, id ioctl.ID, udev ioctl.UdevFlags) error {
	info, err := ctl.Status(id)
	if err == nil {
		err = Release(ctl, id, udev)
	}
	if err == nil && info.Inactive {
		err = Renew(ctl, id, udev)
	}
	return err
}

// Rename gives a device another name, whatever was cleared from its slot before: while a
// table waits there, the kernel keeps its descriptions of both slots apart. It is the
// live one, which nobody brings live. Who died in here before left one: a third the
// kernel refuses, of snapshots.
func Rename(ctl *ioctl.Control, from, to string, ev ioctl.Event) (ioctl.Info, error) {
	live, specs, err := ctl.Table(ioctl.ID{Name: from}, ioctl.SecureData)
	if err != nil {
		return live, err
	}
	filled := live.Inactive || live.Live && load(ctl, ioctl.ID{Name: from}, live, specs) == nil
	info, err := ctl.Rename(from, to, ev)
	if filled {
		err = errors.Join(err, ctl.Clear(ioctl.ID{Dev: live.Dev}))
	}
	return info, err
}

func clear(ctl *ioctl.Control, id ioctl.ID, info ioctl.Info) error {
	if !info.Inactive {
		return nil
	}
	return ctl.Clear(id)
}

func reloadable(specs []ioctl.Spec) bool {
	table, err := stack.ParseTable(specs)
	return err == nil && plan.Reloadable(table)
}

func load(ctl *ioctl.Control, id ioctl.ID, info ioctl.Info, specs []ioctl.Spec) error {
	flags := ioctl.SecureData
	if info.ReadOnly {
		flags |= ioctl.ReadOnly
	}
	return ctl.Load(id, flags, specs)
}

// swap brings a table live that equals the one before. A swap that the kernel refuses
// leaves the device suspended, with one of the two: the second resume ends that.
func swap(ctl *ioctl.Control, id ioctl.ID, udev ioctl.UdevFlags) error {
	const flags = ioctl.SkipLockFS | ioctl.NoFlush
	_, err := ctl.Resume(id, flags, ioctl.FlagsOnly(udev))
	if err == nil {
		return nil
	}
	_, again := ctl.Resume(id, flags, ioctl.FlagsOnly(udev))
	if again == nil {
		return nil
	}
	return errors.Join(err, again)
}
