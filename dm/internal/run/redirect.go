package run

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// redirect sends what is addressed to the device beneath a base to the front. When
// it returns, nothing that went past the front is under way any more.
func (r *Runner) redirect(s plan.Step) error {
	front, err := r.number(s.Front)
	if err != nil {
		return err
	}
	_, err = r.Control.Message(ioctl.ID{Name: s.Device}, 0, "attach "+front.String())
	return err
}

// proveRedirect has the module send reads to the plain device, and look whether they
// come by the base. It says nothing of a module that cannot do that yet.
func (r *Runner) proveRedirect(s plan.Step) error {
	_, err := r.Control.Message(ioctl.ID{Name: s.Device}, 0, "prove")
	if errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// endRedirect ends it, and returns when the front has nothing more to do. A base that
// is not attached, or was made and no more, is left as it is.
func (r *Runner) endRedirect(s plan.Step) error {
	st, err := r.redirected(s.Device)
	if err != nil || !st.Attached() {
		return err
	}
	_, err = r.Control.Message(ioctl.ID{Name: s.Device}, 0, "detach")
	if errors.Is(err, unix.ENOTCONN) { // one that was under way has ended since
		return nil
	}
	return err
}

func (r *Runner) redirected(base string) (targets.InterposeStatus, error) {
	_, specs, err := r.Control.TargetStatus(ioctl.ID{Name: base}, 0)
	if err != nil || len(specs) != 1 {
		return targets.InterposeStatus{}, err
	}
	return targets.ParseInterposeStatus(specs[0].Params)
}

// verifyRedirect checks that all writers of a plain device use its front, by what the
// module knows and by what it finds out.
func (r *Runner) verifyRedirect(s plan.Step) error {
	front, err := r.number(s.Front)
	st, statusErr := r.redirected(s.Device)
	switch {
	case err != nil || statusErr != nil:
		return errors.Join(err, statusErr)
	case st.Front != front:
		return fmt.Errorf("writes to %s do not reach %s", s.Device, s.Front)
	case !st.Serves():
		return fmt.Errorf("the redirect from %s to %s is %s", s.Device, s.Front, st.State)
	case st.Bypassed > 0:
		return fmt.Errorf("%d writes bypassed %s under another name of its device, for example the whole disk", st.Bypassed, s.Front)
	}
	return r.proveRedirect(s)
}
