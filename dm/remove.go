package dm

import (
	"context"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
)

// Remove takes a set down and gives its origins their own tables back. A set
// whose image is in use is refused with CodeBusy and stays whole. Past the point
// where the first image is gone nothing can be put back: a failure then has
// CodePartial, and the same call again continues.
//
// With Flatten it blocks for as long as the copying takes. Cancelling ctx ends it,
// with CodePartial if the set is gone by then. No image is hurt by that; Remove of
// the layer, with Flatten, continues from there.
func (m *Manager) Remove(ctx context.Context, r RemoveRequest) (err error) {
	s, err := m.open("remove", r.Name)
	if err != nil {
		return err
	}
	defer s.close()
	defer s.warnOfStalls(ctx, "inspect the set")()
	if r.Flatten {
		err = (&flattening{session: s, request: r}).run(ctx)
	} else {
		err = s.remove(ctx, r.Name)
	}
	if err != nil {
		return s.fail(err)
	}
	s.tidyLayers(ctx)
	return nil
}

// PlanRemove returns the steps Remove would take, and changes nothing.
func (m *Manager) PlanRemove(_ context.Context, r RemoveRequest) (p *Plan, err error) {
	s, err := m.open("remove", r.Name)
	if err != nil {
		return nil, err
	}
	defer s.close()
	planned, err := s.planRemove(r)
	if err != nil {
		return nil, s.fail(err)
	}
	return redactedPlan(planned), nil
}

func (s *session) planRemove(request RemoveRequest) (*plan.Plan, error) {
	if request.Flatten {
		return (&flattening{session: s, request: request}).plan()
	}
	r := &removal{session: s, name: request.Name}
	if _, err := r.look(); err != nil {
		return nil, err
	}
	return plan.Remove(r.rest), nil
}
