package dm

import (
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/ioctl"
)

// intentWriter notes in the journal what an operation is about to do.
type intentWriter struct {
	kernel *ioctl.Kernel
	read   *stack.Reader
	state  journal.Dir
	log    *slog.Logger
}

func (s *session) intents() intentWriter { return intentWriter{s.kernel, s.read, s.state, s.log} }

// begin writes the intent: from here on an interrupted operation is distinguished
// from a finished one. One that is covered continues without an intent: a removal is what
// helps when the state directory is full.
func (w intentWriter) begin(p *plan.Plan, r *run.Runner, covered bool) (journal.Intent, error) {
	i, err := w.tryBegin(p, r)
	switch {
	case err == nil:
	case !covered:
		return i, errors.Join(err, w.state.End(i))
	default:
		w.log.Warn("cleaning up without a journal entry", "error", err)
	}
	return i, nil
}

// tryBegin leaves what there is of the intent when it fails. The semaphore of the
// cookie comes after the intent that names it: it outlives a process that dies.
func (w intentWriter) tryBegin(p *plan.Plan, r *run.Runner) (i journal.Intent, err error) {
	if i, err = w.intentOf(p); err != nil {
		return i, err
	}
	r.Cookie, err = w.write(&i)
	r.Renew = func() (*ioctl.Cookie, error) { return w.writeAgain(p.ID, p.Op) }
	return i, err
}

// writeAgain changes the cookie of an intent as it is on disk: the process may die
// while it takes back, too.
func (w intentWriter) writeAgain(id, op string) (*ioctl.Cookie, error) {
	intents, err := w.state.Intents()
	if err != nil {
		return nil, err
	}
	for _, i := range intents {
		if i.ID == id && i.Op == op && i.Unread == nil {
			return w.write(&i)
		}
	}
	return nil, fs.ErrNotExist
}

// write writes an intent to disk with a new udev cookie, nil on a host without udev.
func (w intentWriter) write(i *journal.Intent) (*ioctl.Cookie, error) {
	if !w.kernel.UdevRunning() {
		return nil, w.state.Begin(*i)
	}
	cookie, err := w.kernel.PickCookie()
	if err != nil {
		return nil, err
	}
	i.Cookie = cookie.String()
	if err := w.state.Begin(*i); err != nil {
		return nil, err
	}
	err = cookie.Make()
	if errors.Is(err, unix.EEXIST) { // another program has it
		return w.write(i)
	}
	if err != nil {
		return nil, err
	}
	return cookie, nil
}

func (w intentWriter) intentOf(p *plan.Plan) (journal.Intent, error) {
	boot, err := w.read.BootID()
	i := journal.Intent{
		Op: p.Op, Set: p.Set, ID: p.ID, BootID: boot, PID: ownPID(), Started: time.Now().UTC().Truncate(time.Second),
	}
	i.Media = labelled(p)
	i.Freezes = slices.ContainsFunc(p.Steps, func(s plan.Step) bool { return s.Action == plan.Freeze })
	for _, step := range p.Steps {
		if step.Action == plan.MakeFile && step.File.At > 0 {
			n := int(step.File.Label.Volume)
			i.Files = append(i.Files, make([]*plan.File, max(0, n+1-len(i.Files)))...)
			i.Files[n] = step.File
		}
	}
	for _, v := range p.Volumes {
		i.Bases = append(i.Bases, v.Base)
		i.Files = append(i.Files, v.File)
		if v.Origin.Known() {
			i.Origins = append(i.Origins, v.Origin.Dev.String())
		}
	}
	return i, err
}

// labelled are the devices that a plan will label.
func labelled(p *plan.Plan) (media []journal.Medium) {
	for _, s := range p.Steps {
		if s.Action == plan.LabelMedium && !s.Medium.Held {
			media = append(media, journal.Medium{Path: s.Medium.Path, Volume: int(s.Medium.Label.Volume)})
		}
	}
	return media
}

// forgetIntent deletes the intent of an operation that was undone. If the undo failed,
// or the operation went too far to be undone, the intent stays for recover.
func (s *session) forgetIntent(i journal.Intent, err error) error {
	_, stuck := errors.AsType[*run.UndoError](err)
	_, partial := errors.AsType[*run.PartialError](err)
	if stuck || partial {
		s.set = i.Set // something of that name is left
		return err
	}
	return errors.Join(err, s.state.End(i))
}
