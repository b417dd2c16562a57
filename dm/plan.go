package dm

import "github.com/dmsnap/dmsnap/dm/internal/plan"

// Plan is the ordered list of steps of one operation, as --dry-run shows it.
type Plan struct {
	Op    string     `json:"op"`
	Set   string     `json:"set"`
	Steps []PlanStep `json:"steps"`
}

// PlanStep is one step, for people and programs.
type PlanStep struct {
	Phase  Phase    `json:"phase"`
	Action string   `json:"action"`
	Device string   `json:"device"`
	Table  []string `json:"table,omitempty"`  // exact table lines; crypt keys are masked
	Detail string   `json:"detail,omitempty"` // e.g. the filesystem, flags
	Undo   string   `json:"undo,omitempty"`   // what takes it back
}

// redactedPlan leaves secrets out.
func redactedPlan(p *plan.Plan) *Plan {
	out := &Plan{Op: p.Op, Set: p.Set, Steps: []PlanStep{}}
	for _, s := range p.Steps {
		ps := PlanStep{Phase: Phase(s.Phase), Action: string(s.Action), Device: s.Device, Detail: s.Detail()}
		if s.Filesystem != nil {
			ps.Device = s.Filesystem.Mountpoints[0]
		}
		if s.Medium != nil {
			ps.Device = s.Medium.Path
		}
		if s.Program != "" {
			ps.Detail = s.Program + " " + s.Event
		}
		if s.Group != "" {
			ps.Detail = "LVM's volume group " + s.Group
		}
		if s.To != "" {
			ps.Detail = "to " + s.To
		}
		for _, row := range s.Table.Redacted() {
			ps.Table = append(ps.Table, row.String())
		}
		if s.Undo != nil {
			ps.Undo = s.Undo.String()
		}
		out.Steps = append(out.Steps, ps)
	}
	return out
}
