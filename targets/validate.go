package targets

import "fmt"

// Validate refuses what the kernel would refuse whatever the devices are: no
// row, a gap, an empty row, or a target whose own Validate fails. The error
// is an [*InvalidError] or wraps one.
func (t Table) Validate() error {
	if len(t) == 0 {
		return &InvalidError{Kind: "table", Reason: "no rows"}
	}
	var next Sectors
	for i, row := range t {
		if err := row.validate(next); err != nil {
			return fmt.Errorf("row %d: %w", i+1, err)
		}
		next = row.Start + row.Length
	}
	return nil
}

func (r Row) validate(start Sectors) error {
	switch {
	case r.Target == nil:
		return &InvalidError{Kind: "table", Reason: "no target"}
	case r.Start != start:
		return &InvalidError{Kind: "table", Reason: "starts at " + r.Start.String() + ", want " + start.String()}
	case r.Length == 0:
		return &InvalidError{Kind: "table", Reason: "empty"}
	case r.Length > maxSectors-r.Start:
		return &InvalidError{Kind: "table", Reason: "ends beyond 2^64 bytes"}
	}
	if v, ok := r.Target.(validator); ok {
		return v.Validate()
	}
	return nil
}

// ValidateWhole is Validate plus the rule for targets that ignore the start of
// their row (the snapshot family always, era before Linux 6.12): they stand
// alone at sector 0. The error then wraps [ErrNotWhole].
func (t Table) ValidateWhole() error {
	if err := t.Validate(); err != nil {
		return err
	}
	for i, row := range t {
		if ignoresStart(row.Target.Type()) && len(t) > 1 {
			return fmt.Errorf("row %d, %s: %w", i+1, row.Target.Type(), ErrNotWhole)
		}
	}
	return nil
}

func ignoresStart(typ string) bool {
	return typ == "snapshot" || typ == "snapshot-origin" || typ == "snapshot-merge" || typ == "era"
}
