package plan_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/targets"
)

func flattening(readers ...plan.FlattenReader) plan.FlattenRequest {
	return plan.FlattenRequest{Set: "layer-5e7", ID: "5e7", Readers: readers}
}

// flattened reads through the layer, and lacks that many bytes of it.
func flattened(set string, bytes uint64) plan.FlattenReader {
	return plan.FlattenReader{
		Layer: plan.StoreName("layer-5e7", "vg-home"), Onto: targets.DevNo{Major: 254, Minor: 210},
		Name: plan.CoreName(set, "vg-home"), Set: set, Role: plan.RoleCore, Bytes: bytes, Size: 100 << 20, With: bytes + 50<<20,
		Table: targets.Single(2<<20, targets.Snapshot{
			Origin: targets.Device{DevNo: targets.DevNo{Major: 254, Minor: 209}}, Store: targets.Device{DevNo: targets.DevNo{Major: 254, Minor: 200}},
			Mode: targets.PersistentOverflow, Chunk: 128,
		}),
	}
}

func TestFlattenRefuses(t *testing.T) {
	snapshot := func(change func(*targets.Snapshot)) plan.FlattenReader {
		r := flattened("sunday", 1<<20)
		s := r.Table[0].Target.(targets.Snapshot)
		change(&s)
		r.Table = targets.Single(2<<20, s)
		return r
	}
	full := flattened("sunday", 1<<20)
	full.Size = full.With - 1
	for hint, r := range map[string]plan.FlattenReader{
		"dmsnap extend sunday 52224k": full,
		"remove it first":             snapshot(func(s *targets.Snapshot) { s.Mode = targets.Transient }),
		"remove it first ":            snapshot(func(s *targets.Snapshot) { s.Chunk = 4 }),
	} {
		_, err := plan.Flatten(flattening(r))
		if refused, ok := errors.AsType[*plan.Refusal](err); !ok || refused.Hint != strings.TrimSpace(hint) {
			t.Errorf("%s: %+v", hint, err)
		}
	}
}
