package dm

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/targets"
)

// Why explains the state of a set, or of an origin, named as for Create: why it
// is invalid, busy, refused or slow. For a set it looks twice, a sample apart, to
// see how fast stores fill; zero looks once. It blocks no longer than that, takes
// no lock and changes nothing; ctx ends the wait.
func (m *Manager) Why(ctx context.Context, name string, sample time.Duration) (x *Explanation, err error) {
	s, err := m.open("why", name)
	if err != nil {
		return nil, err
	}
	defer s.close()
	s.read.LoadNothing = true
	x, err = s.why(ctx, name, sample)
	return x, s.fail(err)
}

func (s *session) why(ctx context.Context, name string, sample time.Duration) (*Explanation, error) {
	v, err := s.sets.look()
	if err != nil {
		return nil, err
	}
	sets := v.sets()
	set, dev, err := v.findSubject(name, sets)
	if err != nil {
		return nil, err
	}
	x := &explainer{s: s, view: v, Explanation: &Explanation{Subject: name, Kind: SubjectSet, Findings: []Finding{}}}
	if set != nil {
		err = x.explainSet(ctx, set, sample)
	} else {
		x.Kind = SubjectOrigin
		x.explainOrigin(name, dev, sets)
	}
	if err != nil {
		return nil, err
	}
	x.addMissingTargets()
	x.summarise()
	return x.Explanation, nil
}

func (x *explainer) explainSet(ctx context.Context, set *Set, sample time.Duration) error {
	loads, err := x.measureLoads(ctx, set, sample)
	if err != nil {
		return err
	}
	for i, v := range set.Volumes {
		x.addState(v)
		x.addStore(v, loads[i])
		x.addPin(v)
		x.addHolders(v)
		x.addSuspended(v)
	}
	x.addOperation(set.Name, set.UUID, func(i journal.Intent) bool { return i.Set == set.Name || i.ID == set.UUID })
	return nil
}

// remedies say what to do about a state.
var remedies = map[State]string{
	StateOverflow: "what is read is right, what is written to the image fails; remove the set and take a new one with a larger store",
	StateInvalid:  "remove the set and take a new one with a larger store; the origin was not harmed",
	StateBypassed: "remove the set, which keeps the new table, and take a new one",
	StateBroken:   "dmsnap recover cleans up an interrupted operation; dmsnap remove removes the rest",
}

func (x *explainer) addState(v Volume) {
	f := Finding{Level: LevelOK, Topic: TopicState, Volume: v.Name, Message: "its image is " + string(v.State)}
	if v.State != StateActive {
		f.Level, f.Message, f.Hint = LevelProblem, f.Message+": "+v.Reason, remedies[v.State]
	}
	x.add(f)
}

// addHolders names what keeps an image from being removed.
func (x *explainer) addHolders(v Volume) {
	if v.Devno == (DevNo{}) {
		return // there is no image
	}
	for _, h := range x.s.holders().busy(v.Device, v.Devno).Holders {
		x.add(Finding{
			Level: LevelNote, Topic: TopicHolder, Volume: v.Name, Holder: &h,
			Message: "its image is " + h.String() + ", and cannot be removed until that ends", Hint: holderHint(x.Subject, h),
		})
	}
}

// holderHint says how to end a holder's use of an image.
func holderHint(set string, h Holder) string {
	switch {
	case h.Kind == HolderMount && h.Namespace == "":
		return "dmsnap umount " + set
	case h.Kind == HolderMount:
		return fmt.Sprintf("nsenter -m -t %d umount %s", h.PID, h.Path)
	case h.Kind == HolderProcess:
		return fmt.Sprintf("end pid %d", h.PID)
	}
	return "remove device " + h.Path + " first"
}

// addSuspended finds suspended devices: readers and writers above them wait.
func (x *explainer) addSuspended(v Volume) {
	for _, part := range []struct {
		what string
		dev  DevNo
	}{{"image", v.Devno}, {"origin", v.OriginDevno}} {
		if part.dev == (DevNo{}) {
			continue // there is none
		}
		if which, found, err := x.s.read.Suspended(part.dev); err == nil && found {
			name := x.s.read.Node(which)
			x.add(Finding{
				Level: LevelProblem, Topic: TopicSuspended, Volume: v.Name, Message: fmt.Sprintf("%s is suspended: all I/O to the %s is blocked", name, part.what),
				Hint: "run dmsnap recover if dmsnap suspended it, otherwise dmsetup resume " + name,
			})
		}
	}
}

// addOperation tells what is under way on the subject, or was interrupted.
func (x *explainer) addOperation(name, id string, concerns func(journal.Intent) bool) {
	intents, err := x.s.state.Intents()
	if err != nil {
		x.s.log.Warn("a journal entry cannot be read", "error", err)
	}
	for _, i := range intents {
		if !concerns(i) {
			continue
		}
		f := Finding{Level: LevelNote, Topic: TopicOperation, Message: fmt.Sprintf("pid %d is running %s %s since %s", i.PID, i.Op, i.Set, i.Started.Format(time.RFC3339)), Hint: "wait until it has finished, or use --wait"}
		if held, err := x.s.state.Owner(i.Keys()...); err == nil && held == nil {
			f.Level, f.Message, f.Hint = LevelProblem, fmt.Sprintf("%s %s was interrupted", i.Op, i.Set), "dmsnap recover"
		}
		x.add(f)
	}
}

// explainOrigin explains what a cut of an origin would meet, and what its sets cost.
func (x *explainer) explainOrigin(spec string, dev targets.DevNo, sets []Set) {
	r := x.s.doctor().examine(spec)
	for _, p := range r.Problems {
		x.add(Finding{Level: LevelProblem, Topic: TopicCut, Message: p.Message, Hint: p.Hint})
	}
	if r.Possible {
		x.add(Finding{Level: LevelOK, Topic: TopicCut, Message: "a snapshot can be taken"})
	}
	x.addLayer(r)
	for _, f := range r.Filesystems {
		if f.Method == FreezeSuspend {
			x.add(Finding{Level: LevelNote, Topic: TopicCut, Message: fmt.Sprintf("the freeze of %s on %s cannot be verified: %s", f.Type, strings.Join(f.Mountpoints, ", "), f.Reason)})
		}
	}
	x.addCopies(dev, sets)
	x.addSuspended(Volume{OriginDevno: dev})
	x.addOperation("", "", func(i journal.Intent) bool { return slices.Contains(i.Origins, dev.String()) })
}

// addLayer tells what all writes of an attached device pass.
func (x *explainer) addLayer(r OriginReport) {
	if r.Layer != "" {
		x.add(Finding{
			Level: LevelNote, Topic: TopicWrites, Message: fmt.Sprintf("its I/O passes the layer it was attached with (%s): what fails there fails for its users", r.Layer),
			Hint: "dmsnap detach " + x.Subject + " takes it away",
		})
	}
}

// addCopies tells what the sets of an origin make of its writes.
func (x *explainer) addCopies(dev targets.DevNo, sets []Set) {
	var names []string
	for _, set := range sets {
		for _, v := range set.Volumes {
			if v.OriginDevno != dev {
				continue
			}
			if names = append(names, set.Name); v.State != StateActive {
				x.add(Finding{Level: LevelProblem, Topic: TopicSets, Volume: v.Name, Message: fmt.Sprintf("the image of set %s is %s: %s", set.Name, v.State, v.Reason), Hint: remedies[v.State]})
			}
		}
	}
	if len(names) == 0 {
		x.add(Finding{Level: LevelOK, Topic: TopicWrites, Message: "no snapshots: writes are not copied"})
		return
	}
	x.add(Finding{
		Level: LevelNote, Topic: TopicWrites, Hint: "remove sets that are no longer needed",
		Message: fmt.Sprintf("the first write to each chunk waits for a copy to the store of each set (%s); discards are refused", strings.Join(names, ", ")),
	})
}

// addMissingTargets names the parts that every set needs and this kernel lacks.
func (x *explainer) addMissingTargets() {
	for _, t := range needed[:3] {
		if found, err := x.s.read.Target(t.name); err == nil && !found.Available {
			x.add(Finding{Level: LevelProblem, Topic: TopicKernel, Message: missingTarget(t.name, t.why), Hint: targetHint(t.name)})
		}
	}
}

// summarise puts the worst first in a sentence; the findings keep their order.
func (x *explainer) summarise() {
	for _, level := range []Level{LevelProblem, LevelNote, LevelOK} {
		n := 0
		for _, f := range x.Findings {
			if f.Level != level {
				continue
			}
			if n++; n == 1 {
				x.Summary = f.Message
				if f.Volume != "" {
					x.Summary = f.Volume + ": " + f.Message
				}
			}
		}
		if n > 1 {
			x.Summary += fmt.Sprintf(" (and %d more)", n-1)
		}
		if n > 0 && level != LevelOK {
			return
		}
		if n > 0 {
			x.Summary = "nothing is wrong"
		}
	}
}

// addPin tells who keeps a filesystem from being unmounted, and how that ends.
func (x *explainer) addPin(v Volume) {
	switch {
	case v.Store.Pinned == nil:
	case *v.Store.Pinned:
		x.add(Finding{
			Level: LevelNote, Topic: TopicStore, Volume: v.Name, Hint: "dmsnap remove " + x.Subject,
			Message: fmt.Sprintf("the filesystem of %s can be neither unmounted nor reformatted: its store is a file on it", v.Store.Path),
		})
	default:
		x.add(Finding{
			Level: LevelProblem, Topic: TopicStore, Volume: v.Name, Hint: "dmsnap recover pins the file again",
			Message: fmt.Sprintf("the store's file on the filesystem of %s is not pinned: after an unmount the store may overwrite data on the device", v.Store.Path),
		})
	}
}
