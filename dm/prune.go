package dm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/dm/internal/retention"
)

// KeepRules say which sets of a series stay.
type KeepRules struct{ rules []retention.Rule }

// ParseKeepRules reads rules such as "hourly:24 daily:7 weekly:4": the newest set of each of
// the last 24 hours, 7 days and 4 weeks that have one. The periods are last (each
// set), hourly, daily, weekly, monthly and yearly.
func ParseKeepRules(text string) (k KeepRules, err error) {
	k.rules, err = retention.Parse(text)
	return k, err
}

// IsZero tells rules that were never read.
func (k KeepRules) IsZero() bool { return len(k.rules) == 0 }

// String is what ParseKeepRules reads.
func (k KeepRules) String() string {
	var words []string
	for _, r := range k.rules {
		words = append(words, r.String())
	}
	return strings.Join(words, " ")
}

// PruneRequest asks for the sets of a series that no rule keeps to be removed.
type PruneRequest struct {
	// Labels are those that all sets of the series have, and no other set.
	Labels map[string]string
	Keep   KeepRules
	// Zone is where days and hours begin. Nil: time.Local.
	Zone   *time.Location
	DryRun bool
}

// Pruned is what became of one set of the series.
type Pruned struct {
	Set     string    `json:"set"`
	Created time.Time `json:"created"`
	Keep    bool      `json:"keep"`
	Why     string    `json:"why"`     // why it stays, or goes
	Removed bool      `json:"removed"` // false for all if nothing was to be done
}

// Prune removes the sets of a series that no rule keeps, the oldest first, and tells of
// each, the newest first, why it stays or goes. A set that is on hold, mounted, has a
// lease that has not ended or was made by another operation in progress stays whatever
// the rules say; one whose image is lost goes. A set that is in use otherwise stays too,
// with an error of CodeBusy; the others are removed all the same. A bookmark is none of the
// series: it has nothing to go back to, and whoever needs its list removes it.
func (m *Manager) Prune(ctx context.Context, r PruneRequest) (pruned []Pruned, err error) {
	s, err := m.open("prune", "")
	if err != nil {
		return nil, err
	}
	defer s.close()
	pruned, err = (&pruning{s, r}).run(ctx, time.Now())
	return pruned, s.fail(err)
}

// pruning is the end of some sets of a series.
type pruning struct {
	*session
	r PruneRequest
}

func (p *pruning) run(ctx context.Context, now time.Time) ([]Pruned, error) {
	switch {
	case len(p.r.Labels) == 0:
		return nil, plan.Refuse(plan.Usage, "", "name a label that only they have", "it is not said which sets are meant")
	case p.r.Keep.IsZero():
		return nil, plan.Refuse(plan.Usage, "", "write them like daily:7 weekly:4", "no keep rule is given")
	}
	sets, err := p.sets.list()
	if err != nil {
		return nil, err
	}
	sets = slices.DeleteFunc(sets, func(s Set) bool { return s.Created == nil || s.Layer || s.Bookmark || !hasLabels(s, p.r.Labels) })
	slices.SortStableFunc(sets, func(a, b Set) int { return b.Created.Compare(*a.Created) })
	pruned := p.decide(sets, now)
	if p.r.DryRun {
		return pruned, nil
	}
	var errs []error
	removed := 0
	for i := len(sets) - 1; i >= 0; i-- {
		if pruned[i].Keep {
			continue
		}
		switch err := p.remove(ctx, sets[i]); {
		case err == nil:
			pruned[i].Removed = true
			removed++
		case errors.Is(err, errWanted):
			pruned[i].Keep, pruned[i].Why = true, "it is wanted again by now"
		case !errors.Is(err, ErrNotFound): // another process was faster
			errs = append(errs, err)
		}
	}
	if err = errors.Join(errs...); err != nil && removed > 0 && CodeOf(err) != CodeUnrecovered {
		err = &Error{Code: CodePartial, Err: fmt.Errorf("%d sets were removed, others were not: %w", removed, err)}
	}
	return pruned, err
}

func hasLabels(s Set, labels map[string]string) bool {
	for key := range maps.Keys(labels) {
		if value, ok := s.Labels[key]; !ok || value != labels[key] {
			return false
		}
	}
	return true
}

// decide asks the rules.
func (p *pruning) decide(sets []Set, now time.Time) []Pruned {
	zone := p.r.Zone
	if zone == nil {
		zone = time.Local
	}
	var items []retention.Item
	for _, s := range sets {
		item := retention.Item{Name: s.Name, Time: s.Created.In(zone)}
		item.Stays, item.Passing = staysAnyway(s)
		switch s.State {
		case StateInvalid, StateOverflow:
			item.Lost = "its image is lost: " + string(s.State)
		case StateActive:
		default: // to be looked at by somebody, and no reason for another one to go
			item.Passing = true
			if item.Stays == "" {
				item.Stays = "it is " + string(s.State)
			}
		}
		items = append(items, item)
	}
	var pruned []Pruned
	for i, v := range retention.Decide(items, p.r.Keep.rules, now) {
		pruned = append(pruned, Pruned{Set: sets[i].Name, Created: sets[i].Created.UTC(), Keep: v.Keep, Why: v.Why})
	}
	return pruned
}

// staysAnyway says why a set stays whatever the rules say, and whether it is about to go
// by itself.
func staysAnyway(s Set) (why string, passing bool) {
	if l := s.Lease; l != nil {
		switch {
		case l.Held:
			return "it is on hold", false
		case l.Lease != "":
			return "its lease, " + l.Lease + ", decides", true
		}
	}
	for _, v := range s.Volumes {
		if len(v.ImageMounts) > 0 {
			return "it is mounted on " + v.ImageMounts[0], false
		}
	}
	return "", false
}

// remove takes one set down, unless it is wanted again by now.
func (p *pruning) remove(ctx context.Context, was Set) error {
	r, err := p.Manager.open("remove", was.Name)
	if err != nil {
		return err
	}
	defer r.close()
	still := func() error {
		now, err := r.state.LoadSet(was.Name)
		if err == nil && (now.Held || now.Lease != "") {
			err = errWanted
		}
		return err
	}
	err = (&removal{session: r, name: was.Name, id: was.UUID, still: still}).run(ctx, true)
	r.tidyLayers(ctx)
	if err == nil {
		p.log.Info("no keep rule keeps the set: removed", "set", was.Name)
	}
	return r.fail(err)
}
