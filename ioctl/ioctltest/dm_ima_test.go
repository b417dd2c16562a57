package ioctltest_test

import (
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/ioctl"
	"github.com/dmsnap/dmsnap/ioctl/ioctltest"
)

// TestRenamedAfterAClear: seen on 6.1 and 6.12, which panic after some rounds; a resume
// in place of the clear, or a load after it, keeps them alive, and 7.2 needs neither.
func TestRenamedAfterAClear(t *testing.T) {
	for _, c := range []struct {
		release, steps string
		crash          bool
	}{
		{"6.1.0", "load clear rename load", true},
		{"6.12.0", "load clear rename load", true},
		{"6.1.0", "load clear rename remove", true},
		{"7.2.0", "load clear rename load", false},
		{"6.1.0", "load resume rename load", false},
		{"6.1.0", "load clear load resume rename load", false},
		{"6.1.0", "load clear load", false},
		{"6.1.0", "clear rename load", false},
		{"6.1.0", "load rename clear load", false},
	} {
		k := ioctltest.New(ioctltest.Options{Release: c.release})
		k.AddDM("t", "", ioctltest.Row{Length: 8, Type: "zero"})
		ctl, err := k.Border().OpenControl()
		if err != nil {
			t.Fatal(err)
		}
		id := ioctl.ID{Name: "t"}
		for step := range strings.FieldsSeq(c.steps) {
			switch step {
			case "load":
				err = ctl.Load(id, 0, []ioctl.Spec{{Length: 8, Type: "error"}})
			case "clear":
				err = ctl.Clear(id)
			case "resume":
				_, err = ctl.Resume(id, 0, ioctl.Event{})
			case "rename":
				_, err = ctl.Rename("t", "u", ioctl.Event{})
				id = ioctl.ID{Name: "u"}
			case "remove":
				_, err = ctl.Remove(id, 0, ioctl.Event{})
			}
			if err != nil {
				t.Fatalf("%s: %v", step, err)
			}
		}
		if got := k.Hangs(); (len(got) > 0) != c.crash {
			t.Errorf("%s, %s: %q", c.release, c.steps, got)
		}
		if err := ctl.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
