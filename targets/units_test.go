package targets_test

import (
	"testing"

	"github.com/dmsnap/dmsnap/targets"
)

func TestSectors(t *testing.T) {
	if got := targets.Sectors(3).Bytes(); got != 1536 {
		t.Errorf("3 sectors are %d bytes", got)
	}
	if got, err := targets.SectorsFromBytes(1536); got != 3 || err != nil {
		t.Errorf("1536 bytes are %v sectors, %v", got, err)
	}
	if got, err := targets.SectorsFromBytes(1537); err == nil {
		t.Errorf("1537 bytes became %v sectors", got)
	}
}

func TestDevNo(t *testing.T) {
	for _, c := range []struct {
		text string
		want targets.DevNo
		ok   bool
	}{
		{"8:1", targets.DevNo{Major: 8, Minor: 1}, true},
		{"008:01", targets.DevNo{Major: 8, Minor: 1}, true},
		{"4095:1048575", targets.DevNo{Major: 4095, Minor: 1048575}, true},
		{"4096:0", targets.DevNo{}, false},
		{"0:1048576", targets.DevNo{}, false},
		{"8", targets.DevNo{}, false},
		{"8:", targets.DevNo{}, false},
		{":1", targets.DevNo{}, false},
		{"8:1:2", targets.DevNo{}, false},
		{"+8:1", targets.DevNo{}, false},
		{" 8:1", targets.DevNo{}, false},
		{"8:1\n", targets.DevNo{}, false},
	} {
		got, err := targets.ParseDevNo(c.text)
		if got != c.want || c.ok != (err == nil) {
			t.Errorf("%q: got %v, %v", c.text, got, err)
		}
	}
}

func TestDeviceText(t *testing.T) {
	for _, c := range []struct {
		text string
		want targets.Device
		ok   bool
	}{
		{"8:1", dev81, true},
		{"/dev/vda1", byPath, true},
		{"/dev/disk/by-path/pci-0000:00:1f.2", targets.Device{Path: "/dev/disk/by-path/pci-0000:00:1f.2"}, true},
		{"8:1x", targets.Device{Path: "8:1x"}, true},
		{"", targets.Device{}, false},
		{"99999:1", targets.Device{}, false},
		{"/dev/a\x00b", targets.Device{}, false},
	} {
		var got targets.Device
		err := got.UnmarshalText([]byte(c.text))
		if got != c.want || c.ok != (err == nil) {
			t.Errorf("%q: got %v, %v", c.text, got, err)
		}
		if text, err := got.MarshalText(); c.ok && (string(text) != c.text || err != nil) {
			t.Errorf("%q comes back as %q, %v", c.text, text, err)
		}
	}
}
