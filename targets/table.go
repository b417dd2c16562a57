package targets

import (
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

// Only is the target of a table that has no other, if it is of the wanted type.
func Only[T Target](t Table) (target T, ok bool) {
	if len(t) != 1 {
		return target, false
	}
	target, ok = t[0].Target.(T)
	return target, ok
}

// Size is the size of the device: where the last row ends.
func (t Table) Size() Sectors {
	if len(t) == 0 {
		return 0
	}
	last := t[len(t)-1]
	return last.Start + last.Length
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
