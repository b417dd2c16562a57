package dm

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestPVInsideAnOrigin: create and doctor say what lvm2 must be told, with the line
// itself, until it is there.
func TestPVInsideAnOrigin(t *testing.T) {
	const filter = `"r|^/dev/mapper/dmsnap-|"`
	for name, tt := range map[string]struct {
		files map[string]string
		hint  string // "": nothing is said
	}{
		"no lvm2":        {nil, ""},
		"fresh":          {map[string]string{lvmConfig: "devices {\n\t# global_filter = [ \"a|.*|\" ]\n}\n"}, `echo 'devices/global_filter = [ ` + filter + ` ]' >> ` + lvmLocal},
		"own filter":     {map[string]string{lvmConfig: "devices {\n global_filter = [ \"a|.*|\" ]\n}\n"}, "first into global_filter in " + lvmConfig},
		"local filter":   {map[string]string{lvmConfig: "", lvmLocal: `devices/global_filter=["a|.*|"]`}, "first into global_filter in " + lvmLocal},
		"told":           {map[string]string{lvmConfig: "", lvmLocal: `devices/global_filter = [ ` + filter + ` ]`}, ""},
		"devices file":   {map[string]string{lvmConfig: "", lvmDevices: "VERSION=1.1.1\n"}, ""},
		"devices unused": {map[string]string{lvmConfig: "devices {\n\tuse_devicesfile = 0\n}\n", lvmDevices: "VERSION=1.1.1\n"}, "echo "},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, ioctltest.Options{})
			check(t, h.Border().Unmount("/home", 0))
			check(t, h.Write(h.home, 512+24, []byte("LVM2 001")))
			for path, text := range tt.files {
				h.WriteFile(path, text)
			}
			var log bytes.Buffer
			h.m.opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
			r, err := h.m.Doctor(h.ctx, "/dev/mapper/home", "/var")
			check(t, err)
			if notes := r.Origins[0].Notes; len(notes) != min(1, len(tt.hint)) || len(notes) > 0 && !strings.Contains(notes[0].Hint, tt.hint) || !r.Origins[0].Possible {
				t.Errorf("doctor: %+v", r.Origins[0])
			}
			if len(r.Origins[1].Notes) > 0 {
				t.Errorf("a filesystem: %+v", r.Origins[1])
			}
			h.create(t, CreateRequest{Name: "nightly", Origins: []string{"/dev/mapper/home"}, Stores: map[string]string{"": "/dev/vdc"}})
			if said := strings.Contains(log.String(), "physical volume"); said != (tt.hint != "") {
				t.Errorf("create said %q", log.String())
			}
		})
	}
}
