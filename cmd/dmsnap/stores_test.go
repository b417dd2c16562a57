package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseStores(t *testing.T) {
	tests := map[string]struct {
		origins, values []string
		want            map[string]string
		err             string
	}{
		"none":            {[]string{"/a"}, nil, map[string]string{"": "auto"}, ""},
		"for all":         {[]string{"/a", "/b"}, []string{"ram"}, map[string]string{"": "ram"}, ""},
		"device":          {[]string{"/a"}, []string{"/dev/vdc"}, map[string]string{"": "/dev/vdc"}, ""},
		"file":            {[]string{"/a"}, []string{"file:/var/x=y"}, map[string]string{"": "file:/var/x=y"}, ""},
		"each":            {[]string{"/a", "/b"}, []string{"/a=/dev/vdc", "/b=auto"}, map[string]string{"/a": "/dev/vdc", "/b": "auto"}, ""},
		"one and rest":    {[]string{"/a", "/b"}, []string{"/a=/dev/vdc"}, map[string]string{"/a": "/dev/vdc", "": "auto"}, ""},
		"origin with =":   {[]string{"UUID=12=3"}, []string{"UUID=12=3=file:/s"}, map[string]string{"UUID=12=3": "file:/s"}, ""},
		"both with =":     {[]string{"LABEL=a"}, []string{"LABEL=a=/dev/x=y"}, map[string]string{"LABEL=a": "/dev/x=y"}, ""},
		"longest only":    {[]string{"UUID=1", "UUID=1=2"}, []string{"UUID=1=2=ram"}, map[string]string{"UUID=1=2": "ram", "": "auto"}, ""},
		"shortest only":   {[]string{"LABEL=a", "LABEL=a=/x"}, []string{"LABEL=a=/x"}, map[string]string{"LABEL=a": "/x", "": "auto"}, ""},
		"prefix of name":  {[]string{"/ab"}, []string{"/a"}, map[string]string{"": "/a"}, ""},
		"same origin":     {[]string{"/a", "/a"}, []string{"/a=ram"}, map[string]string{"/a": "ram"}, ""},
		"escaped device":  {[]string{"/a"}, []string{"/a=/dev/x=ram"}, map[string]string{"/a": "/dev/x=ram"}, ""},
		"ambiguous":       {[]string{"/a", "/a=/b"}, []string{"/a=/b=/c"}, nil, "for /a or for /a=/b"},
		"twice for all":   {[]string{"/a"}, []string{"ram", "auto"}, nil, "second store for all origins"},
		"twice for one":   {[]string{"/a"}, []string{"/a=ram", "/a=auto"}, nil, "second store for /a"},
		"not given":       {[]string{"/a"}, []string{"/b=/dev/vdc"}, nil, "names an origin that is not given"},
		"not given, kind": {[]string{"/a"}, []string{"/b=ram"}, nil, "names an origin that is not given"},
		"uuid not given":  {[]string{"UUID=1"}, []string{"UUID=2=/dev/vdc"}, nil, "neither a store"},
		"empty":           {[]string{"/a"}, []string{""}, nil, "neither a store"},
		"slash":           {[]string{"/a"}, []string{"/"}, nil, "neither a store"},
		"empty for one":   {[]string{"/a"}, []string{"/a="}, nil, "does not end in a store"},
		"bad for one":     {[]string{"/a"}, []string{"/a=vdc"}, nil, "does not end in a store"},
		"relative file":   {[]string{"/a"}, []string{"file:x"}, nil, "neither a store"},
		"unknown kind":    {[]string{"/a"}, []string{"disk"}, nil, "neither a store"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseStores(tt.origins, tt.values)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, %v; want an error with %q", got, err, tt.err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

func FuzzSplitStore(f *testing.F) {
	f.Add("/a", "/a=/b", "/a=/b=/c")
	f.Add("UUID=1", "LABEL==", "LABEL===ram")
	f.Add("/", "", "=/")
	f.Fuzz(func(t *testing.T, a, b, value string) {
		origin, spec, err := splitStore([]string{a, b}, value)
		back, _, _ := splitStore([]string{b, a}, value)
		switch {
		case err != nil:
			return
		case origin != back:
			t.Errorf("the order of origins matters: %q or %q", origin, back)
		case !isSpec(spec):
			t.Errorf("%q is no store", spec)
		case origin == "" && spec != value, origin != "" && origin+"="+spec != value:
			t.Errorf("%q and %q do not make %q", origin, spec, value)
		case origin != "" && !slices.Contains([]string{a, b}, origin):
			t.Errorf("%q is no origin", origin)
		}
	})
}
