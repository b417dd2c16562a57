package dm

import (
	"errors"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/run"
	"github.com/dmsnap/dmsnap/ioctl"
)

// begin writes the intent: from here on an interrupted operation can be told
// from a finished one. One that is covered goes on without: taking down is what
// helps when the state directory is full.
func (s *session) begin(d *done, covered bool) (err error) {
	d.intent, err = s.tryBegin(d.plan, d.runner)
	switch {
	case err == nil:
	case !covered:
		return errors.Join(err, s.state.End(d.intent))
	default:
		s.log.Warn("cleaning up without a journal entry", "error", err)
	}
	return nil
}

// tryBegin leaves what there is of the intent when it fails. The semaphore of the
// cookie comes after the intent that names it: it outlives a process that dies.
func (s *session) tryBegin(p *plan.Plan, r *run.Runner) (i journal.Intent, err error) {
	if i, err = s.intent(p); err != nil {
		return i, err
	}
	r.Cookie, err = s.writeIntent(&i)
	r.Renew = func() (*ioctl.Cookie, error) { return s.notedAgain(p.ID, p.Op) }
	return i, err
}

// notedAgain changes the cookie of an intent as it is on disk: the process may die
// while it takes back, too.
func (s *session) notedAgain(id, op string) (*ioctl.Cookie, error) {
	intents, err := s.state.Intents()
	if err != nil {
		return nil, err
	}
	for _, i := range intents {
		if i.ID == id && i.Op == op && i.Unread == nil {
			return s.writeIntent(&i)
		}
	}
	return nil, fs.ErrNotExist
}

// writeIntent writes an intent with a new udev cookie, nil on a host without udev.
func (s *session) writeIntent(i *journal.Intent) (*ioctl.Cookie, error) {
	if !s.kernel.UdevRunning() {
		return nil, s.state.Begin(*i)
	}
	cookie, err := s.kernel.PickCookie()
	if err != nil {
		return nil, err
	}
	i.Cookie = cookie.String()
	if err := s.state.Begin(*i); err != nil {
		return nil, err
	}
	err = cookie.Make()
	if errors.Is(err, unix.EEXIST) { // another program has it
		return s.writeIntent(i)
	}
	if err != nil {
		return nil, err
	}
	return cookie, nil
}

func (s *session) intent(p *plan.Plan) (journal.Intent, error) {
	boot, err := s.read.BootID()
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

// labelled are the devices that a plan labels and nobody has yet.
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
