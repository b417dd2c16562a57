package ioctl

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// le32 and le64 add numbers in the order of this machine.
func le32(b []byte, n ...uint32) []byte {
	for _, v := range n {
		b = native.AppendUint32(b, v)
	}
	return b
}
func le64(b []byte, n uint64) []byte { return native.AppendUint64(b, n) }

func pad(b []byte) []byte { return append(b, make([]byte, padded(len(b))-len(b))...) }

func cstring(b []byte, s string) []byte { return append(append(b, s...), 0) }

// nameRecord encodes as the kernel does, with the flags word of Linux 5.13.
func nameRecord(e Entry, last bool) []byte {
	b := pad(cstring(le32(le64(nil, e.Dev.Huge()), 0), e.Name))
	b = le32(b, e.EventNr)
	if e.UUID != "" {
		b = pad(cstring(pad(le32(b, nameHasUUID)), e.UUID))
	} else {
		b = le32(b, 2)
	}
	if !last {
		native.PutUint32(b[8:], uint32(len(b)))
	}
	return b
}

func nameList(entries []Entry) (b []byte) {
	for i, e := range entries {
		b = append(b, nameRecord(e, i == len(entries)-1)...)
	}
	return b
}

func TestParseNames(t *testing.T) {
	var many []Entry
	for i := range 40 {
		uuid := ""
		if i%3 != 0 {
			uuid = "DMSNAP-" + strings.Repeat("u", i)
		}
		many = append(many, Entry{Dev: DevNo{Major: 254, Minor: uint32(i * 1000)}, Name: strings.Repeat("n", i+1), UUID: uuid, EventNr: uint32(i)})
	}
	old := le32(pad(cstring(le32(le64(nil, DevNo{Major: 254, Minor: 1}.Huge()), 0), "old")), 9)
	for _, c := range []struct {
		name string
		b    []byte
		want []Entry
	}{
		{"no reply", nil, nil},
		{"empty list", make([]byte, 8), nil},
		{"one", nameList(many[:1]), many[:1]},
		{"many", nameList(many), many},
		{"before 5.13", pad(old), []Entry{{Dev: DevNo{Major: 254, Minor: 1}, Name: "old", EventNr: 9}}},
		{"before 5.13, cut", old, []Entry{{Dev: DevNo{Major: 254, Minor: 1}, Name: "old", EventNr: 9}}},
	} {
		got, err := parseNames(c.b)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v, %v\nwant %v", c.name, got, err, c.want)
		}
	}
}

func TestParseNamesHostile(t *testing.T) {
	good := nameList([]Entry{{Dev: DevNo{Major: 254, Minor: 1}, Name: "a", UUID: "U-1"}, {Dev: DevNo{Major: 254, Minor: 2}, Name: "b"}})
	poke := func(at int, v uint32) []byte {
		b := slices.Clone(good)
		native.PutUint32(b[at:], v)
		return b
	}
	noNul := slices.Clone(good[:nameFixed+1])
	native.PutUint32(noNul[8:], 0)
	for name, b := range map[string][]byte{
		"next beyond the end":  poke(8, 0xffff),
		"next is huge":         poke(8, 0xffffffff),
		"next into the record": poke(8, 4),
		"next before the uuid": poke(8, 24),
		"name without end":     noNul,
		"cut in the header":    good[:9],
		"cut in the name":      good[:13],
	} {
		if got, err := parseNames(b); err == nil {
			t.Errorf("%s: got %v and no error", name, got)
		}
	}
	for i := 1; i < len(good); i++ {
		_, _ = parseNames(good[:i])
	}
}

func TestParseDeps(t *testing.T) {
	deps := func(count uint32, devs ...DevNo) []byte {
		b := le32(nil, count, 0)
		for _, d := range devs {
			b = le64(b, d.Huge())
		}
		return b
	}
	a, z := DevNo{Major: 8, Minor: 1}, DevNo{Major: 254, Minor: 1 << 19}
	for _, c := range []struct {
		name string
		b    []byte
		want []DevNo // nil and ok false is an error
		ok   bool
	}{
		{"no table", nil, nil, true},
		{"none", deps(0), []DevNo{}, true},
		{"two", deps(2, a, z), []DevNo{a, z}, true},
		{"more room than needed", deps(1, a, z), []DevNo{a}, true},
		{"too few", deps(3, a, z), nil, false},
		{"huge count", deps(0xffffffff, a), nil, false},
		{"cut", deps(1)[:7], nil, false},
	} {
		got, err := parseDeps(c.b)
		if (err == nil) != c.ok || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v, %v", c.name, got, err)
		}
	}
}

func versionList(targets []TargetVersion) (b []byte) {
	for i, v := range targets {
		rec := pad(cstring(le32(nil, 0, v.Version.Major, v.Version.Minor, v.Version.Patch), v.Name))
		if i < len(targets)-1 {
			native.PutUint32(rec, uint32(len(rec)))
		}
		b = append(b, rec...)
	}
	return b
}

func TestParseVersions(t *testing.T) {
	want := []TargetVersion{{"snapshot-origin", Version{1, 9, 0}}, {"linear", Version{1, 4, 0}}, {"error", Version{1, 6, 0}}}
	b := versionList(want)
	got, err := parseVersions(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := parseVersions(nil); got != nil || err != nil {
		t.Errorf("empty: got %v, %v", got, err)
	}
	for _, next := range []uint32{1, 8, 31, 0xffff, 0xffffffff} {
		bad := slices.Clone(b)
		native.PutUint32(bad, next)
		if got, err := parseVersions(bad); err == nil {
			t.Errorf("next %d: got %v and no error", next, got)
		}
	}
	for i := 1; i < len(b); i++ {
		_, _ = parseVersions(b[:i])
	}
}

func TestVersion(t *testing.T) {
	v := Version{4, 47, 1}
	if s := fmt.Sprint(v); s != "4.47.1" {
		t.Error(s)
	}
	if !v.AtLeast(4, 47) || !v.AtLeast(4, 1) || v.AtLeast(4, 48) || v.AtLeast(5, 0) || v.AtLeast(3, 0) {
		t.Error("AtLeast")
	}
}

func FuzzNames(f *testing.F) {
	f.Add(nameList([]Entry{{Dev: DevNo{Major: 254, Minor: 1}, Name: "a", UUID: "U-1"}, {Dev: DevNo{Major: 254, Minor: 2}, Name: "b"}}))
	f.Add(make([]byte, 8))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := parseNames(b)
		if err == nil && len(entries)*nameFixed > len(b) {
			t.Errorf("%d entries out of %d bytes", len(entries), len(b))
		}
	})
}

func FuzzDeps(f *testing.F) {
	f.Add(le64(le32(nil, 1, 0), DevNo{Major: 8, Minor: 1}.Huge()))
	f.Fuzz(func(t *testing.T, b []byte) {
		deps, err := parseDeps(b)
		if err == nil && len(deps)*8 > len(b) {
			t.Errorf("%d devices out of %d bytes", len(deps), len(b))
		}
	})
}

func FuzzVersions(f *testing.F) {
	f.Add(versionList([]TargetVersion{{"linear", Version{1, 4, 0}}, {"error", Version{1, 6, 0}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		targets, err := parseVersions(b)
		if err == nil && len(targets)*16 > len(b) {
			t.Errorf("%d targets out of %d bytes", len(targets), len(b))
		}
	})
}
