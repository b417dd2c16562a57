package dm

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// newWholeHost has, beside /home and /var, a squashfs, a tmpfs and a second mount of /var, and in the
// group a volume that is not mounted and a part of one. /data is on a plain disk.
func newWholeHost(t *testing.T) wholeHost {
	t.Helper()
	h := newGroupHost(t, ioctltest.Options{Release: "6.1.0"})
	for i, name := range []string{"vde", "vdf", "vdg"} {
		h.AddDisk(name, ioctl.DevNo{Major: 252, Minor: uint32(64 + 16*i)}, 16*mib)
	}
	raw := h.AddDM("vg-raw", "LVM-raw", ioctltest.Row{Length: 32768, Type: "linear", Params: "252:64 0"})
	h.AddDM("vg-pool_tdata", "LVM-pool-tdata", ioctltest.Row{Length: 32768, Type: "linear", Params: "252:80 0"})
	h.Mount(ioctl.DevNo{Major: 252, Minor: 96}, "/home/snap", "squashfs")
	check(t, h.Border().Mkdir("/home/tmp", 0o755))
	check(t, h.Border().Mount("none", "/home/tmp", "tmpfs", 0, ""))
	h.Mount(h.vard, "/home/var", "xfs")
	return wholeHost{h, raw}
}

type wholeHost struct {
	*host
	raw ioctl.DevNo
}

// TestSelection: what a selection leads to, each device once; all that cannot be taken is
// named, and can be left out.
func TestSelection(t *testing.T) {
	hostOnly(t)
	for name, tt := range map[string]struct {
		named   []string
		request Selection
		want    []string
		fails   error
		says    string
	}{
		"all":                 {nil, Selection{All: true}, nil, ErrUnsupported, "/data"},
		"all but one":         {nil, Selection{All: true, Except: []string{"/data"}}, []string{"/home", "/var"}, nil, ""},
		"all but a device":    {nil, Selection{All: true, Except: []string{"/dev/vdi1"}}, []string{"/home", "/var"}, nil, ""},
		"but what is below":   {nil, Selection{Below: []string{"/home"}, Except: []string{"/home/var"}}, []string{"/home"}, nil, ""},
		"below":               {nil, Selection{Below: []string{"/home"}}, []string{"/home", "/var"}, nil, ""},
		"below no mount":      {nil, Selection{Below: []string{"/mnt"}}, nil, ErrUsage, "not a mount point"},
		"below nothing":       {nil, Selection{Below: []string{"/nothing"}}, nil, ErrNotFound, "/nothing"},
		"group":               {nil, Selection{Groups: []string{"vg"}}, []string{"/home", "/dev/mapper/vg-raw", "/var"}, nil, ""},
		"other group":         {nil, Selection{Groups: []string{"vg2"}}, nil, ErrNotFound, "vg2"},
		"one is named":        {[]string{"/dev/mapper/vg-var"}, Selection{Groups: []string{"vg"}, Except: []string{"/dev/mapper/vg-raw"}}, []string{"/dev/mapper/vg-var", "/home"}, nil, ""},
		"nothing is left":     {nil, Selection{Below: []string{"/home"}, Except: []string{"/home", "/var"}}, nil, ErrNotFound, "nothing"},
		"leave out a missing": {nil, Selection{All: true, Except: []string{"/dat"}}, nil, ErrNotFound, "/dat"},
		"except alone":        {[]string{"/home"}, Selection{Except: []string{"/data"}}, nil, ErrUsage, "/data"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newWholeHost(t)
			before := h.Snapshot()
			set, err := h.m.Create(h.ctx, CreateRequest{
				Name: "nightly", Origins: tt.named, Select: tt.request, Stores: map[string]string{"": "ram"}, StoreSize: Size{Bytes: mib},
			})
			if tt.want == nil {
				if !errors.Is(err, tt.fails) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%v", err)
				}
				same(t, "after a refusal", before, h.Snapshot())
				return
			}
			check(t, err)
			var got []string
			for _, v := range set.Volumes {
				got = append(got, v.asked)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q", got)
			}
			h.healthy(t)
		})
	}
}

// TestOutside: what is mounted below the set and is not in it is in the receipt.
func TestOutside(t *testing.T) {
	hostOnly(t)
	h := newWholeHost(t)
	h.Mount(h.data, "/home/net", "ext4")
	r := CreateRequest{Name: "nightly", Origins: []string{"/home"}, Stores: map[string]string{"": "ram"}, StoreSize: Size{Bytes: mib}}
	set := h.create(t, r)
	if got := set.Receipt.Outside; !slices.Equal(got, []string{"/home/net", "/home/var"}) {
		t.Errorf("%q", got)
	}
	r.Name, r.Origins = "whole", []string{"/home", "/var"}
	if got := h.create(t, r).Receipt.Outside; !slices.Equal(got, []string{"/home/net"}) {
		t.Errorf("%q", got)
	}
}

// TestAllowUnproven: a vfat cannot be proven frozen. The receipt says so for its volume
// alone, and whether the request allows it; one that cannot even be frozen is refused
// unless it is allowed.
func TestAllowUnproven(t *testing.T) {
	hostOnly(t)
	for name, tt := range map[string]struct {
		fstype  string
		allow   []string
		allowed bool
		fails   error
	}{
		"not allowed":              {"vfat", nil, false, nil},
		"by mount point":           {"vfat", []string{"/boot/efi"}, true, nil},
		"by device":                {"vfat", []string{"/dev/mapper/vg-raw"}, true, nil},
		"another":                  {"vfat", []string{"/home"}, false, nil},
		"nothing is mounted there": {"vfat", []string{"/mnt"}, false, nil},
		"no such directory":        {"vfat", []string{"/boot/ef"}, false, ErrNotFound},
		"cannot be frozen":         {"fuseblk", nil, false, ErrFreeze},
		"cannot be frozen, may":    {"fuseblk", []string{"/boot/efi"}, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := newWholeHost(t)
			h.Mount(h.raw, "/boot/efi", tt.fstype)
			set, err := h.m.Create(h.ctx, CreateRequest{
				Name: "nightly", Origins: []string{"/home", "/boot/efi"}, AllowUnproven: tt.allow, Stores: map[string]string{"": "ram"}, StoreSize: Size{Bytes: mib},
			})
			if tt.fails != nil {
				if !errors.Is(err, tt.fails) {
					t.Error(err)
				}
				return
			}
			check(t, err)
			r := set.Receipt
			if r.Consistency != Crash || r.Volumes[0].Consistency != Filesystem || r.Volumes[1].Consistency != Crash || !slices.Equal(r.Unproven, []string{"/boot/efi"}) {
				t.Errorf("%+v", r)
			}
			if short := r.NotAllowed(); len(short) > 0 == tt.allowed || len(r.Allowed) > 0 != tt.allowed {
				t.Errorf("not allowed: %q, allowed: %q", short, r.Allowed)
			}
		})
	}
}
