package stack_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/dm/internal/plan"
	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/targets"
)

// mounts are mount points and the devices mounted there.
type mounts map[string]ioctl.DevNo

func (m mounts) At(path string) (ioctl.DevNo, bool) {
	d, ok := m[path]
	return d, ok
}

func TestResolve(t *testing.T) {
	h := newHost(t)
	h.Mount(h.home, "/home", "ext4")
	data := h.AddDM("data", "", linear(disk(2), 0))
	h.Mount(data, "/srv/data", "btrfs") // stat there gives an anonymous device
	h.WriteFile("/home/in/file", "x")
	at := mounts{"/home": h.home, "/srv/data": data, "/": disk(3)}
	for link, target := range map[string]string{
		"/dev/vg/home":                                 "../mapper/vg-home",
		"/dev/disk/by-uuid/0123-ABCD":                  "../../vda",
		`/dev/disk/by-label/my\x20disk`:                "../../vdb",
		`/dev/disk/by-label/a\x2fb\x5c\x22\x27\x24c`:   "../../vdb1",
		"/dev/disk/by-label/müll":                      "../../vdb2",
		"/dev/disk/by-label/a=b":                       "../../vdc",
		`/dev/disk/by-label/..\x2f..\x2fvda`:           "../../vdb",
		"/dev/disk/by-partuuid/5e7-01":                 "../../vdb1",
		`/dev/disk/by-partlabel/EFI\x20\x28system\x29`: "../../vdb2",
		"/mnt/home":    "/home",
		"/mnt/data":    "../srv/./data",
		"/mnt/again":   "home",
		"/mnt/node":    "/dev/vg/home",
		"/srv/data/up": "../../home",
		"/srv/data/in": "/home/in",
	} {
		h.Symlink(target, link)
	}
	part := func(n uint32) ioctl.DevNo { return ioctl.DevNo{Major: 252, Minor: 16 + n} }
	for spec, want := range map[string]ioctl.DevNo{
		"/dev/vda":                    disk(0),
		"/dev/vdb1":                   part(1),
		"/dev/mapper/vg-home":         h.home,
		"/dev/vg/home":                h.home,
		"/dev/disk/by-uuid/0123-ABCD": disk(0),
		"UUID=0123-ABCD":              disk(0),
		"LABEL=my disk":               disk(1),
		`LABEL=a/b\"'$c`:              part(1),
		"LABEL=müll":                  part(2),
		"LABEL=a=b":                   disk(2),
		"LABEL=../../vda":             disk(1), // the label, not a path
		"PARTUUID=5e7-01":             part(1),
		"PARTLABEL=EFI (system)":      part(2),
		"/home":                       h.home,
		"/home/":                      h.home,
		"//home/.":                    h.home,
		"/srv/data":                   data,
		"/mnt/home":                   h.home,
		"/mnt/data":                   data,
		"/mnt/again":                  h.home,
		"/mnt/node":                   h.home,
		"/srv/data/up":                h.home,
		"/srv/data/in/..":             h.home, // not /srv/data
		"/":                           disk(3),
	} {
		if got, err := h.r.Resolve(spec, at); err != nil || got != dev(want) {
			t.Errorf("%s: %v, %v; want %v", spec, got, err, want)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	h := newHost(t)
	h.Mount(h.home, "/home", "ext4")
	h.WriteFile("/home/file", "x")
	h.WriteFile("/srv/dir/file", "x")
	h.Symlink("nowhere", "/mnt/dangling")
	h.Symlink("round", "/mnt/round")
	h.Symlink("../../vda", "/dev/disk/by-label/vda")
	at := mounts{"/home": h.home}
	for spec, row := range map[string]struct {
		kind plan.Kind
		says string
	}{
		"/dev/none":     {plan.NotFound, "does not exist"},
		"/mnt/dangling": {plan.NotFound, "does not exist"},
		"":              {plan.NotFound, "does not exist"},
		"UUID=none":     {plan.NotFound, "no device has UUID=none"},
		"LABEL=":        {plan.Usage, ""},
		"LABEL=.":       {plan.Usage, ""},
		"LABEL=..":      {plan.Usage, ""},
		"LABEL=../vda":  {plan.NotFound, "no device has LABEL=../vda"},
		"label=vda":     {plan.NotFound, "label=vda does not exist"},
		"ID=vda":        {plan.NotFound, "ID=vda does not exist"},
		"/home/file":    {plan.Usage, "neither a block device nor a mount point"},
		"/dev/null":     {plan.Usage, "neither a block device nor a mount point"},
		"/srv/dir":      {plan.Usage, "no block device is mounted there"},
		"/proc":         {plan.Usage, "no block device is mounted there"},
		"/":             {plan.Usage, "no block device is mounted there"},
	} {
		got, err := h.r.Resolve(spec, at)
		r, ok := errors.AsType[*plan.Refusal](err)
		if !ok || got != (targets.DevNo{}) || r.Kind != row.kind || r.Device != spec || r.Hint == "" || !strings.Contains(r.Why, row.says) {
			t.Errorf("%q: %v, %+v (%v)", spec, got, r, err)
		}
	}
	if _, err := h.r.Resolve("/mnt/round", at); !errors.Is(err, unix.ELOOP) {
		t.Errorf("links in a circle: %v", err)
	}
	if _, err := h.r.Resolve("/home", nil); err == nil {
		t.Error("a mount point is known without mounts")
	}
	if _, err := h.r.Resolve("/home/file/x", at); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a path through a file: %v", err)
	}
}
