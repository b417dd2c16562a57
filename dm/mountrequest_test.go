package dm

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestMountLayouts: a layout is the same for one volume and for several, and images are
// mounted without set-user-ID bits and device nodes unless that is asked for.
func TestMountLayouts(t *testing.T) {
	hostOnly(t)
	for name, tt := range map[string]struct {
		origins []string
		request MountRequest
		want    []string
		options string
	}{
		"usual, one":     {[]string{"/home"}, MountRequest{}, []string{"/mnt"}, "ro,nosuid,nodev,"},
		"usual, several": {[]string{"/home", "/var"}, MountRequest{}, []string{"/mnt/home", "/mnt/var"}, "ro,nosuid,nodev,"},
		"tree, one":      {[]string{"/home"}, MountRequest{Layout: LayoutTree}, []string{"/mnt/home"}, "ro,nosuid,nodev,"},
		"tree, several":  {[]string{"/home", "/var"}, MountRequest{Layout: LayoutTree, Suid: true}, []string{"/mnt/home", "/mnt/var"}, "ro,nodev,"},
		"flat, one":      {[]string{"/home"}, MountRequest{Layout: LayoutFlat, Dev: true}, []string{"/mnt/home"}, "ro,nosuid,"},
		"flat, several":  {[]string{"/home", "/var"}, MountRequest{Layout: LayoutFlat, Suid: true, Dev: true}, []string{"/mnt/home", "/mnt/var"}, "ro,"},
		"unknown":        {[]string{"/home"}, MountRequest{Layout: "round"}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, ioctltest.Options{Udev: true})
			h.create(t, CreateRequest{Name: "nightly", Origins: tt.origins, Stores: map[string]string{"": "ram"}, StoreSize: Size{Bytes: mib}})
			before := h.Snapshot()
			tt.request.Name, tt.request.Dir = "nightly", "/mnt"
			mounts, err := h.m.MountWith(h.ctx, tt.request)
			if tt.want == nil {
				if !errors.Is(err, ErrUsage) {
					t.Error(err)
				}
				return
			}
			check(t, err)
			var got []string
			for _, m := range mounts {
				got = append(got, m.Path)
				if !strings.HasPrefix(m.Options, tt.options) || strings.Contains(strings.TrimPrefix(m.Options, tt.options), "nosuid") {
					t.Errorf("%s: %s, want %s", m.Path, m.Options, tt.options)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q", got)
			}
			check(t, h.m.Unmount(h.ctx, "nightly"))
			same(t, "unmounted", before, h.Snapshot())
		})
	}
}
