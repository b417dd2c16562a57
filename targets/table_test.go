package targets_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dmsnap/dmsnap/targets"
)

var twoRows = targets.Table{
	{Length: 100, Target: targets.Linear{Dev: dev81, Offset: 2048}},
	{Start: 100, Length: 28, Target: targets.Linear{Dev: dev25}},
}

func TestTableText(t *testing.T) {
	text, err := targets.FormatTable(twoRows)
	if err != nil {
		t.Fatal(err)
	}
	if want := "0 100 linear 8:1 2048\n100 28 linear 254:5 0\n"; text != want {
		t.Errorf("got %q", text)
	}
	got, err := targets.ParseTable("# comment\n\n" + text)
	if diff := cmp.Diff(twoRows, got); diff != "" || err != nil {
		t.Errorf("read back: %v\n%s", err, diff)
	}
	if twoRows.Size() != 128 || (targets.Table{}).Size() != 0 {
		t.Errorf("sizes %v, %v", twoRows.Size(), targets.Table{}.Size())
	}
	if _, err := targets.FormatTable(targets.Table{}); err == nil {
		t.Error("an empty table was formatted")
	}
}

func TestParseTableRefuses(t *testing.T) {
	for _, c := range []struct {
		text  string
		line  int
		field string
	}{
		{"0", 1, "length"},
		{"0 8", 1, "target type"},
		{"x 8 zero", 1, "start"},
		{"0 -8 zero", 1, "length"},
		{"vg-home: 0 8 zero", 1, "start"},
		{"0 8 zero\r\n8 8 linear 8:1\n", 2, "offset"},
	} {
		_, err := targets.ParseTable(c.text)
		var parse *targets.ParseError
		if !errors.As(err, &parse) || parse.Line != c.line || parse.Field != c.field {
			t.Errorf("%q: got %v", c.text, err)
		}
	}
}

func TestErrorsHoldNoKeys(t *testing.T) {
	const key = "00112233445566778899aabbccddeeff"
	_, err := targets.ParseTable("0 8x crypt aes-xts-plain64 " + key + " 0 8:1 0")
	if err == nil || strings.Contains(err.Error(), key) {
		t.Errorf("got %v", err)
	}
}

func TestTableValidate(t *testing.T) {
	zero := func(start, length targets.Sectors) targets.Row {
		return targets.Row{Start: start, Length: length, Target: targets.Zero{}}
	}
	for _, c := range []struct {
		name  string
		table targets.Table
		ok    bool
	}{
		{"one row", targets.Single(8, targets.Zero{}), true},
		{"two rows", targets.Table{zero(0, 8), zero(8, 8)}, true},
		{"none", nil, false},
		{"late start", targets.Table{zero(1, 8)}, false},
		{"gap", targets.Table{zero(0, 8), zero(9, 8)}, false},
		{"overlap", targets.Table{zero(0, 8), zero(7, 8)}, false},
		{"empty row", targets.Table{zero(0, 0)}, false},
		{"overflow", targets.Table{zero(0, 8), zero(8, 1<<64-8)}, false},
		{"no target", targets.Table{{Length: 8}}, false},
		{"bad target", targets.Single(8, targets.Linear{}), false},
		{"a target of the caller's", targets.Single(8, foreign{}), true},
	} {
		if err := c.table.Validate(); c.ok != (err == nil) {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}

func TestValidateWhole(t *testing.T) {
	origin := targets.Origin{Dev: dev81}
	if err := targets.Single(8, origin).ValidateWhole(); err != nil {
		t.Error(err)
	}
	two := targets.Table{{Length: 8, Target: targets.Zero{}}, {Start: 8, Length: 8, Target: origin}}
	if err := two.ValidateWhole(); !errors.Is(err, targets.ErrNotWhole) {
		t.Errorf("got %v", err)
	}
	if err := (targets.Table{}).ValidateWhole(); err == nil || errors.Is(err, targets.ErrNotWhole) {
		t.Errorf("got %v", err)
	}
	if err := twoRows.ValidateWhole(); err != nil {
		t.Error(err)
	}
}

func TestEqual(t *testing.T) {
	table := func(text string) targets.Table {
		got, err := targets.ParseTable(text)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"0 8 linear 8:1 0", "0 8 linear 008:01 0", true},
		{"0 8 thin 8:1 7", "0 8 thin  008:1  7 ", true},
		{"0 8 linear 8:1 0", "0 8 linear 8:2 0", false},
		{"0 8 linear 8:1 0", "0 8 linear 8:1 8", false},
		{"0 8 linear 8:1 0", "0 9 linear 8:1 0", false},
		{"0 8 linear 8:1 0", "0 8 linear /dev/sda1 0", false},
		{"0 8 linear 8:1 0", "0 8 flakey 8:1 0", false},
		{"0 8 zero", "0 8 zero\n8 8 zero", false},
	} {
		if got := table(c.a).Equal(table(c.b)); got != c.same {
			t.Errorf("%q and %q: %v", c.a, c.b, got)
		}
	}
	none := targets.Table{{Length: 8}}
	if !none.Equal(none) || none.Equal(targets.Single(8, targets.Zero{})) {
		t.Error("rows without a target")
	}
}

func TestDevices(t *testing.T) {
	for _, c := range []struct{ table, want string }{
		{"0 8 linear 8:1 0\n8 8 linear 8:2 0\n16 8 linear 8:1 8", "8:1 8:2"},
		{"0 8 striped 2 8 8:1 0 8:2 0", "8:1 8:2"},
		{"0 8 snapshot 8:1 8:2 N 8", "8:1 8:2"},
		{"0 8 snapshot-merge 8:1 8:2 P 8", "8:1 8:2"},
		{"0 8 snapshot-origin 8:1", "8:1"},
		{"0 8 interpose 8:1", "8:1"},
		{"0 8 era 8:1 8:2 8", "8:1 8:2"},
		{"0 8 zero", ""},
		{"0 8 crypt aes-xts-plain64 :64:logon:x 0 8:1 4096 1 allow_discards", "8:1"},
		{"0 8 crypt aes-xts-plain64 - 0 /dev/sda1 4096", "/dev/sda1"},
		{"0 8 crypt aes", ""},
		{"0 8 thin 254:1 7", "254:1"},
		{"0 8 thin 254:1 7 8:9", "254:1 8:9"},
		{"0 8 thin-pool 8:1 8:2 128 0 1 skip_block_zeroing", "8:1 8:2"},
		{"0 8 cache 8:1 8:2 8:3 512 1 writeback default 0", "8:1 8:2 8:3"},
		{"0 8 writecache s 8:1 8:2 4096 0", "8:1 8:2"},
		{"0 8 delay 8:1 0 10 8:2 0 20", "8:1 8:2"},
		{"0 8 flakey 8:1 0 30 5", "8:1"},
		{"0 8 log-writes 8:1 8:2", "8:1 8:2"},
		{"0 8 unstriped 2 256 0 8:1 0", "8:1"},
		{"0 8 verity 1 8:1 8:2 4096 4096 1 1 sha256 00 - 2 use_fec_from_device 8:3", "8:1 8:2 8:3"},
		{"0 8 integrity 8:1 0 - J 1 meta_device:8:2", "8:1 8:2"},
		{"0 8 mirror core 1 1024 2 8:1 0 8:2 0", "8:1 8:2"},
		{"0 8 raid raid1 3 0 region_size 1024 2 8:1 8:2 8:3 8:4", "8:1 8:2 8:3 8:4"},
		{"0 8 raid raid1 1 0 2 - 8:2 - -", "8:2"},
		{"0 8 multipath 0 0 1 1 service-time 0 2 1 8:16 1 8:32 1", "8:16 8:32"},
	} {
		table, err := targets.ParseTable(c.table)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range table.Devices() {
			got = append(got, d.String())
		}
		if g := strings.Join(got, " "); g != c.want {
			t.Errorf("%q: got %q, want %q", c.table, g, c.want)
		}
	}
	if got := targets.Single(8, foreign{}).Devices(); got != nil {
		t.Errorf("a target without Devices gave %v", got)
	}
}

// foreign is a target of a caller's own.
type foreign struct{}

func (foreign) Type() string   { return "foreign" }
func (foreign) Params() string { return "8:1" }
