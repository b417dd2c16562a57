package ioctl

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// statusTable encodes as the kernel's retrieve_status does: next counts from the
// first record, and the last one has it too.
func statusTable(specs []Spec) (b []byte) {
	for _, s := range specs {
		b = pad(b)
		at := len(b)
		b = append(b, make([]byte, specSize)...)
		native.PutUint64(b[at:], s.Start)
		native.PutUint64(b[at+8:], s.Length)
		native.PutUint32(b[at+16:], uint32(s.Status))
		copy(b[at+24:], s.Type)
		b = cstring(b, s.Params)
		native.PutUint32(b[at+20:], uint32(padded(len(b))))
	}
	return b
}

func exampleSpecs() []Spec {
	var specs []Spec
	for i := range 20 {
		specs = append(specs, Spec{
			Start: uint64(i) * 8, Length: 8, Type: "snapshot-origin"[:i%15+1], Params: strings.Repeat("p", i),
		})
	}
	return specs
}

func TestParseSpecs(t *testing.T) {
	specs := exampleSpecs()
	specs[3].Status = -5
	for n := range specs {
		got, err := parseSpecs(statusTable(specs[:n]), uint32(n))
		if err != nil || !slices.Equal(got, specs[:n]) {
			t.Fatalf("%d targets: got %v, %v", n, got, err)
		}
	}
}

func TestParseSpecsHostile(t *testing.T) {
	good := statusTable(exampleSpecs()[:3])
	next := func(v uint32) []byte {
		b := slices.Clone(good)
		native.PutUint32(b[20:], v)
		return b
	}
	noNul := slices.Clone(good[:specSize+1])
	noNul[specSize] = 'x'
	for name, c := range map[string]struct {
		b     []byte
		count uint32
	}{
		"no bytes":             {nil, 1},
		"too few":              {good, 5},
		"huge count":           {good, 0xffffffff},
		"next is zero":         {next(0), 3},
		"next is itself":       {next(8), 3},
		"next into its text":   {next(specSize), 3},
		"next beyond the end":  {next(4096), 3},
		"next is huge":         {next(0xfffffff8), 3},
		"next leaves no room":  {next(uint32(len(good) - 8)), 3},
		"text without end":     {noNul, 1},
		"cut in a later one":   {good[:100], 3},
		"nothing but a header": {good[:specSize], 1},
	} {
		if got, err := parseSpecs(c.b, c.count); err == nil {
			t.Errorf("%s: got %v and no error", name, got)
		}
	}
}

// TestEncodeSpecs reads a table back with the offsets a load uses.
func TestEncodeSpecs(t *testing.T) {
	want := exampleSpecs()
	b, err := encodeSpecs(want)
	wantErr(t, err)
	var got []Spec
	for len(b) > 0 {
		one, err := parseSpecs(b, 1)
		wantErr(t, err)
		got = append(got, one...)
		next := native.Uint32(b[20:])
		if next%payloadPad != 0 {
			t.Fatalf("next %d is not padded", next)
		}
		if next == 0 {
			break
		}
		b = b[next:]
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestEncodeSpecsRefuses(t *testing.T) {
	for _, s := range []Spec{
		{Type: ""},
		{Type: strings.Repeat("t", 16)},
		{Type: "lin\x00ear"},
		{Type: "linear", Params: "8:0\x000"},
	} {
		_, err := encodeSpecs([]Spec{s})
		wantErr(t, err, ErrBadSpec)
	}
	b, err := encodeSpecs(nil)
	if err != nil || len(b) != 0 {
		t.Errorf("empty table: %d bytes, %v", len(b), err)
	}
}

func FuzzSpecs(f *testing.F) {
	f.Add(statusTable(exampleSpecs()[:3]), uint32(3))
	f.Add([]byte{}, uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, count uint32) {
		specs, err := parseSpecs(b, count)
		if err == nil && uint32(len(specs)) != count {
			t.Errorf("%d targets, want %d", len(specs), count)
		}
	})
}

func FuzzEncodeSpecs(f *testing.F) {
	f.Add(uint64(0), uint64(8), "linear", "8:0 0")
	f.Fuzz(func(t *testing.T, start, length uint64, typ, params string) {
		want := Spec{Start: start, Length: length, Type: typ, Params: params}
		b, err := encodeSpecs([]Spec{want})
		if err != nil {
			return
		}
		got, err := parseSpecs(b, 1)
		if err != nil || got[0] != want {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	})
}
