package targets_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dmsnap/dmsnap/targets"
)

var (
	dev81  = targets.Numbered(8, 1)
	dev25  = targets.Numbered(254, 5)
	byPath = targets.Device{Path: "/dev/vda1"}
)

// known pairs the text of a kernel with the type it becomes and back.
var known = []struct {
	typ, params string
	want        targets.Target
}{
	{"linear", "8:1 2048", targets.Linear{Dev: dev81, Offset: 2048}},
	{"linear", "/dev/vda1 0", targets.Linear{Dev: byPath}},
	{"linear", `/dev/my\ disk 0`, targets.Linear{Dev: targets.Device{Path: "/dev/my disk"}}},
	{"linear", "/dev/\xc3\\\xa0 0", targets.Linear{Dev: targets.Device{Path: "/dev/à"}}},
	{"striped", "2 128 8:1 0 254:5 64", targets.Striped{Chunk: 128, Stripes: []targets.Stripe{{Dev: dev81}, {Dev: dev25, Offset: 64}}}},
	{"zero", "", targets.Zero{}},
	{"error", "", targets.Error{}},
	{"error", "8:1 0", targets.Raw{Kind: "error", Text: "8:1 0"}},
	{"snapshot-origin", "8:1", targets.Origin{Dev: dev81}},
	{"interpose", "8:1", targets.Interpose{Dev: dev81}},
	{"snapshot", "8:1 254:5 N 8", targets.Snapshot{Origin: dev81, Store: dev25, Mode: targets.Transient, Chunk: 8}},
	{"snapshot", "8:1 254:5 PO 0", targets.Snapshot{Origin: dev81, Store: dev25, Mode: targets.PersistentOverflow}},
	{"snapshot", "8:1 254:5 P 128 2 discard_zeroes_cow discard_passdown_origin", targets.Snapshot{
		Origin: dev81, Store: dev25, Mode: targets.Persistent, Chunk: 128,
		Features: []string{targets.FeatureDiscardZeroes, targets.FeatureDiscardPassdown},
	}},
	{"snapshot", "8:1 254:5 P 128 1 from_the_future", targets.Snapshot{
		Origin: dev81, Store: dev25, Mode: targets.Persistent, Chunk: 128, Features: []string{"from_the_future"},
	}},
	{"snapshot-merge", "8:1 254:5 P 16", targets.Merge{Origin: dev81, Store: dev25, Mode: targets.Persistent, Chunk: 16}},
	{"era", "254:5 8:1 128", targets.Era{Meta: dev25, Origin: dev81, Block: 128}},
	{"thin", "254:5  7 ", targets.Raw{Kind: "thin", Text: "254:5  7 "}},
}

func TestParseAndParams(t *testing.T) {
	for _, c := range known {
		t.Run(c.typ+" "+c.params, func(t *testing.T) {
			got, err := targets.Parse(c.typ, c.params)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("parsed (-want +got):\n%s", diff)
			}
			if got.Type() != c.typ || got.Params() != c.params {
				t.Errorf("formats as %q %q", got.Type(), got.Params())
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ typ, params, field string }{
		{"linear", "", "device"},
		{"linear", "8:1", "offset"},
		{"linear", "8:1 -1", "offset"},
		{"linear", "8:1 0x10", "offset"},
		{"linear", "8:1 36028797018963968", "offset"}, // 2^55 sectors
		{"linear", "8:1 99999999999999999999", "offset"},
		{"linear", "8:1 0 0", ""},
		{"linear", "8:1048576 0", "device"},
		{"linear", "4096:1 0", "device"},
		{"striped", "2 128 8:1 0", "device"},
		{"striped", "4294967295 128 8:1 0", "device"},
		{"striped", "4294967296 128 8:1 0", "stripe count"},
		{"striped", "1 128 8:1 0 8:2 0", ""},
		{"zero", "8:1", ""},
		{"snapshot-origin", "", "device"},
		{"snapshot-origin", "8:1 8:2", ""},
		{"interpose", "8:1 0", ""},
		{"snapshot", "8:1 254:5", "mode"},
		{"snapshot", "8:1 254:5 Q 8", "mode"},
		{"snapshot", "8:1 254:5 p 8", "mode"},
		{"snapshot", "8:1 254:5 P", "chunk size"},
		{"snapshot", "8:1 254:5 P 8 2 discard_zeroes_cow", "feature"},
		{"snapshot", "8:1 254:5 P 8 1 discard_zeroes_cow x", ""},
		{"snapshot", "8:1 254:5 P 8 300 x", "feature count"},
		{"snapshot-merge", "8:1 254:5 P 8 x", "feature count"},
		{"era", "254:5 8:1", "block size"},
	} {
		t.Run(c.typ+" "+c.params, func(t *testing.T) {
			got, err := targets.Parse(c.typ, c.params)
			var parse *targets.ParseError
			if !errors.As(err, &parse) {
				t.Fatalf("got %v, %v; want a ParseError", got, err)
			}
			if got != nil {
				t.Errorf("a target comes with the error: %v", got)
			}
			if parse.Kind != c.typ || parse.Field != c.field {
				t.Errorf("error names %q, %q; want %q, %q", parse.Kind, parse.Field, c.typ, c.field)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	snap := func(mode targets.Mode, chunk targets.Sectors, features ...string) targets.Snapshot {
		return targets.Snapshot{Origin: dev81, Store: dev25, Mode: mode, Chunk: chunk, Features: features}
	}
	for _, c := range []struct {
		name   string
		target interface{ Validate() error }
		ok     bool
	}{
		{"smallest chunk", snap(targets.Transient, 1), true},
		{"largest chunk", snap(targets.Persistent, targets.MaxChunk), true},
		{"too large", snap(targets.Persistent, targets.MaxChunk*2), false},
		{"not a power of two", snap(targets.Persistent, 24), false},
		{"no chunk", snap(targets.Persistent, 0), false},
		{"no mode", snap(0, 8), false},
		{"unknown mode", snap(9, 8), false},
		{"both features", snap(targets.Persistent, 8, targets.FeatureDiscardPassdown, targets.FeatureDiscardZeroes), true},
		{"passdown alone", snap(targets.Persistent, 8, targets.FeatureDiscardPassdown), false},
		{"feature twice", snap(targets.Persistent, 8, targets.FeatureDiscardZeroes, targets.FeatureDiscardZeroes), false},
		{"unknown feature", snap(targets.Persistent, 8, "x"), false},
		{"no store", targets.Snapshot{Origin: dev81, Mode: targets.Persistent, Chunk: 8}, false},
		{"merge", targets.Merge(snap(targets.Persistent, 8)), true},
		{"merge, bad chunk", targets.Merge(snap(targets.Persistent, 3)), false},
		{"era", targets.Era{Meta: dev25, Origin: dev81, Block: 24}, true},
		{"era, no block", targets.Era{Meta: dev25, Origin: dev81}, false},
		{"era, odd block", targets.Era{Meta: dev25, Origin: dev81, Block: 12}, false},
		{"era, no meta", targets.Era{Origin: dev81, Block: 8}, false},
		{"striped", targets.Striped{Chunk: 8, Stripes: []targets.Stripe{{Dev: dev81}}}, true},
		{"striped, none", targets.Striped{Chunk: 8}, false},
		{"striped, no chunk", targets.Striped{Stripes: []targets.Stripe{{Dev: dev81}}}, false},
		{"linear, zero device", targets.Linear{}, false},
		{"interpose", targets.Interpose{Dev: byPath}, true},
		{"origin, number and path", targets.Origin{Dev: targets.Device{DevNo: dev81.DevNo, Path: "/dev/x"}}, false},
		{"path like a number", targets.Origin{Dev: targets.Device{Path: "8:1"}}, false},
		{"path with newline", targets.Origin{Dev: targets.Device{Path: "/dev/a\nb"}}, false},
		{"raw", targets.Raw{Kind: "thin", Text: "8:1 0"}, true},
		{"raw, no kind", targets.Raw{Text: "8:1 0"}, false},
		{"raw, long kind", targets.Raw{Kind: "sixteen-letters-"}, false},
		{"raw, kind of two words", targets.Raw{Kind: "a b"}, false},
		{"raw, newline", targets.Raw{Kind: "thin", Text: "8:1\n0"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.target.Validate()
			var invalid *targets.InvalidError
			if c.ok != (err == nil) || !c.ok && !errors.As(err, &invalid) {
				t.Errorf("got %v", err)
			}
		})
	}
}
