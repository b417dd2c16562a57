package dm

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/hook"
	"github.com/dmsnap/dmsnap/dm/internal/journal"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
)

// findHooks lists the hooks of a request. One that root alone did not put there
// is an error: nothing of the directory can be trusted then.
func (x *examiner) findHooks(r CreateRequest) ([]string, error) {
	hooks, err := hook.Find(x.kernel, r.HookDirs...)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, plan.Refuse(plan.NotFound, "", "name a directory with hooks", "%v", err)
	case errors.Is(err, hook.ErrHook):
		return nil, plan.Refuse(plan.Usage, "", "hooks and all directories above them must belong to root and not be writable by others", "%v", err)
	}
	for _, f := range r.Hooks {
		hooks = append(hooks, f.Name)
	}
	if err == nil && len(hooks) == 0 && r.Consistency == Application {
		return nil, plan.Refuse(plan.Usage, "", "put hooks into /etc/dmsnap/hooks.d, or name a directory with --hooks", "no hooks are installed")
	}
	return hooks, err
}

// requestedLevel is the consistency that a request asks for.
func (r CreateRequest) requestedLevel(hooks int) Consistency {
	switch {
	case r.Consistency != "":
		return r.Consistency
	case hooks > 0:
		return Application
	}
	return Filesystem
}

// hooks calls those of one create, and keeps in the journal which of them are
// waiting for their end.
type hooks struct {
	state  journal.Dir
	log    *slog.Logger
	intent *journal.Intent
	strict bool // one that fails ends the create
	known  map[string]*hook.Hook
	funcs  map[string]*hookFunc
	done   []HookReceipt
}

func newHooks(state journal.Dir, log *slog.Logger, i *journal.Intent, p *plan.Plan, r CreateRequest) *hooks {
	set := hookSet(p, r)
	h := &hooks{state: state, log: log, intent: i, known: map[string]*hook.Hook{}, funcs: newHookFuncs(r, set)}
	for _, step := range p.Steps {
		if step.Action == plan.Hook && h.funcs[step.Program] == nil {
			h.known[step.Program] = &hook.Hook{Path: step.Program, Limit: cmp.Or(r.HookTimeout, defaultHookTimeout)}
		}
	}
	h.strict = r.requestedLevel(len(h.known)+len(h.funcs)) == Application
	i.HookSet = plainJSON(set)
	return h
}

// hookSet is what hooks get to know.
func hookSet(p *plan.Plan, r CreateRequest) HookSet {
	set := HookSet{Name: p.Set, UUID: p.ID, Labels: r.Labels}
	if set.Labels == nil {
		set.Labels = map[string]string{}
	}
	for _, v := range p.Volumes {
		out := HookVolume{Name: v.Name, Origin: v.Origin.Path, Mountpoints: []string{}, Device: "/dev/mapper/" + v.Image}
		for _, f := range v.Origin.Filesystems {
			out.Mountpoints = append(out.Mountpoints, f.Mountpoints...)
		}
		set.Volumes = append(set.Volumes, out)
	}
	return set
}

// plainJSON is for data that always has a JSON.
func plainJSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("plain data has a JSON: %v", err))
	}
	return b
}

func hookInput(event hook.Event, set json.RawMessage) []byte {
	return plainJSON(struct {
		Schema int             `json:"schema_version"`
		Event  hook.Event      `json:"event"`
		Set    json.RawMessage `json:"set"`
	}{journal.Schema, event, set})
}

// call is the step of a plan.
func (h *hooks) call(ctx context.Context, program, event string) error {
	if f := h.funcs[program]; f != nil {
		return h.callFunc(ctx, f, HookEvent(event))
	}
	if event != string(hook.PreFreeze) {
		return h.end(program, hook.Event(event))
	}
	// On disk first: whoever was told to quiesce is told to go on, by recover if
	// not by us.
	h.intent.Hooks = append(h.intent.Hooks, program)
	if err := h.state.Begin(*h.intent); err != nil {
		return err
	}
	err := h.timed(program, hook.PreFreeze, func(h *hook.Hook, input []byte) error { return h.PreFreeze(ctx, input) })
	if err == nil || h.strict || ctx.Err() != nil {
		return err
	}
	h.log.Warn("a hook failed; continuing without it", "error", err)
	return h.end(program, hook.Abort)
}

// end lets a hook go, once.
func (h *hooks) end(program string, event hook.Event) error {
	if !slices.Contains(h.intent.Hooks, program) {
		return nil
	}
	err := h.timed(program, event, func(h *hook.Hook, input []byte) error { return h.End(event, input) })
	if err != nil && event == hook.Abort {
		return err // recover tries again
	}
	h.intent.Hooks = slices.DeleteFunc(h.intent.Hooks, func(p string) bool { return p == program })
	return errors.Join(err, h.state.Begin(*h.intent))
}

func (h *hooks) timed(program string, event hook.Event, call func(*hook.Hook, []byte) error) error {
	return h.receipt(program, HookEvent(event), func() error {
		return call(h.known[program], hookInput(event, h.intent.HookSet))
	})
}

// receipt notes a call and how it ended.
func (h *hooks) receipt(name string, event HookEvent, call func() error) error {
	start := time.Now()
	err := call()
	r := HookReceipt{Hook: name, Event: event, Took: time.Since(start)}
	if err != nil {
		r.Error = err.Error()
	}
	h.done = append(h.done, r)
	return err
}

// endHooks lets the hooks of a dead operation go. A hold ended with its process.
func (s *recovery) endHooks(i journal.Intent, event hook.Event) {
	for _, program := range slices.Backward(i.Hooks) {
		err := hook.Check(s.kernel, program)
		if err == nil {
			err = (&hook.Hook{Path: program, Limit: defaultHookTimeout}).End(event, hookInput(event, i.HookSet))
		}
		if err != nil {
			s.log.Warn("a hook of an interrupted operation failed", "error", err)
		}
	}
}

// callFunc is the step of a plan for a function. It is in no intent: a function ends
// with its process.
func (h *hooks) callFunc(ctx context.Context, f *hookFunc, event HookEvent) error {
	if event != HookPreFreeze {
		return h.endFunc(f, event)
	}
	f.begun = true
	err := h.receipt(f.Name, event, func() error { return f.preFreeze(ctx) })
	if err == nil || h.strict || ctx.Err() != nil {
		return err
	}
	h.log.Warn("a hook failed; continuing without it", "error", err)
	return h.endFunc(f, HookAbort)
}

func (h *hooks) endFunc(f *hookFunc, event HookEvent) error {
	if !f.begun {
		return nil
	}
	f.begun = false
	return h.receipt(f.Name, event, func() error { return f.end(event) })
}
