package plan_test

import (
	"errors"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/targets"
)

func TestExtendRefuses(t *testing.T) {
	for name, row := range map[string]struct {
		volume plan.ExtendVolume
		kind   plan.Kind
	}{
		"less than it has":       {grow("home", 0, 100), plan.Usage},
		"as much as it has":      {grow("home", 0, 600<<10), plan.Usage},
		"enough already":         {grow("home", 0, 100, relative, enough), plan.Usage},
		"no room":                {grow("home", 0, 900<<10), plan.NoSpace},
		"no room with a further": {grow("home", 0, gib, func(v *plan.ExtendVolume) { spilling(v); v.Further.Size = 1024 }), plan.NoSpace},
		"lost":                   {grow("home", 0, 700<<10, func(v *plan.ExtendVolume) { v.Lost = "overflow" }), plan.NoSpace},
		"larger sectors":         {grow("home", 0, gib, func(v *plan.ExtendVolume) { spilling(v); v.Further.LogicalBlock = 4096 }), plan.Unsupported},
		"further file":           {grow("home", 0, gib, func(v *plan.ExtendVolume) { spilling(v); v.Further.Backing = plan.Loop }), plan.Unsupported},
		"no room in the file":    {grow("home", 0, 900<<10, ofFile(plan.Extents)), plan.NoSpace},
		"stuck":                  {grow("home", 0, 700<<10, ofFile(plan.Extents), func(v *plan.ExtendVolume) { v.Stuck = "it cannot" }), plan.NoSpace},
		"hardly any room": {grow("home", 0, 700<<10, ofFile(plan.Loop), func(v *plan.ExtendVolume) {
			v.Partly, v.File.Room = true, 2<<20+4096
		}), plan.NoSpace},
		"no linear map": {grow("home", 0, 700<<10, func(v *plan.ExtendVolume) {
			v.Table = targets.Table{{Length: 600 << 10, Target: targets.Error{}}}
		}), plan.Unsupported},
	} {
		_, err := plan.Extend(extension(row.volume))
		r, ok := errors.AsType[*plan.Refusal](err)
		if !ok || r.Kind != row.kind || r.Hint == "" || r.Device == "" {
			t.Errorf("%s: %v (%+v), want a refusal by %s", name, err, r, row.kind)
		}
	}
}

// TestExtendKeepsWhatIsThere: rows stay where they are, but for the last, which
// may end later, and sizes fit the sectors of the store.
func TestExtendKeepsWhatIsThere(t *testing.T) {
	v := grow("home", 0, 1<<20+3, spilling)
	v.LogicalBlock, v.Further.LogicalBlock = 4096, 4096
	p, err := plan.Extend(extension(v))
	if err != nil {
		t.Fatal(err)
	}
	if s := p.Steps[0]; s.Action != plan.LabelMedium || s.Undo == nil || s.Medium.Label.Piece != 1 {
		t.Errorf("the further device gets no lead and tail: %+v", s)
	}
	table := p.Steps[1].Table
	if len(table) != 2 || table[0].Start != 0 || table[0].Length != 800<<10 || table[1].Start != 800<<10 || !plan.HasLead(table[1]) || table.Size() != 1<<20 {
		t.Errorf("the table becomes\n%s", table)
	}
	if v.Table[0].Length != 600<<10 {
		t.Error("the request was changed")
	}
}

// TestExtendTakesWhatThereIs: partly is at most what the filesystem has.
func TestExtendTakesWhatThereIs(t *testing.T) {
	p, err := plan.Extend(extension(grow("home", 0, 900<<10, ofFile(plan.Extents), func(v *plan.ExtendVolume) { v.Partly = true })))
	if err != nil {
		t.Fatal(err)
	}
	if f := p.Steps[0].File; p.Steps[0].Action != plan.MakeFile || f.At != 300<<20 || f.Bytes != 100<<20 || p.Steps[1].Table.Size() != 600<<10+200<<10 {
		t.Errorf("%+v, %s", f, p.Steps[1].Table)
	}
}
