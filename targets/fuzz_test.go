package targets_test

import (
	"testing"

	"github.com/dmsnap/dmsnap/targets"
)

// FuzzParseTarget: what parses is the same after formatting and parsing again,
// and nothing panics on the way to devices, checks and redaction.
func FuzzParseTarget(f *testing.F) {
	for _, c := range known {
		f.Add(c.typ, c.params)
	}
	f.Fuzz(func(t *testing.T, typ, params string) {
		first, err := targets.Parse(typ, params)
		if err != nil {
			return
		}
		second, err := targets.Parse(first.Type(), first.Params())
		if err != nil {
			t.Fatalf("%q does not parse again: %v", first.Params(), err)
		}
		if !targets.Single(8, first).Equal(targets.Single(8, second)) || first.Params() != second.Params() {
			t.Fatalf("%q became %q", first.Params(), second.Params())
		}
		table := targets.Single(8, first)
		table.Devices()
		table.Redacted()
		_ = table.ValidateWhole()
	})
}

// FuzzParseTable: every table that may be loaded survives its own text.
func FuzzParseTable(f *testing.F) {
	for _, c := range known {
		f.Add("0 8 " + c.typ + " " + c.params + "\n8 8 zero\n")
	}
	f.Add("# x\n\n 0 1 zero\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		first, err := targets.ParseTable(text)
		if err != nil {
			return
		}
		formatted, err := targets.FormatTable(first)
		if err != nil {
			return
		}
		second, err := targets.ParseTable(formatted)
		if err != nil || !first.Equal(second) {
			t.Fatalf("%q became %q: %v", text, formatted, err)
		}
	})
}

// FuzzSnapshotStatus: what parses is the same after formatting.
func FuzzSnapshotStatus(f *testing.F) {
	f.Add("32/2048 16")
	f.Add("Merge failed")
	f.Fuzz(func(t *testing.T, text string) {
		first, err := targets.ParseSnapshotStatus(text)
		if err != nil {
			return
		}
		second, err := targets.ParseSnapshotStatus(first.String())
		if err != nil || first != second {
			t.Fatalf("%q: %+v became %+v, %v", text, first, second, err)
		}
	})
}

// FuzzEraStatus: what parses is the same after formatting.
func FuzzEraStatus(f *testing.F) {
	f.Add("8 17/1024 3 -")
	f.Add("Error")
	f.Fuzz(func(t *testing.T, text string) {
		first, err := targets.ParseEraStatus(text)
		if err != nil {
			return
		}
		second, err := targets.ParseEraStatus(first.String())
		if err != nil || first != second {
			t.Fatalf("%q: %+v became %+v, %v", text, first, second, err)
		}
	})
}
