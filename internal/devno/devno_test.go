package devno_test

import (
	"testing"

	"github.com/dmsnap/dmsnap/internal/devno"
)

func TestText(t *testing.T) {
	for text, d := range map[string]devno.DevNo{
		"0:0":          {},
		"8:17":         {Major: 8, Minor: 17},
		"254:300":      {Major: 254, Minor: 300},
		"4095:1048575": {Major: 4095, Minor: 1048575},
	} {
		got, err := devno.Parse(text)
		if err != nil || got != d || d.String() != text || !d.Valid() {
			t.Errorf("%s: got %v, %v, %s", text, got, err, d)
		}
	}
	if d, err := devno.Parse("008:01"); err != nil || d != (devno.DevNo{Major: 8, Minor: 1}) {
		t.Errorf("leading zeros: %v, %v", d, err)
	}
	for _, bad := range []string{"", ":", "8", "8:", ":8", "8:1:2", "-1:0", "+1:0", " 8:1", "8:1\n", "0x8:1", "4096:0", "0:1048576"} {
		if d, err := devno.Parse(bad); err == nil {
			t.Errorf("%q: got %v", bad, d)
		}
	}
}

func TestHuge(t *testing.T) {
	for _, d := range []devno.DevNo{{}, {Major: 8, Minor: 17}, {Major: 254, Minor: 0x12345}, {Major: 4095, Minor: 1048575}} {
		if got := devno.FromHuge(d.Huge()); got != d {
			t.Errorf("%v: %v from %#x", d, got, d.Huge())
		}
	}
	if h := (devno.DevNo{Major: 254, Minor: 0x12345}).Huge(); h != 0x1230fe45 {
		t.Errorf("%#x", h)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("254:3")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := devno.Parse(s)
		if err != nil {
			return
		}
		if again, err := devno.Parse(d.String()); err != nil || again != d || !d.Valid() {
			t.Errorf("%q: %v, then %v, %v", s, d, again, err)
		}
	})
}
