package dm

import (
	"context"
	"errors"
	"fmt"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/stack"
	"github.com/dmsnap/dmsnap/targets"
)

// needed are the targets a cut uses, with the versions they were verified at
// (docs/kernel-notes.md; present since long before the oldest supported kernel).
var needed = []struct{ name, why string }{
	{"snapshot-origin", "every set"},
	{"snapshot", "every set"},
	{"linear", "exception stores"},
}

// Doctor tells what works on this host and, for each origin named, what a cut
// would do and what stands in its way. It changes nothing and loads no module.
// Problems are in the report, not errors.
func (m *Manager) Doctor(_ context.Context, origins ...string) (r *Report, err error) {
	k := m.opts.Kernel
	r = &Report{
		Targets: []TargetReport{}, Problems: []Problem{}, Origins: []OriginReport{},
		Udev: k.UdevRunning(), Privileged: k.Geteuid() == 0,
	}
	if r.Kernel, err = k.Release(); err != nil {
		return nil, err
	}
	if err := plan.CheckRelease(r.Kernel); err != nil {
		r.add(err)
	}
	s, err := m.open("doctor", "")
	if err != nil {
		r.add(err)
		for _, o := range origins {
			r.Origins = append(r.Origins, OriginReport{Origin: o, Redirector: RedirectNone, Filesystems: []FSReport{}, Problems: []Problem{{"device-mapper cannot be used", ""}}})
		}
		return r, nil
	}
	defer s.close()
	s.read.LoadNothing = true
	if r.DM, err = s.life.version(); err != nil {
		return nil, s.fail(err)
	}
	r.targets(s)
	if err := r.media(s); err != nil {
		return nil, s.fail(err)
	}
	for _, o := range origins {
		r.Origins = append(r.Origins, s.doctor().examine(o))
	}
	return r, nil
}

func (r *Report) targets(s *session) {
	for _, t := range needed {
		report := TargetReport{Name: t.name, NeededFor: t.why}
		found, err := s.read.Target(t.name)
		report.Version, report.Loadable = found.Version, found.Available && found.Version == ""
		switch {
		case err != nil:
			r.Problems = append(r.Problems, Problem{Message: err.Error()})
		case !found.Available:
			r.Problems = append(r.Problems, Problem{missingTarget(t.name, t.why), targetHint(t.name)})
		}
		r.Targets = append(r.Targets, report)
	}
}

// media are what the stores of all live sets wait for.
func (r *Report) media(s *session) error {
	ours, err := s.read.Look()
	if err != nil {
		return err
	}
	for d := range ours.Devices() {
		if d.Role != plan.RoleStore {
			continue
		}
		disks, err := s.read.Disks(d.Dev)
		if err != nil {
			return err
		}
		for _, disk := range disks {
			r.Media = append(r.Media, medium(d.Name, plan.Disk{Name: disk.Name, Timeout: disk.Timeout}))
		}
	}
	return nil
}

func missingTarget(name, why string) string {
	return fmt.Sprintf("the kernel has no %s target (%s)", name, why)
}

func targetHint(name string) string {
	module := stack.ModuleOf(name)
	return "install the module " + module + "; if it is installed but not visible here: modprobe " + module
}

func (r *Report) add(err error) {
	p := Problem{Message: err.Error()}
	if e, ok := errors.AsType[*Error](err); ok {
		p = Problem{e.Error(), e.commandHint()}
	}
	if e, ok := errors.AsType[*plan.Refusal](err); ok {
		p = Problem{e.Why, e.Hint}
	}
	r.Problems = append(r.Problems, p)
}

// originDoctor says what a cut of an origin would do.
type originDoctor struct {
	*examiner
	state journal.Dir
	fail  func(error) error
}

func (s *session) doctor() originDoctor { return originDoctor{s.origins, s.state, s.fail} }

// examine goes through what a create would check, store aside.
func (d originDoctor) examine(spec string) OriginReport {
	r := OriginReport{Origin: spec, Redirector: RedirectNone, Filesystems: []FSReport{}, Problems: []Problem{}}
	f, o, err := d.examineOrigin(spec)
	if r.Device = o.Path; o.Path != "" {
		r.Devno = o.Dev
	}
	if err != nil {
		e := d.fail(err)
		r.Problems = append(r.Problems, Problem{Message: err.Error(), Hint: hintOf(e)})
	}
	if f == nil {
		return r
	}
	if o.Plain != nil && o.StoreOf == "" && !o.Plain.Interposer {
		release, _ := d.kernel.Release()
		r.Problems = append(r.Problems, missingInterposer(d.kernel, release)...)
	}
	if r.Attached, err = isAttached(d.state, o); err != nil {
		r.Problems = append(r.Problems, Problem{Message: err.Error()})
	}
	if o.Base != nil {
		r.Layer = d.read.Layer(*f.ours.Named(o.Base.Name)).String()
		r.Redirector = Redirector(plan.RedirectorOf(o).Name())
	} else if rd, err := plan.Redirect(o); err == nil {
		r.Redirector = Redirector(rd.Name())
	}
	for _, fs := range f.request.Volumes[0].Origin.Filesystems {
		r.Filesystems = append(r.Filesystems, FSReport{Type: fs.Type, Mountpoints: fs.Mountpoints, Method: FreezeMethod(fs.Method), Reason: fs.Reason})
	}
	if err := d.checkFreezable(f); err != nil {
		r.Problems = append(r.Problems, Problem{err.Error(), hintOf(d.fail(err))})
	}
	r.Notes = append(d.lvmNotes(o, f.above[o.Dev]), d.atomicNotes(o)...)
	r.Possible = len(r.Problems) == 0
	return r
}

func (d originDoctor) examineOrigin(spec string) (*facts, plan.Origin, error) {
	var o plan.Origin
	f := &facts{above: map[targets.DevNo][]targets.DevNo{}}
	var err error
	if f.mounts, err = allMounts(d.kernel); err != nil {
		return nil, o, err
	}
	if f.ours, err = d.read.Look(); err != nil {
		return nil, o, err
	}
	o, err = d.findOrigin(f, spec)
	if f.above[o.Dev] == nil {
		return nil, o, err
	}
	f.request.Volumes = []plan.VolumeRequest{{Origin: o}}
	f.systems = f.mounts.Plan(f.devices()...)
	f.assign()
	return f, o, err
}

func hintOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.commandHint()
	}
	return ""
}
