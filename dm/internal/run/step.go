package run

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
)

func (r *Runner) prepare(ctx context.Context, steps []plan.Step) error {
	for _, s := range steps {
		if err := ctx.Err(); err != nil {
			return &StepError{s, err}
		}
		// Before the step: one that fails may have done half of its work. Every
		// undo looks first whether there is anything to take back.
		if s.Undo != nil {
			r.undo = append(r.undo, *s.Undo)
		}
		if err := r.step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runner) step(ctx context.Context, s plan.Step) error {
	r.Log.Debug("step", "action", string(s.Action), "device", s.Device)
	r.observe(s.Phase, s)
	r.done++
	r.Stalls.Now(s.String())
	err := r.failpoint(s)
	if err == nil {
		err = r.do(ctx, s)
	}
	if err != nil {
		return &StepError{s, err}
	}
	return nil
}

func (r *Runner) observe(phase plan.Phase, s plan.Step) {
	if r.Observe != nil {
		r.Observe(phase, s, r.done, r.total)
	}
}

func (r *Runner) failpoint(s plan.Step) error {
	if r.Fail == nil {
		return nil
	}
	r.failing.Lock()
	defer r.failing.Unlock()
	return r.Fail(s)
}

// do carries one step out, outside the window.
func (r *Runner) do(ctx context.Context, s plan.Step) error {
	id := ioctl.ID{Name: s.Device}
	switch s.Action {
	case plan.CreateDevice:
		return r.create(s)
	case plan.LoadTable:
		return r.load(s)
	case plan.ClearTable:
		return r.clear(s)
	case plan.Suspend:
		_, err := r.Control.Suspend(id, ioctl.SkipLockFS|ioctl.NoFlush)
		return err
	case plan.Resume:
		return r.resume(s)
	case plan.RemoveDevice:
		return r.remove(ctx, s)
	case plan.WipeHeader:
		return r.wipe(s)
	case plan.SyncFS:
		return r.Freezers[s.Filesystem.Key].SyncFS()
	case plan.Restore:
		return r.restore(s)
	case plan.Claim:
		return r.claim(s)
	case plan.Expect:
		return r.expect(s)
	case plan.Verify:
		return r.verify(s)
	case plan.Attach:
		return r.redirect(s)
	case plan.Detach:
		return r.endRedirect(s)
	case plan.Probe:
		return r.verifyRedirect(s)
	case plan.MakeFile:
		return r.makeFile(ctx, s)
	case plan.CheckFile:
		return r.checkFile(s)
	case plan.DropFile:
		return r.dropFile(ctx, s)
	case plan.FreeBlocks:
		return r.freeBlocks(s)
	case plan.LabelMedium:
		return r.labelMedium(s.Medium)
	case plan.PutBack:
		return r.putBackMedium(s.Medium)
	case plan.WipeLabel:
		return r.wipeLabel(s.Medium)
	case plan.Chain:
		return r.chain(s)
	case plan.Rename:
		return r.rename(s)
	case plan.FlattenChunks:
		return r.flatten(ctx, s)
	case plan.LockGroup:
		return r.lockGroup(ctx, s)
	case plan.UnlockGroup:
		r.unlockGroup(s)
		return nil
	case plan.Hook:
		return r.Hook(ctx, s.Program, s.Event)
	case plan.Settle:
		for _, name := range s.Gone {
			r.gone[name] = true
		}
		return r.settle()
	}
	return fmt.Errorf("%s: %w", s.Action, unix.ENOSYS)
}
