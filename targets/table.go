package targets

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// Row is one line of a table: Length sectors from Start are served by Target.
type Row struct {
	Start, Length Sectors
	Target        Target
}

// Table is the map of one device, row by row from sector 0 without gaps.
type Table []Row

// Single is the table of one row from sector 0.
func Single(length Sectors, t Target) Table { return Table{{Length: length, Target: t}} }

// Size is the size of the device: where the last row ends.
func (t Table) Size() Sectors {
	if len(t) == 0 {
		return 0
	}
	last := t[len(t)-1]
	return last.Start + last.Length
}

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

// Equal compares by meaning: same rows, same targets, device numbers as
// numbers, white space aside. A path never equals a number: this package looks
// nothing up.
func (t Table) Equal(other Table) bool {
	return slices.EqualFunc(t, other, func(a, b Row) bool {
		return a.Start == b.Start && a.Length == b.Length && equalTargets(a.Target, b.Target)
	})
}

func equalTargets(a, b Target) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Type() == b.Type() && slices.Equal(canonical(a), canonical(b))
}

// canonical is the words of a target with numbers of devices in one form.
func canonical(t Target) []string {
	words := split(t.Params())
	for i, w := range words {
		if d, err := ParseDevice(w); err == nil && d.Path == "" {
			words[i] = d.String()
		}
	}
	return words
}

// Devices are the lower devices of all rows, each once, in order of first use.
// Targets that do not tell their devices add none.
func (t Table) Devices() []Device {
	var devices []Device
	for _, row := range t {
		l, ok := row.Target.(lower)
		if !ok {
			continue
		}
		for _, d := range l.Devices() {
			if !slices.Contains(devices, d) {
				devices = append(devices, d)
			}
		}
	}
	return devices
}

// Redacted is the table without keys, for people and logs. It must not be
// loaded.
func (t Table) Redacted() Table {
	out := slices.Clone(t)
	for i := range out {
		if out[i].Target != nil {
			out[i].Target = Redacted(out[i].Target)
		}
	}
	return out
}

// String is the table as dmsetup prints it, one line per row, with keys if it
// has any.
func (t Table) String() string {
	var b strings.Builder
	for _, row := range t {
		b.WriteString(row.String() + "\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// LogValue keeps keys out of logs.
func (t Table) LogValue() slog.Value { return slog.StringValue(t.Redacted().String()) }
