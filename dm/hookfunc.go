package dm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/hook"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
)

// checkHooks: names that begin with / are those of programs.
func (r CreateRequest) checkHooks() error {
	named := map[string]bool{}
	for _, f := range r.Hooks {
		switch {
		case f.Name == "" || f.Name[0] == '/' || named[f.Name]:
			return plan.Refuse(plan.Usage, "", "give each Hook a Name of its own that does not begin with /", "a hook is called %q", f.Name)
		case f.PreFreeze == nil || f.End == nil:
			return plan.Refuse(plan.Usage, "", "set both PreFreeze and End", "hook %s lacks a function", f.Name)
		}
		named[f.Name] = true
	}
	return nil
}

// hookFunc is a Hook at work in one operation.
type hookFunc struct {
	Hook
	limit    time.Duration
	set      HookSet
	begun    bool
	returned chan struct{} // closed when PreFreeze has returned
}

func newHookFuncs(r CreateRequest, set HookSet) map[string]*hookFunc {
	all := map[string]*hookFunc{}
	for _, f := range r.Hooks {
		all[f.Name] = &hookFunc{Hook: f, limit: cmp.Or(r.HookTimeout, defaultHookTimeout), set: set}
	}
	return all
}

func (f *hookFunc) preFreeze(ctx context.Context) error {
	inner, cancel := context.WithTimeout(ctx, f.limit)
	defer cancel()
	returned, result := make(chan struct{}), make(chan error, 1)
	f.returned = returned
	go func() {
		err := f.PreFreeze(inner, f.set)
		close(returned)
		result <- err
	}()
	select {
	case err := <-result:
		return f.error(HookPreFreeze, err)
	case <-inner.Done():
		if err := ctx.Err(); err != nil {
			return err
		}
		return f.late(HookPreFreeze)
	}
}

// end leaves it to a goroutine to call End when PreFreeze has not returned: the two
// never run at once.
func (f *hookFunc) end(event HookEvent) error {
	result := make(chan error, 1)
	stuck := f.running()
	go func() {
		<-f.returned
		ctx, cancel := context.WithTimeout(context.Background(), f.limit)
		defer cancel()
		result <- f.End(ctx, event, f.set)
	}()
	if stuck {
		return nil
	}
	select {
	case err := <-result:
		return f.error(event, err)
	case <-time.After(f.limit):
		return f.late(event)
	}
}

// running tells whether PreFreeze has not returned.
func (f *hookFunc) running() bool {
	select {
	case <-f.returned:
		return false
	default:
		return true
	}
}

func (f *hookFunc) late(event HookEvent) error {
	return f.error(event, errors.Join(fmt.Errorf("did not return within %v", f.limit), context.DeadlineExceeded))
}

func (f *hookFunc) error(event HookEvent, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w %s %s: %w", hook.ErrHook, f.Name, event, err)
}
