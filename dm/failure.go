package dm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/guard"
	"github.com/dmsnap/dmsnap/dm/internal/hook"
	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/lvmlock"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/dm/internal/store"
	"github.com/dmsnap/dmsnap/freeze"
	"github.com/dmsnap/dmsnap/ioctl"
)

// diagnosis finds out what the failure of an operation was about.
type diagnosis struct {
	op, set string
	kernel  *ioctl.Kernel
	ctl     *ioctl.Control
	holders holderFinder
}

// fail makes the Error of an operation out of whatever its parts returned. It
// is the one place where causes become codes and hints; codes come from types
// and errnos, never from text.
func (d diagnosis) fail(err error) error {
	e := d.failure(err)
	if e == nil {
		return nil
	}
	e.translate()
	return e
}

// failure is nil for no error.
func (d diagnosis) failure(err error) *Error {
	if err == nil {
		return nil
	}
	if done, ok := errors.AsType[*Error](err); ok {
		done.Op, done.Set, done.Err = d.op, d.set, explainCancel(done.Err)
		return done
	}
	e := &Error{Op: d.op, Set: d.set, Err: explainCancel(err), Code: CodeFailed}
	if step, ok := errors.AsType[*run.StepError](err); ok {
		e.Device, e.Step = step.Step.Device, step.Step.String()
		if step.Step.Filesystem != nil {
			e.Device = step.Step.Filesystem.Mountpoints[0]
		}
	}
	d.classify(e)
	return e
}

// classify goes from what matters most to what matters least: a failed undo
// outweighs its cause.
func (d diagnosis) classify(e *Error) {
	if _, ok := errors.AsType[*run.UndoError](e.Err); ok {
		e.Code, e.Hint = CodeUnrecovered, "run dmsnap recover"
		if e.Op == "mount" {
			e.Hint = "run dmsnap umount " + e.Set
		}
		return
	}
	if _, ok := errors.AsType[*run.PartialError](e.Err); ok {
		e.Code, e.Hint = CodePartial, "run the same command again, or dmsnap recover"
		return
	}
	if r, ok := errors.AsType[*plan.Refusal](e.Err); ok {
		e.Code, e.Device, e.Hint = Code(r.Kind), r.Device, r.Hint
		return
	}
	if _, ok := errors.AsType[*FullRequired](e.Err); ok {
		e.Code, e.Hint = CodeFullRequired, "copy the whole image; dmsnap allocated lists what is in use"
		return
	}
	if l, ok := errors.AsType[*journal.LockedError](e.Err); ok {
		e.Code, e.Hint = CodeLocked, "wait until it has finished, or use --wait"
		if l.PID != 0 {
			e.Hint = fmt.Sprintf("wait until pid %d has finished, or use --wait", l.PID)
		}
		return
	}
	if _, ok := errors.AsType[*journal.LockDirError](e.Err); ok {
		e.Device, e.Hint = journal.HostLocks, "/run must be a tmpfs that only root can write to; in a container, mount the host's /run"
		return
	}
	if u, ok := errors.AsType[*store.InUseError](e.Err); ok {
		e.Code, e.Device, e.Hint = CodeBusy, u.Path, "use a device that nothing else uses"
		e.Err = fmt.Errorf("store %w", d.holders.busy(u.Path, u.Dev))
		return
	}
	if classifyGroup(e) {
		return
	}
	if r, ok := errors.AsType[*journal.RecordError](e.Err); ok {
		e.Device, e.Hint = r.File, "if it stays so, delete that file and try again: the devices are found without it, a store's file may be left"
		if errors.Is(r.Err, journal.ErrNewer) {
			e.Code, e.Hint = CodeUnsupported, "use the version of dmsnap that made the set"
		}
		return
	}
	if d, ok := errors.AsType[*journal.DirError](e.Err); ok {
		e.Device, e.Hint = d.Dir, "it must be a directory writable only by root, with free space; --state-dir names another"
		if errors.Is(d.Err, unix.ENOSPC) {
			e.Code, e.Hint = CodeNoSpace, "free some space, then try again"
		}
		return
	}
	d.classifyErrno(e)
}

// classifyGroup is for what has to do with the locks of lvm2.
func classifyGroup(e *Error) bool {
	if held, ok := errors.AsType[*lvmlock.BusyError](e.Err); ok {
		e.Code, e.Hint = CodeBusy, "wait until the LVM command that is using volume group "+held.Group+" is done, then try again"
		return true
	}
	if _, ok := errors.AsType[*lvmlock.LostError](e.Err); ok {
		e.Code, e.Hint = CodeBusy, "try again when less is written to its filesystems"
		return true
	}
	if d, ok := errors.AsType[*lvmlock.DirError](e.Err); ok {
		e.Device, e.Hint = d.Dir, "LVM needs it too: it must be a directory that root can write to; lvmconfig global/locking_dir names it"
		return true
	}
	return false
}

func (d diagnosis) classifyErrno(e *Error) {
	step, inStep := errors.AsType[*run.StepError](e.Err)
	switch {
	case errors.Is(e.Err, guard.ErrStart):
		e.Hint = "check the limits of open files, locked memory and file size: ulimit -n, -l and -f"
	case errors.Is(e.Err, hook.ErrHook):
		e.Code, e.Hint = CodeFreeze, "--consistency fs takes the snapshot even if a hook fails"
	case errors.Is(e.Err, freeze.ErrFrozenByOther):
		e.Code, e.Hint = CodeFreeze, "find out which program froze it; fsfreeze -u "+e.Device+" thaws it"
	case inStep && (step.Step.Action == plan.Freeze || step.Step.Action == plan.Prove):
		e.Code, e.Hint = CodeFreeze, "--consistency crash takes the snapshot without a freeze"
	case errors.Is(e.Err, errUnfreezable):
		e.Code, e.Hint = CodeFreeze, "--allow-unproven with its mount point accepts that; --consistency crash takes the snapshot without any freeze"
	case errors.Is(e.Err, run.ErrDeadline), errors.Is(e.Err, run.ErrGuard), errors.Is(e.Err, run.ErrResumed):
		e.Code, e.Hint = CodeFreeze, "try again when there is less I/O"
		if e.Op == "create" {
			e.Hint = "use a longer --freeze-timeout, or --consistency crash"
		}
	case errors.Is(e.Err, run.ErrBypassed):
		e.Code, e.Hint = CodeBusy, "dmsnap list shows the set as bypassed: remove it and take a new one"
	case errors.Is(e.Err, run.ErrReloaded), errors.Is(e.Err, run.ErrSuspended):
		e.Code, e.Hint = CodeBusy, "wait until the other program has finished, then try again"
	case errors.Is(e.Err, context.Canceled), errors.Is(e.Err, context.DeadlineExceeded):
		e.Hint = "nothing was changed"
		if inStep {
			e.Hint = "everything was undone"
		}
	case errors.Is(e.Err, unix.ENOLINK) && inStep && step.Step.Action == plan.Attach:
		e.Code, e.Hint = CodeUnsupported, "dm-interpose cannot see the writes of this kernel: use another one, or "+adoptInstead
	case errors.Is(e.Err, unix.EOPNOTSUPP) && inStep && step.Step.Action == plan.Attach:
		e.Code, e.Hint = CodeUnsupported, "the kernel's log says what its users would lose, for example atomic writes: dmesg; "+adoptInstead
	case errors.Is(e.Err, unix.ENOLINK):
		e.Code, e.Hint = CodeBusy, "writes no longer pass through dmsnap: remove the sets of this device, then run dmsnap detach"
	case errors.Is(e.Err, unix.EBUSY):
		e.Code, e.Hint = CodeBusy, "lsblk and dmsetup ls --tree show what uses it; stop that, then try again"
		if inStep && step.Step.Device != "" {
			d.nameHolders(e, step.Step.Device)
		}
	case errors.Is(e.Err, unix.ENOSPC):
		e.Code = CodeNoSpace
	case errors.Is(e.Err, unix.ENOKEY):
		e.Code, e.Hint = CodeUnsupported, "its key is only in the kernel keyring; cryptsetup refresh --disable-keyring NAME puts it into the table"
	case errors.Is(e.Err, ioctl.ErrNotFound), errors.Is(e.Err, fs.ErrNotExist) && !inStep:
		e.Code, e.Hint = CodeNotFound, "it has disappeared meanwhile: try again"
	case errors.Is(e.Err, fs.ErrPermission) && d.kernel.Geteuid() != 0:
		e.Hint = "run it as root"
	case inStep && step.Step.Action == plan.LoadTable && errors.Is(e.Err, unix.EINVAL):
		d.missingTarget(e, step.Step)
	case errors.As(e.Err, new(unix.Errno)):
		e.Hint = askKernel
	}
}

const adoptInstead = "remove the module, unmount the device and use dmsnap attach, which adopts it"

const askKernel = "the kernel's log may say why: dmesg"

// missingTarget finds out whether a table was refused because the kernel does
// not have its target.
func (d diagnosis) missingTarget(e *Error, step plan.Step) {
	e.Hint = askKernel
	for _, row := range step.Table {
		name := row.Target.Type()
		if _, err := d.ctl.TargetVersion(name); errors.Is(err, unix.EINVAL) {
			e.Code, e.Hint = CodeUnsupported, "install or allow the module: modprobe "+stack.ModuleOf(name)
			e.Err = fmt.Errorf("the kernel has no target %s: %w", name, e.Err)
			return
		}
	}
}

// noDeviceMapper explains why the control node cannot be opened.
func noDeviceMapper(k *ioctl.Kernel, op, set string, err error) error {
	e := &Error{Op: op, Set: set, Code: CodeUnsupported, Err: fmt.Errorf("this kernel has no device-mapper: %w", err), Hint: "load the module: modprobe dm-mod; in a container, run dmsnap on the host"}
	switch {
	case k.Geteuid() != 0:
		e.Code, e.Err, e.Hint = CodeFailed, err, "run it as root"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EROFS):
		e.Err = fmt.Errorf("device-mapper is not accessible here: %w", err)
		e.Hint = "in a container: pass /dev/mapper/control to it, or run dmsnap on the host"
	}
	return e
}

func (d diagnosis) nameHolders(e *Error, name string) {
	info, err := d.ctl.Status(ioctl.ID{Name: name})
	if err != nil {
		return // gone meanwhile: the errno stands for itself
	}
	b := d.holders.busy(name, info.Dev)
	if len(b.Holders) > 0 {
		e.Err = fmt.Errorf("%w (%w)", e.Err, b)
		e.Hint = "stop what uses it, then try again"
	}
}
